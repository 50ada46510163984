"""The camera's benchmark runs and prints what it says; its numbers are not judged here."""

import json

from pilotage.scripts.bench_camera import main


def test_json_has_every_backend_and_ratios_to_the_peer(capsys):
    arguments = ["--size", "16", "--primitives", "5", "--worlds", "2"]
    assert main([*arguments, "--repeats", "2", "--seconds", "0.01", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = [row["backend"] for row in result["rows"]]
    assert names[:3] == ["pybullet TinyRenderer", "numba", "torch cpu"]
    assert result["rows"][0]["ratio"] == 1.0
    assert all(row["min"] <= row["frames_per_s"] <= row["max"] for row in result["rows"])
    assert result["settings"]["size"] == 16
