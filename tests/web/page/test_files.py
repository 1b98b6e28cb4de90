"""What the page is made of, as far as it can be told without a browser."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "m3search" / "web" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MOST_BYTES = 300_000  # of the whole page, without thumbnails
NAMESPACES = ("http://www.w3.org/2000/svg",)  # names, never fetched


def named(path: Path) -> str:
    return path.relative_to(PAGE).as_posix()


def test_the_page_is_light() -> None:
    assert sum(path.stat().st_size for path in FILES) < MOST_BYTES


def test_the_package_holds_every_file_of_the_page() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    packed = {path for pattern in patterns for path in (PAGE.parent).glob(pattern)}
    assert set(FILES) <= packed


@pytest.mark.parametrize("path", FILES, ids=named)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in NAMESPACES:
        text = text.replace(name, "")
    assert not re.search(r"https?://|url\(\s*[\"']?//|src=[\"']//", text)


def test_nothing_in_the_page_needs_an_exception_from_the_content_policy() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8")
        assert not re.search(r"\beval\(|new Function\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write", code), (
            script
        )


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_every_import_names_something_that_is_exported(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    for names, place in re.findall(r"import \{([^}]+)\} from \"([^\"]+)\"", code):
        source = (script.parent / place).read_text(encoding="utf-8")
        for name in (one.strip() for one in names.split(",") if one.strip()):
            assert re.search(rf"export (async )?(const|function|class|let) {re.escape(name)}(?!\w)", source), (
                name,
                place,
            )
            assert len(re.findall(rf"(?<!\w)(?<![^.]\.){re.escape(name)}(?!\w)", code)) > 1, (
                f"{name} is imported and not used"
            )


def test_every_icon_that_is_asked_for_is_drawn_and_every_one_drawn_is_asked_for() -> None:
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (PAGE / "icons.svg").read_text(encoding="utf-8")))
    everything = "".join(path.read_text(encoding="utf-8") for path in [*SCRIPTS, PAGE / "index.html"])
    asked = set(re.findall(r'icons\.svg#([\w-]+)"', everything)) | set(
        re.findall(r'\bicon(?:Button)?\("([\w-]+)"', everything)
    )
    asked |= {
        icon
        for pair in re.findall(r'button\("like", "(\w+)".*\n.*button\("unlike", "(\w+)"', everything)
        for icon in pair
    }
    assert drawn == asked


def test_colours_are_defined_for_both_themes() -> None:
    css = (PAGE / "css" / "base.css").read_text(encoding="utf-8")
    light, *dark = [
        dict(re.findall(r"--([\w-]+):\s*([^;]+);", block)) for block in re.findall(r"\{([^{}]*--page:[^{}]*)\}", css)
    ]
    assert len(dark) == 2
    assert dark[0] == dark[1], "the chosen and the system's dark theme differ"
    assert set(dark[0]) <= set(light)


def test_a_box_around_the_whole_map_is_a_filter_that_the_server_takes() -> None:
    pytest.importorskip("fastapi", reason="the serve extra is not installed")
    from m3search.web.shapes import Search

    points = re.search(r"MOST_POINTS = (\d+)", (PAGE / "js" / "app.js").read_text(encoding="utf-8"))
    assert points is not None
    ids = ", ".join(f"'{number:032x}'" for number in range(int(points[1])))
    search = Search(text="effusion", filters=f"labels contains 'a long label' and item_id in ({ids})")
    assert search.filters is not None
    assert ids in search.filters
