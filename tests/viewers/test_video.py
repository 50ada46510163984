"""Films: what is written is read back by a decoder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilotage.episodes.types import EpisodeRecord
from pilotage.viewers.video import grid_film, upscaled, with_captions, write_mp4

av = pytest.importorskip("av", reason="films need the extra pilotage[view]")


def _decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def _colors(n: int = 12, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i is of one colour, brighter with i."""
    frames = np.zeros((n, height, width, 3), np.uint8)
    frames[:] = (np.arange(n) * 20).astype(np.uint8)[:, None, None, None]
    return frames


def test_film_decodes_to_the_same_frames(tmp_path: Path) -> None:
    frames = _colors()
    path = write_mp4(tmp_path / "a" / "film.mp4", frames, fps=10)
    decoded = _decode(path)
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 4
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == 10
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]


def test_odd_sizes_grow_by_one_pixel_and_upscaling_multiplies(tmp_path: Path) -> None:
    frames = _colors(3, 15, 17)
    assert _decode(write_mp4(tmp_path / "odd.mp4", frames)).shape == (3, 16, 18, 3)
    assert _decode(write_mp4(tmp_path / "up.mp4", frames, upscale=4)).shape == (3, 60, 68, 3)


def test_captions_are_drawn_below_and_change(tmp_path: Path) -> None:
    frames = _colors(2, 32, 200)
    drawn = with_captions(frames, ["push the cube\nstep 0", "push the cube\nstep 1 " + "x" * 200])
    np.testing.assert_array_equal(drawn[:, :32], frames)
    strips = drawn[:, 32:]
    assert strips.max() > 200  # letters
    first_line = strips[:, : strips.shape[1] // 2]
    np.testing.assert_array_equal(first_line[0], first_line[1])
    assert (strips[0] != strips[1]).any()
    assert (strips[1, :, -6:] == strips[1, 0, 0]).all()  # long text is cut before the edge


def test_grid_holds_the_last_frame_of_the_shorter_one(
    tabletop: Callable[..., EpisodeRecord],
) -> None:
    fast, slow = tabletop("fast"), tabletop("slow")
    frames, captions = grid_film([fast, slow], upscale=2, gap=6)
    assert frames.shape == (56, 24 + 128, 2 * 128 + 6, 3)
    assert len(captions) == 56
    assert fast.frames is not None
    assert slow.frames is not None
    np.testing.assert_array_equal(frames[55, 24:, :128], upscaled(fast.frames[-1:], 2)[0])
    np.testing.assert_array_equal(frames[55, 24:, 134:], upscaled(slow.frames[-1:], 2)[0])
    np.testing.assert_array_equal(frames[7, 24:, 134:], upscaled(slow.frames[7:8], 2)[0])
    assert "goal reached" in captions[20]
    assert "goal reached" not in captions[19]
    assert "fast: dose 0.1" in captions[3]


def test_bicubic_smooths_and_nearest_repeats() -> None:
    frame = np.zeros((1, 4, 4, 3), np.uint8)
    frame[0, :, 2:] = 200
    assert set(np.unique(upscaled(frame, 3))) == {0, 200}
    assert len(np.unique(upscaled(frame, 3, "bicubic"))) > 2
    with pytest.raises(ValueError, match="resample='cubic'"):
        upscaled(frame, 3, "cubic")


def test_bad_films_are_refused_and_leave_nothing(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = _colors(2)
    with pytest.raises(ValueError, match="expected uint8"):
        write_mp4(tmp_path / "f.mp4", frames.astype(np.float32))
    with pytest.raises(ValueError, match="1 captions for 2 frames"):
        write_mp4(tmp_path / "f.mp4", frames, captions=["a"])
    with pytest.raises(ValueError, match="fps=0"):
        write_mp4(tmp_path / "f.mp4", frames, fps=0)
    with pytest.raises(ValueError, match=r"end in \.mp4"):
        write_mp4(tmp_path / "f.gif", frames)
    with pytest.raises(ValueError, match="records of 2"):
        grid_film([tabletop("fast", 0), tabletop("fast", 1)])
    monkeypatch.setattr(av, "VideoFrame", None)
    with pytest.raises(AttributeError):
        write_mp4(tmp_path / "f.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'pilotage\[view\]'"):
        write_mp4(tmp_path / "f.mp4", _colors(2))
    assert list(tmp_path.iterdir()) == []
