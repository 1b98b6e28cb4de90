"""One item closely: the viewers, its provenance and neighbours, and two of them side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.web.page.conftest import Site

pytestmark = pytest.mark.system

PIXELS = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let place = 0; place < pixels.length; place += 4) sum = (sum * 31 + pixels[place]) % 4294967296;
  return sum;
}"""


def open_first(page: Any, site: Site, query: str, which: str = ".card") -> None:
    page.goto(f"{site.url}/?q={query}")
    page.wait_for_selector(".card:not(.bone)")
    page.locator(which).first.locator("h3 a").click()
    page.wait_for_selector(".viewer")


def settled(page: Any, name: str, value: str) -> None:
    page.wait_for_function("([n, v]) => document.querySelector('.stage canvas').dataset[n] === v", arg=[name, value])


def test_a_ct_is_scrolled_and_windowed(opened: Callable[..., Any], site: Site, shoot: Callable[..., None]) -> None:
    page = opened(expects="getImageData")  # which this test does more often than a page should
    open_first(page, site, "axial chest CT&modality=ct", ".card:has(.part)")
    stage, canvas = page.locator(".stage"), page.locator(".stage canvas")
    page.wait_for_selector(".stage canvas[data-slice]")
    start = int(canvas.get_attribute("data-slice"))
    assert page.locator(".overlay").inner_text().startswith(f"slice {start + 1} of ")
    assert page.get_by_role("button", name=f"nearest: {start + 1}").is_visible()
    before = canvas.evaluate(PIXELS)
    page.get_by_role("button", name="lung", exact=True).click()
    settled(page, "window", "-600,1500")
    lung = canvas.evaluate(PIXELS)
    assert lung != before
    shoot(page, "item-ct")
    step = -1 if start else 1
    stage.hover()
    page.mouse.wheel(0, 50 * step)
    settled(page, "slice", str(start + step))
    assert canvas.evaluate(PIXELS) != lung
    stage.focus()
    page.keyboard.press("ArrowUp" if step < 0 else "ArrowDown")
    settled(page, "slice", str(start))
    assert canvas.evaluate(PIXELS) == lung
    page.get_by_role("button", name="brain", exact=True).click()
    settled(page, "window", "40,80")
    page.get_by_label("Window width, HU").fill("350")
    page.get_by_label("Window width, HU").press("Enter")
    settled(page, "window", "40,350")
    page.get_by_label("Slice", exact=True).focus()
    page.keyboard.press("Home")
    settled(page, "slice", "0")
    page.get_by_role("button", name="Zoom in (+)").click()
    assert "enlarged" in stage.get_attribute("class")


def test_a_slide_is_zoomed_and_its_best_tile_is_marked(
    opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    regions: list[str] = []
    page.on("request", lambda request: regions.append(request.url) if "/region" in request.url else None)
    open_first(page, site, "tumour-rich tissue, H%26E&modality=pathology", ".card:has(.part)")
    page.wait_for_selector(".stage canvas[data-scale]")
    fitted = float(page.locator(".stage canvas").get_attribute("data-scale"))
    shoot(page, "item-slide")
    page.get_by_role("button", name="Go to best tile").click()
    page.wait_for_function(
        "fitted => Number(document.querySelector('.stage canvas').dataset.scale) > fitted", arg=fitted
    )
    regions.clear()
    for _ in range(4):
        page.get_by_role("button", name="Zoom in (+)").click()
    page.wait_for_function(
        "fitted => Number(document.querySelector('.stage canvas').dataset.scale) > 3 * fitted", arg=fitted
    )
    settled(page, "waiting", "0")
    assert regions
    page.get_by_role("button", name=re.compile("embedded tiles")).click()
    shoot(page, "slide-zoomed")
    stage = page.locator(".stage")
    stage.focus()
    page.keyboard.press("0")
    page.wait_for_function(
        "fitted => Number(document.querySelector('.stage canvas').dataset.scale) <= fitted + 0.001", arg=fitted
    )


def test_an_ecg_is_on_paper_and_can_be_measured(
    opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    open_first(page, site, "atrial fibrillation&modality=ecg")
    page.wait_for_function("() => document.querySelector('.paper img').naturalWidth > 0")
    width_mm = page.evaluate("document.querySelector('.paper img').naturalWidth * 25.4 / 96")
    assert 250 <= width_mm < 300  # 10 s at 25 mm/s and margins
    box = page.locator(".paper").bounding_box()
    second = 25 / width_mm * box["width"]
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 100 + second, box["y"] + 60, steps=3)
    measured = page.locator(".callipers output").inner_text()
    milliseconds, rate = map(int, re.match(r"(\d+) ms\s+(\d+)/min", measured).groups())
    assert abs(milliseconds - 1000) <= 5
    assert abs(rate - 60) <= 1
    shoot(page, "item-ecg")
    page.mouse.up()
    page.get_by_role("button", name="Paper size").click()
    shown = page.evaluate("document.querySelector('.paper img').getBoundingClientRect().width * 25.4 / 96")
    assert abs(shown - width_mm) < 1


@pytest.mark.parametrize(
    ("modality", "button", "mark"), [("xray", "Invert", "inverted"), ("retina", "Red-free", "red-free")]
)
def test_a_picture_is_zoomed_and_seen_otherwise(
    modality: str, button: str, mark: str, opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    open_first(page, site, f"normal&modality={modality}")
    page.wait_for_function("() => document.querySelector('.stage img').naturalWidth > 0")
    shoot(page, f"item-{modality}")
    stage = page.locator(".stage")
    width = stage.locator("img").bounding_box()["width"]
    stage.hover()
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "width => document.querySelector('.stage img').getBoundingClientRect().width > 1.5 * width", arg=width
    )
    page.get_by_role("button", name=button).click()
    assert mark in stage.get_attribute("class")
    assert page.locator(".stage img").evaluate("image => getComputedStyle(image).filter") != "none"
    shoot(page, f"item-{modality}-{mark}")


def test_an_item_tells_how_it_became_a_vector_and_what_is_near(
    opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    open_first(page, site, "pleural effusion&modality=xray")
    steps = page.locator(".steps li").all_inner_texts()
    assert len(steps) >= 3
    assert "256 numbers" in steps[-1]
    assert "nearer to the query" in page.locator(".explained").inner_text().casefold()
    page.wait_for_selector(".near .card")
    assert page.locator(".near h3.across").all_inner_texts() == [
        "CTs",
        "fundus photographs",
        "ECGs",
        "pathology images",
    ]
    assert page.locator(".near section").first.locator(".kind").all_inner_texts() == ["X-ray"] * 8
    page.locator(".near").scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.near .shot img')].slice(0, 6).every(i => i.naturalWidth > 0)"
    )
    shoot(page, "neighbours")
    page.get_by_role("button", name="Find alike").click()
    page.wait_for_selector(".chip.similar")
    page.wait_for_selector(".card:not(.bone)")
    assert page.locator(".card .score").first.inner_text() == "1.000"


def test_an_item_whose_file_is_gone_shows_its_thumbnail_and_says_so(opened: Callable[..., Any], site: Site) -> None:
    page = opened(expects="409")
    page.goto(f"{site.url}/?q=effusion&modality=xray")
    page.wait_for_selector(".card:not(.bone)")
    away = '{"error": {"code": "archive-away", "message": "The file is not in the archive.", "remedy": "Mount it."}}'
    page.route("**/view", lambda route: route.fulfill(status=409, content_type="application/json", body=away))
    page.locator(".card h3 a").first.click()
    page.wait_for_selector(".viewer.away img")
    assert "Mount it." in page.locator(".viewer.away").inner_text()


def test_two_items_are_compared(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened("/?q=axial CT&modality=ct")
    page.wait_for_selector(".card:not(.bone)")
    series = page.locator(".card:has(.part)")
    chosen = [series.nth(place).get_attribute("data-id") for place in (0, 1)]
    for place in (0, 1):
        series.nth(place).get_by_role("button", name=re.compile("^Compare")).click()
    page.locator("#tray").get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_function("() => document.querySelectorAll('.pair .stage canvas[data-slice]').length === 2")
    assert page.url.endswith(f"compare={chosen[0]},{chosen[1]}")
    page.wait_for_function("() => document.querySelector('.nearness').textContent.startsWith('Similarity')")
    shoot(page, "compare")
    left, right = page.locator(".pair .stage canvas").all()
    assert page.get_by_label("Scroll both series together").is_checked()
    page.locator(".pair .stage").first.focus()
    page.get_by_label("Slice", exact=True).first.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => [...document.querySelectorAll('.pair canvas')].every(c => c.dataset.slice === '0')")
    assert left.get_attribute("data-slice") == right.get_attribute("data-slice") == "0"
    assert page.locator(".facts-table tbody tr").count() >= 4
    page.keyboard.press("Escape")
    page.wait_for_selector(".cards")
    assert page.locator("#tray").is_visible()
