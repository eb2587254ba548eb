"""The page that one sends to a colleague: what stands in it, and how a real browser shows it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from recorded import write_comparison, write_ended, write_run

from layerpar.results.load import load
from layerpar.results.report import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HARNESS = Path(__file__).with_name("page_harness.html")
EVIL = r"""<img src=x onerror=x>$\frac'" """


class Reader(HTMLParser):
    """Counts elements and collects what they would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_comparison(root, seeds=3)
    write_run(root / "pipeline-4", "pipeline", workers=4)
    killed = "rank 1: killed by signal 9"
    write_ended(root / "broken", "data", status="failed", message=killed, mode__bucket_mebibytes=1)
    (root / "damaged").mkdir()
    (root / "damaged" / "status.json").write_text("{")
    return root


@pytest.fixture(scope="module")
def text(study: Path) -> str:
    return render(load([study]), format="html")


def test_the_page_tells_everything_and_loads_nothing(text: str, study: Path) -> None:
    reader = Reader(text)
    assert not [source for source in reader.sources if not source.startswith("#")]
    assert not re.search(r"url\((?!#)|@import", text)
    assert "Which of 7 ways of training reaches 95.00% test accuracy first" in text
    assert "Fastest to 95.00%: layerwise" in text
    assert "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 2 cores" in text
    assert "torch 2.10.0" in text
    assert text.count("<figure") == 14
    assert text.count("<details") == 23 + 1, "every run, and the figures without data"
    assert f"failed: rank 1: killed by signal 9 ({study / 'broken'})" in text
    assert f"not read: {study / 'damaged'}: status.json is not whole JSON" in text
    assert "The clock runs over training segments only" in text


def test_names_within_figures_are_told_apart(text: str) -> None:
    names = re.findall(r'\bid="(figure\d+-[^"]*)"', text)
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert used <= set(names)


def test_no_text_of_a_run_injects_markup(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"dataset__name": EVIL, "architecture__name": EVIL, "optimizer__name": EVIL}
    write_run(tmp_path / "one", **changes)
    write_run(tmp_path / "two", "layerwise", **(changes | {"objective__name": EVIL}))
    root = write_ended(tmp_path / "three<b>", "data", status="failed", message=EVIL, **changes)
    environment = json.loads((tmp_path / "one" / "env.json").read_text())
    (root / "env.json").write_text(json.dumps(environment | {"cpu": EVIL, "versions": {EVIL: EVIL}}))
    reader = Reader(render(load([tmp_path]), format="html"))
    assert reader.tags.count("script") == 1
    assert not {"img", "b"} & set(reader.tags)


def shown(text: str, folder: Path, *, width: int, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a browser makes of the page in a window of so many pixels."""
    assert CHROMIUM is not None
    file = folder / f"harness-{width}.html"
    file.write_text(HARNESS.read_text().replace("WIDTH", str(width)).replace("PAGE", html.escape(text)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *flags]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [400, 1600])
def test_a_browser_shows_nothing_over_another_loads_nothing_and_sorts(
    text: str, tmp_path: Path, width: int
) -> None:
    found = shown(text, tmp_path, width=width)
    assert found["overlaps"] == []
    assert found["width"] <= found["visible"] == width, "only tables scroll sideways"
    assert found["cut"] == 0
    assert found["loaded"] == []
    assert found["sorted"] == "descending"
    seconds = [float(cell.partition(" ")[0]) for cell in found["ascending"] if cell != "-"]
    assert seconds == sorted(seconds)
    assert found["ascending"][-1] == found["descending"][-1] == "-", "what is missing goes last"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
def test_a_dark_theme_is_dark(text: str, tmp_path: Path) -> None:
    dark = shown(text, tmp_path, width=800, flags=("--blink-settings=preferredColorScheme=0",))
    light = shown(text, tmp_path, width=800, flags=("--blink-settings=preferredColorScheme=1",))
    assert (dark["paper"], light["paper"]) == ("rgb(21, 23, 26)", "rgb(255, 255, 255)")
