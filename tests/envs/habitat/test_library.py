"""Without habitat-sim, with a broken one, and with one that ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pilotage.envs.habitat import HabitatMissing, HabitatVectorEnv, RendererError, library
from pilotage.envs.habitat.library import load_habitat_sim, probe_renderer
from pilotage.scripts import doctor_checks

# A finder before all others that knows no habitat_sim.
NOWHERE = """
import sys

class Hide:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "habitat_sim":
            raise ModuleNotFoundError("No module named 'habitat_sim'", name=name)

sys.meta_path.insert(0, Hide)
from pilotage.envs.habitat import HabitatEnv, HabitatVectorEnv, ROOMS, make_tasks, read_tasks
from pilotage.scripts.doctor_checks import check_habitat
try:
    HabitatVectorEnv(1)
except ModuleNotFoundError as error:
    print(type(error).__name__, error)
print(check_habitat()[0].status)
"""


def test_without_the_library_the_error_says_how_to_get_it() -> None:
    command = [sys.executable, "-c", NOWHERE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stderr == ""  # also nothing from the refused world's destructor
    said, status = result.stdout.splitlines()
    assert said.startswith("HabitatMissing habitat_sim is needed here")
    assert "conda install habitat-sim withbullet headless -c conda-forge -c aihabitat" in said
    assert "pip install 'pilotage[habitat]'" in said
    assert status == "missing"


def test_a_broken_library_shows_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "habitat_sim.py").write_text("import magnum_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "habitat_sim", raising=False)
    with pytest.raises(ModuleNotFoundError, match="magnum_that_is_not_there") as caught:
        load_habitat_sim()
    assert not isinstance(caught.value, HabitatMissing)
    assert doctor_checks.check_habitat()[0].status == "broken"


def test_a_device_that_ends_the_process_is_an_error(habitat_sim: ModuleType) -> None:
    """The double calls os.abort for a CUDA device, as the library does where there is none."""
    with pytest.raises(RendererError, match=r"gpu_device 0: .*-6.*unable to find CUDA.*=-1 takes"):
        probe_renderer(0)
    with pytest.raises(RendererError, match=r"image_size=0 needs no renderer"):
        HabitatVectorEnv(1, gpu_device=0)
    probe_renderer(-1)
    HabitatVectorEnv(1, gpu_device=0, image_size=0).close()  # nobody draws: nobody is asked
    names = [(c.name, c.status) for c in doctor_checks.check_habitat()]
    assert names == [("habitat_sim", "ok"), ("habitat_sim drawing", "ok")]


def test_a_device_that_never_answers_is_an_error(
    habitat_sim: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(library, "_PROBE_SECONDS", 0.5)
    with pytest.raises(RendererError, match=r"drew nothing on gpu_device 5 in 0\.5 s"):
        probe_renderer(5)
