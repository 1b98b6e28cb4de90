"""The list: asking by words, files and filters, refining, and what is shown where there is nothing to show."""

from __future__ import annotations

import ast
import base64
import csv
import json
import re
import shlex
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.web.page.conftest import HOSTILE, Site

pytestmark = pytest.mark.system

CARD = ".card:not(.bone)"
DROP = """async ([files]) => {
  const transfer = new DataTransfer();
  for (const {name, content} of files) {
    transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
  }
}"""


def drop(page: Any, *paths: Path) -> None:
    files = [{"name": path.name, "content": base64.b64encode(path.read_bytes()).decode()} for path in paths]
    page.evaluate(DROP, [files])


def taken(page: Any) -> None:
    """Waits until the server has read what was dropped."""
    page.wait_for_selector(".chip.upload img, .complaint")
    assert page.locator(".complaint").all_inner_texts() == []
    page.wait_for_selector(CARD)


def search(page: Any, words: str) -> None:
    page.fill("#text", words)
    page.press("#text", "Enter")
    page.wait_for_function("() => document.querySelector('.found')?.textContent.includes('nearest first')")


def titles(page: Any) -> list[str]:
    return page.locator(f"{CARD} h3").all_inner_texts()


def ids(page: Any) -> list[str]:
    return page.locator(CARD).evaluate_all("cards => cards.map(card => card.dataset.id)")


def said(page: Any, words: str) -> None:
    page.wait_for_function("words => document.getElementById('said').textContent.includes(words)", arg=words)


def test_words_find_items_and_stay_in_the_address(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened()
    shoot(page, "welcome")
    search(page, "pleural effusion on a chest X-ray")
    assert page.locator(CARD).count() == 24
    first = page.locator(CARD).first
    assert first.locator(".kind").inner_text() == "X-ray"
    assert "nearer than" in first.locator(".standing").inner_text()
    assert re.fullmatch(r"-?\d\.\d{3}", first.locator(".score").inner_text())
    said(page, "24 items shown")
    assert "q=pleural+effusion" in page.url
    assert page.title() == "pleural effusion on a chest X-ray · m3search"
    page.locator(".score-words summary").click()
    assert len(page.locator(".score-words p").inner_text()) > 60
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .shot img')].slice(0, 4).every(i => i.naturalWidth > 0)"
    )
    shoot(page, "results")
    found = ids(page)
    page.get_by_role("button", name="Show more").click()
    page.wait_for_function("() => document.querySelectorAll('.card:not(.bone)').length === 36")
    assert ids(page)[:24] == found
    assert page.evaluate("document.activeElement.closest('.card')?.dataset.id") == ids(page)[24]
    assert page.get_by_role("button", name="Show more").count() == 0
    found = ids(page)
    page.reload()
    page.wait_for_selector(CARD)
    assert ids(page) == found


def test_a_denial_is_told(opened: Callable[..., Any]) -> None:
    page = opened()
    search(page, "cardiomegaly, no effusion")
    assert page.locator(".denied em").inner_text() == "effusion"


def test_a_dropped_dicom_file_finds_itself(opened: Callable[..., Any], site: Site, shoot: Callable[..., None]) -> None:
    page = opened()
    film = site.archive.first("xray", format="dicom")
    path = site.archive.folder / film.path
    drop(page, path)
    taken(page)
    assert page.locator(".chip.upload .what").inner_text().endswith(path.name)
    assert page.locator(".drop").is_hidden()
    first = page.locator(CARD).first
    assert first.locator(".score").inner_text() == "1.000"
    assert first.locator(".kind").inner_text() == "X-ray"
    assert path.name not in page.url, "a file's name may name a patient"
    shoot(page, "dropped-dicom")
    page.get_by_role("button", name=f"Remove {path.name}").click()
    page.wait_for_selector(".welcome")


def test_a_dropped_ecg_is_a_header_with_its_data(
    opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    record = site.archive.first("ecg", format="wfdb")
    drop(page, *(site.archive.folder / file for file in record.files))
    taken(page)
    assert page.locator(CARD).first.locator(".kind").inner_text() == "ECG"
    assert page.locator(CARD).first.locator(".score").inner_text() == "1.000"
    shoot(page, "dropped-ecg")
    page.locator(".chips .modality[data-modality=xray]").click()  # across modalities
    page.wait_for_function("() => document.querySelector('.card .kind')?.textContent === 'X-ray'")
    assert set(page.locator(f"{CARD} .kind").all_inner_texts()) == {"X-ray"}


def test_a_file_is_chosen_by_button_and_a_picture_may_be_told_what_it_shows(
    opened: Callable[..., Any], site: Site
) -> None:
    page = opened()
    film = site.archive.first("xray", format="raster")
    page.set_input_files("#files", site.archive.folder / film.path)
    taken(page)
    page.wait_for_selector(".chip.upload select")
    page.locator(".chip.upload select").select_option("retina")
    page.wait_for_function("() => document.querySelector('.chip.upload select')?.value === 'retina'")
    assert page.locator(".chip.upload").count() == 1


def test_a_file_that_cannot_be_read_says_why(
    opened: Callable[..., Any], tmp_path: Path, shoot: Callable[..., None]
) -> None:
    page = opened(expects="422")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"this is no image of anything")
    drop(page, broken)
    page.wait_for_selector(".complaint")
    assert len(page.locator(".complaint").inner_text()) > 20
    shoot(page, "unreadable-file")
    page.get_by_role("button", name="Dismiss").click()
    assert page.locator(".complaint").count() == 0


def test_facets_and_chips_narrow_the_list(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened()
    search(page, "effusion")
    page.locator(".chips .modality[data-modality=xray]").click()
    page.wait_for_function("() => document.querySelector('.found').textContent.includes('of 20 items')")
    page.wait_for_selector(".facet li")
    sex = page.locator(".facet", has=page.get_by_text("Sex", exact=True))
    wanted = int(sex.locator("li .count").first.inner_text())
    sex.locator("li input").first.check()
    page.wait_for_function(f"() => document.querySelector('.found').textContent.includes('of {wanted} item')")
    assert page.locator(CARD).count() == wanted
    assert sex.locator("li input").first.is_checked()
    assert "modality=xray" in page.url
    assert "sex=" in page.url
    shoot(page, "facets")
    page.locator(".chips.active .chip button").click()
    page.wait_for_function("() => document.querySelector('.found').textContent.includes('of 20 items')")


def test_filters_that_leave_nothing_say_so_and_can_be_taken_away(
    opened: Callable[..., Any], shoot: Callable[..., None]
) -> None:
    page = opened("/?q=effusion&modality=xray&labels=No+such+label")
    page.wait_for_selector(".state")
    assert page.locator(".state h2").inner_text() == "No item passes these filters"
    shoot(page, "filtered-away")
    page.get_by_role("button", name="Remove filter Label: No such label").click()
    page.wait_for_selector(CARD)
    assert page.locator(CARD).count() == 20


def test_an_expression_filters_and_a_wrong_one_is_explained(opened: Callable[..., Any]) -> None:
    page = opened("/?q=effusion", expects="400")
    page.wait_for_selector(CARD)
    page.locator("summary", has_text="Expression").click()
    page.fill("#where", "modality = 'ct'")
    page.press("#where", "Enter")
    page.wait_for_function("() => document.querySelector('.found')?.textContent.includes('of 4 items')")
    page.fill("#where", "modality = ")
    page.press("#where", "Enter")
    page.wait_for_selector("#where-wrong")
    assert page.locator(".state.error h2").inner_text() == "The filter is not understood"


def test_more_like_and_less_like_refine_the_query(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened()
    search(page, "chest")
    before = ids(page)
    last = page.locator(f"{CARD}.ct").last
    chosen = last.get_attribute("data-id")
    last.get_by_role("button", name=re.compile("More like this")).click()
    page.wait_for_selector(".chip.like")
    page.wait_for_function("id => !document.querySelector(`.card[data-id='${id}']`)", arg=chosen)
    assert page.locator(f"{CARD} .kind").first.inner_text() == "CT"
    assert ids(page) != before
    assert f"like={chosen}" in page.url
    unwanted = ids(page)[0]
    page.locator(CARD).first.get_by_role("button", name=re.compile("Less like this")).click()
    page.wait_for_selector(".chip.unlike")
    page.wait_for_function("id => !document.querySelector(`.card[data-id='${id}']`)", arg=unwanted)
    shoot(page, "refined")
    page.locator(".chip.like").get_by_role("button").click()
    page.locator(".chip.unlike").get_by_role("button").click()
    page.wait_for_function("() => document.querySelectorAll('#ingredients .chip').length === 0")
    page.wait_for_function(
        "ids => ids.join() === [...document.querySelectorAll('.card:not(.bone)')].map(card => card.dataset.id).join()",
        arg=before,
    )


def test_nothing_of_an_archive_becomes_markup(opened: Callable[..., Any]) -> None:
    page = opened("/?q=fundus&modality=retina")
    page.wait_for_selector(CARD)
    hostile = page.locator(CARD, has=page.locator(".text", has_text="onerror"))
    assert hostile.locator(".text").inner_text() == HOSTILE
    hostile.locator("h3 a").click()
    page.wait_for_selector(".full-text")
    assert page.locator(".full-text").inner_text() == HOSTILE
    assert page.title() != "pwned"


def test_the_shown_list_is_saved_as_csv_and_as_a_sheet(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("/?q=effusion&modality=retina,ct")
    page.wait_for_selector(CARD)
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(newline="") as file:
        assert [row["item_id"] for row in csv.DictReader(file)] == ids(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Sheet").click()
    saved.value.save_as(tmp_path / "sheet.html")
    sheet = (tmp_path / "sheet.html").read_text()
    assert sheet.count("<img ") == 8
    assert "<script" not in sheet


def test_the_query_is_given_as_python_and_as_curl(
    opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened('/?q=it\'s+an+"effusion"&modality=xray,ct&sex=F&sex=M&mode=hybrid')
    page.wait_for_selector(CARD)
    page.get_by_role("button", name="Code").click()
    shoot(page, "code")
    python, curl = page.locator("dialog pre code").all_inner_texts()
    call = next(node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call) and node.keywords)
    asked = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert ast.literal_eval(call.args[0]) == 'it\'s an "effusion"'
    assert asked == {"modality": ["xray", "ct"], "where": "(sex = 'F' or sex = 'M')", "mode": "hybrid", "k": 24}
    words = shlex.split(curl.replace("\\\n", " ").replace("$M3SEARCH_TOKEN", site.link.split("token=")[1]))
    headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    request = urllib.request.Request(words[-1], words[words.index("-d") + 1].encode(), headers)
    with urllib.request.urlopen(request) as answer:
        assert [hit["item_id"] for hit in json.load(answer)["hits"]] == ids(page)


def test_a_server_that_ended_is_told_and_asked_again(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened(expects="ERR_FAILED")
    page.route("**/v1/search", lambda route: route.abort())
    page.fill("#text", "effusion")
    page.press("#text", "Enter")
    page.wait_for_selector(".state.error")
    assert "does not answer" in page.locator(".state.error").inner_text()
    shoot(page, "server-away")
    page.unroute("**/v1/search")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(CARD)


def test_a_slow_search_shows_that_it_goes_on(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened()
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/v1/search", hold)
    page.fill("#text", "effusion")
    page.press("#text", "Enter")
    page.wait_for_selector(".cards[aria-busy=true]")
    shoot(page, "searching")
    held[0].continue_()
    page.wait_for_selector(CARD)


def test_without_the_token_nothing_is_shown(opened: Callable[..., Any], site: Site, shoot: Callable[..., None]) -> None:
    page = opened("/?q=effusion", signed_in=False, expects="401")
    page.wait_for_selector("dialog #token")
    shoot(page, "sign-in")
    assert page.locator(CARD).count() == 0
    page.fill("#token", "wrong")
    page.press("#token", "Enter")
    page.wait_for_selector("dialog .wrong")
    page.fill("#token", site.link)  # the whole link will do
    page.press("#token", "Enter")
    page.wait_for_selector(CARD)
    assert "token" not in page.url
