"""Files of the real archive on the page: dropped as people drop them, and looked at."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import m3search
from tests.web.page.conftest import Archive, Site
from tests.web.page.test_searching import CARD, drop, ids, search, taken

pytestmark = [pytest.mark.system, pytest.mark.shared_data]

FILMS = ("xray/dicomdir/77654033/CR1", "xray/dicom")  # computed, and digital
RECORDS = ("ecg/ptbxl_500hz/00021_hr", "ecg/cinc2021_wfdb_mat/E07503")  # .dat, .mat


@pytest.fixture(scope="module")
def site(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole archive, indexed and served as users would."""
    pytest.importorskip("fastapi", reason="the serve extra is not installed")
    from m3search.indexer import Options
    from m3search.web.server import running
    from m3search.web.settings import Settings

    index = tmp_path_factory.mktemp("real") / "index"
    report = m3search.index(shared_data / "archive", index, options=Options(workers=2))
    assert report.indexed > 100
    with running(Settings(index=index, port=0)) as server:
        yield Site(server.url.rstrip("/"), server.link, Archive(shared_data / "archive", index, []))


def _best(page: Any) -> tuple[str, str]:
    """Modality and score of the first hit."""
    card = page.locator(CARD).first
    return card.locator(".kind").inner_text(), card.locator(".score").inner_text()


def _drawn(page: Any) -> None:
    """Waits for the pictures of the first hits."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card .shot img')].slice(0, 8).every(i => i.naturalWidth > 0)"
    )


@pytest.mark.parametrize("place", FILMS)
def test_a_dicom_xray(place: str, opened: Callable[..., Any], site: Site, shoot: Callable[..., None]) -> None:
    page = opened()
    path = min(path for path in (site.archive.folder / place).iterdir() if path.is_file())
    drop(page, path)
    taken(page)
    assert _best(page) == ("X-ray", "1.000")
    assert path.name not in page.url
    _drawn(page)
    shoot(page, f"real-{place.split('/')[1]}")
    page.locator(CARD).nth(1).locator("h3 a").click()
    page.wait_for_selector(".viewer canvas, .viewer img")
    page.go_back()
    page.wait_for_selector(".chip.upload img")
    assert _best(page) == ("X-ray", "1.000")


@pytest.mark.parametrize("record", RECORDS)
def test_an_ecg_and_its_signal_file(
    record: str, opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    header = site.archive.folder / f"{record}.hea"
    signals = [path for path in header.parent.glob(f"{header.stem}.*") if path.suffix != ".hea"]
    assert len(signals) == 1
    drop(page, header, *signals)
    taken(page)
    assert _best(page) == ("ECG", "1.000")
    _drawn(page)
    shoot(page, f"real-{header.stem}")
    page.locator(".chips .modality[data-modality=xray]").click()
    page.wait_for_function("() => document.querySelector('.card .kind')?.textContent === 'X-ray'")


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("ct/nifti/totalsegmentator_example_ct_small.nii.gz", "CT"),
        ("retina/srahim_fullres/Patient001_L.jpg", "Fundus"),
        ("pathology/wsi/cmu-1-small-region.svs", "Pathology"),
    ],
)
def test_a_volume_a_photograph_and_a_slide(
    place: str, kind: str, opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    path = site.archive.folder / place
    drop(page, path)
    taken(page)
    assert _best(page) == (kind, "1.000")
    if path.suffix == ".jpg":  # says nothing of itself: the encoder guesses, and can be corrected
        assert page.locator(".chip.upload select").input_value() == "retina"
    else:
        assert page.locator(".chip.upload select").count() == 0
    _drawn(page)
    shoot(page, f"real-dropped-{kind.lower()}")


def test_a_zip_file_is_refused_in_words(
    opened: Callable[..., Any], site: Site, tmp_path: Path, shoot: Callable[..., None]
) -> None:
    page = opened(expects="422")
    folder = site.archive.folder / "ct" / "dicomdir" / "77654033" / "CT2"
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
    drop(page, tmp_path / "series.zip")
    page.wait_for_selector(".complaint")
    words = page.locator(".complaint").inner_text().removesuffix("\nDismiss")
    assert words == "series.zip: is a zip file; unpack it and send the files of one examination"
    shoot(page, "real-zip")
    drop(page, *sorted(folder.iterdir()))
    taken(page)
    assert _best(page) == ("CT", "1.000")


def test_a_header_alone_says_what_is_missing(opened: Callable[..., Any], site: Site) -> None:
    page = opened(expects="422")
    drop(page, site.archive.folder / f"{RECORDS[0]}.hea")
    page.wait_for_selector(".complaint")
    assert ".dat" in page.locator(".complaint").inner_text()


@pytest.mark.parametrize(
    ("name", "asked", "shown"),
    [
        ("ct", "chest CT&modality=ct&where=format+%3D+'dicom'+and+uri+contains+'tcia'", ".stage canvas[data-slice]"),
        ("slide", "histology&modality=pathology&where=format+%3D+'slide'", ".stage canvas[data-waiting='0']"),
        ("ecg", "atrial fibrillation&modality=ecg", ".viewer svg, .viewer img"),
        ("retina", "diabetic retinopathy&modality=retina", ".viewer canvas, .viewer img"),
    ],
)
def test_items_are_looked_at(
    name: str, asked: str, shown: str, opened: Callable[..., Any], site: Site, shoot: Callable[..., None]
) -> None:
    page = opened()
    page.goto(f"{site.url}/?q={asked}")
    page.wait_for_selector(CARD)
    page.wait_for_load_state("networkidle")
    _drawn(page)
    shoot(page, f"real-{name}-list")
    page.locator(CARD).first.locator("h3 a").click()
    page.wait_for_selector(shown)
    page.wait_for_load_state("networkidle")
    assert page.locator(".viewer.away").count() == 0
    shoot(page, f"real-{name}")


def test_words_find_what_reports_say(opened: Callable[..., Any], shoot: Callable[..., None]) -> None:
    page = opened()
    search(page, "atrial fibrillation")
    assert "ECG" in page.locator(f"{CARD} .kind").all_inner_texts()[:5]
    first = ids(page)
    page.locator(CARD).nth(1).get_by_role("button", name="More like this").click()
    page.wait_for_function("() => location.search.includes('like=')")
    page.wait_for_selector(CARD)
    assert set(ids(page)[:10]) & set(first)
    _drawn(page)
    shoot(page, "real-words")
