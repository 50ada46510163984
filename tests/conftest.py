"""What every test shares: one thread, two hypothesis profiles, and the optional data sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Before numpy or torch is imported: each pytest worker has one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing in a test may fetch from a model hub; what is not in `assets/` is built on the spot.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_path() -> Callable[[str], Path]:
    """`data_path("r2r/connectivity")`: a path in the public data sets, or a skip with the reason.

    They lie in the folder named by the environment variable PILOTAGE_DATA, by default
    `../shared/data` beside the checkout. No test of the core needs them.
    """
    root = Path(os.environ.get("PILOTAGE_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"needs the data set {relative!r}; set PILOTAGE_DATA to the data folder")
        return path

    return find


@pytest.fixture
def pilotage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`pilotage("run", "--env", ...)` -> (status, standard output, standard error)."""
    from pilotage.scripts import cli

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pilotage", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
