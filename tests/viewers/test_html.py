"""The report: self-contained, escaped, bounded, and honest about what it leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.episodes.comparison import compare
from pilotage.episodes.tables import comparison_rows
from pilotage.episodes.types import EpisodeRecord
from pilotage.viewers.html import write_report

EVIL = "<script>alert('x')</script> & \"push\" the cube"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page, its words, and a check that tags close in the right order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(path.read_text())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["script"], ["style"]):
            self.words += data

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        return [
            a
            for name, a in self.elements
            if name == tag and (not class_ or class_ in (a.get("class") or "").split())
        ]


@pytest.fixture
def page(tmp_path: Path, records: list[EpisodeRecord], rows: list[dict[str, Any]]) -> Page:
    path = write_report(
        tmp_path / "new" / "report.html",
        title="A run",
        records=iter(records),
        comparison_rows=rows,
        manifest={"seed": 7, "packages": {"pilotage": "0.1.0"}, "note": "<b>"},
    )
    return Page(path)


def test_nothing_comes_from_outside(tmp_path: Path, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action", "xlink:href"):
            if attributes.get(name) is not None:
                assert (attributes[name] or "").startswith("data:"), (tag, name)
    source = (tmp_path / "new" / "report.html").read_text()
    shown = re.sub(r"data:[a-z/0-9]+;base64,[A-Za-z0-9+/=]*", "", source)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"/\*.*?\*/", "", shown))
    policy = next(m for m in page.all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in (policy["content"] or "")


def test_table_shows_the_numbers_of_the_rows(page: Page) -> None:
    for words in ("baseline", "random-matched", "85.0", "71.0 … 93.0", "\u221225.0", "+0.0760"):
        assert words in page.words
    assert "<\u202f0.001" in page.words  # McNemar of random-matched
    assert (
        len([a for a in page.all("th") if a.get("scope") == "row"]) == 4 + 1
    )  # conditions, metric
    assert len(page.all("td", "warn")) == 1  # the one error
    assert page.all("span", "down")  # the clear loss of success
    assert len(page.all("caption")) == 2


def test_every_condition_has_film_path_and_one_colour(page: Page) -> None:
    assert len(page.all("figure", "film")) == 4
    assert all(a.get("alt") for a in page.all("img"))
    slots: dict[str, set[str]] = {}
    for _, attributes in page.elements:
        slot = re.search(r"\bk(\d)\b", attributes.get("class") or "")
        if slot and attributes.get("data-condition"):
            slots.setdefault(str(attributes["data-condition"]), set()).add(slot[1])
    assert {name: len(found) for name, found in slots.items()} == {
        "baseline": 1,
        "fast": 1,
        "slow": 1,
        "random-matched": 1,
    }
    assert all(a.get("aria-label") for a in page.all("svg") if a.get("role") == "img")


def test_texts_cannot_become_markup(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord], rows: list[dict[str, Any]]
) -> None:
    records = [tabletop(name, instruction=EVIL) for name in ("baseline", EVIL)]
    bad = tabletop("fast", instruction=EVIL, error=True)
    path = write_report(
        tmp_path / "r.html",
        title=EVIL,
        records=[*records, bad],
        comparison_rows=[rows[0], {**rows[1], "condition": EVIL, EVIL: 1.0, f"{EVIL}_n": 1}],
        manifest={"note": EVIL, "seed": EVIL, "packages": {"pilotage": EVIL}},
    )
    page = Page(path)
    assert len(page.all("script")) == 1
    assert not page.all("b", "x")
    assert path.read_text().count("<script>") == 1
    assert page.words.count("<script>alert('x')</script>") >= 5
    assert "1 episode ended by an error" in page.words


def test_rows_of_the_real_comparison_fit(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord]
) -> None:
    records = [tabletop(c, i) for i in range(3) for c in ("baseline", "fast", "slow")]
    rows = comparison_rows(compare(records, n_resamples=200))
    page = Page(write_report(tmp_path / "r.html", title="t", records=records, comparison_rows=rows))
    assert "Mean speed (m/s)" in page.words
    assert "All 8 metrics" in page.words
    assert "Effect against success rate" in str(page.elements)
    rows[1].pop("mean_speed_n")
    with pytest.raises(ValueError, match="metric='spl' is in no comparison row"):
        write_report(
            tmp_path / "n.html", title="t", records=records, comparison_rows=rows, metric="spl"
        )
    assert not (tmp_path / "n.html").exists()


def test_limits_hold_and_are_said(tmp_path: Path, tabletop: Callable[..., EpisodeRecord]) -> None:
    records = [tabletop(c, i) for i in range(5) for c in ("baseline", "fast")]
    path = write_report(tmp_path / "r.html", title="t", records=records, max_tasks=3, max_films=4)
    page = Page(path)
    assert len(page.all("article", "task")) == 3
    assert len(page.all("figure", "film")) == 4
    assert "2 of 5 tasks have no map and films here (max_tasks=3)" in page.words
    assert "2 films of the tasks above are left out" in page.words
    limit = _film_bytes(path) // 2
    small = write_report(tmp_path / "s.html", title="t", records=records, max_film_bytes=limit)
    assert 0 < _film_bytes(small) <= limit
    assert "films of the tasks above are left out" in Page(small).words


def _film_bytes(path: Path) -> int:
    return sum(map(len, re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]*", path.read_text())))


def test_tasks_with_frames_come_first(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord]
) -> None:
    """A run that kept the frames of some tasks shows those, whatever the order of the files."""
    from dataclasses import replace

    records = [replace(tabletop("baseline", i), frames=None) for i in range(3)]
    records += [replace(tabletop("fast", 3), frames=None), tabletop("baseline", 3)]
    page = Page(write_report(tmp_path / "r.html", title="t", records=records, max_tasks=1))
    assert "tabletop-push-003" in page.words
    assert len(page.all("figure", "film")) == 1
    assert "1 episode above was recorded without frames" in page.words


def test_top_tokens_are_shown_for_one_task(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord], reading: Callable[..., EpisodeRecord]
) -> None:
    """The first task that has them under most conditions; light and dark have their colours."""
    conditions = ("baseline", "fast", "slow")
    records = [tabletop(c, 0) for c in conditions] + [reading(tabletop("baseline", 1))]
    records += [reading(tabletop(c, i)) for i in (2, 3) for c in conditions]
    path = write_report(tmp_path / "r.html", title="t", records=records)
    page = Page(path)
    assert len(page.all("section", "tokens")) == 1
    text = path.read_text()
    card = next(c for c in text.split("<article")[1:] if 'class="tokens"' in c)
    assert "tabletop-push-002" in card
    shown = re.findall(r'class="stack k\d" data-condition="([a-z]+)"', card)
    assert shown == list(conditions)
    assert "Top tokens over time are shown for one task, tabletop-push-002" in page.words
    light, dark = (f".word{{--v:{color}}}" for color in ("#c8b1ef", "#6449a3"))
    assert text.index(light) < text.index("prefers-color-scheme:dark", text.index(light))
    assert dark in text
    plain = write_report(tmp_path / "p.html", title="t", records=records[:3])
    assert not Page(plain).all("section", "tokens")
    assert "Top tokens" not in Page(plain).words


def test_sprite_sheet_holds_every_frame(tabletop: Callable[..., EpisodeRecord]) -> None:
    import base64
    import io

    from PIL import Image

    from pilotage.viewers.films import make_film

    record = tabletop("fast")
    film = make_film(record)
    data = base64.b64decode(film.data_uri.split(",")[1])
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert record.frames is not None
    for i, frame in enumerate(record.frames):
        row, column = divmod(i, film.columns)
        tile = sheet[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        np.testing.assert_array_equal(tile, frame)  # small sheets are stored without loss
    thinned = make_film(record, max_frames=8, max_side=32)
    assert (thinned.every, thinned.n_frames, thinned.width) == (3, 7, 32)


def test_films_as_mp4(tmp_path: Path, records: list[EpisodeRecord]) -> None:
    pytest.importorskip("av", reason="MP4 needs the extra pilotage[view]")
    page = Page(write_report(tmp_path / "r.html", title="t", records=records[:2], films="mp4"))
    sources = [a["src"] or "" for a in page.all("video")]
    assert [s[:22] for s in sources] == ["data:video/mp4;base64,"] * 2
    silent = write_report(tmp_path / "s.html", title="t", records=records, films="none")
    assert "Films were switched off" in Page(silent).words


def test_a_run_without_episodes_still_has_a_page(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path / "r.html", title="Empty", records=[]))
    assert "No comparison was computed" in page.words


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="films='gif'"):
        write_report(tmp_path / "r.html", title="t", records=[], films="gif")
    with pytest.raises(ValueError, match="limits must be >= 0"):
        write_report(tmp_path / "r.html", title="t", records=[], max_tasks=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on the PATH")
def test_a_browser_shows_the_page_without_complaint(
    tmp_path: Path, records: list[EpisodeRecord], rows: list[dict[str, Any]]
) -> None:
    path = write_report(tmp_path / "r.html", title="A run", records=records, comparison_rows=rows)
    probe = (
        "<script>const s=document.querySelector('.player input');s.value=9;"
        "s.dispatchEvent(new Event('input'));"
        "document.querySelectorAll('.legend button')[1].click()</script></body>"
    )
    path.write_text(path.read_text().replace("</body>", probe))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update --enable-logging=stderr"
    done = subprocess.run(
        ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         f"file://{path}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "71.0 … 93.0" in done.stdout
    assert "step 9 / 55" in done.stdout  # the script ran
    moved = [float(x) for x in re.findall(r"translate\((-?[\d.]+)px", done.stdout)]
    assert len(moved) == 4
    assert any(moved)
    assert re.search(r'<tr data-condition="fast" class="off"', done.stdout)
    assert "CONSOLE" not in done.stderr
