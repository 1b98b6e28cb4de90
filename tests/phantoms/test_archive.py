"""The archive as a whole: deterministic, readable by the usual libraries, described by its manifests."""

from __future__ import annotations

import csv
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import UsageError
from m3search.phantoms import ALL, Phantom, examine, picture, write_archive
from m3search.phantoms.examination import painter
from m3search.phantoms.files import COLUMNS

PATIENTS = 3


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Phantom]]:
    folder = tmp_path_factory.mktemp("phantoms")
    return folder, write_archive(folder, PATIENTS, seed=7)


def of(archive: tuple[Path, list[Phantom]], modality: str, format_: str) -> list[tuple[Path, Phantom]]:
    folder, phantoms = archive
    found = [(folder / p.path, p) for p in phantoms if (p.modality, p.format) == (modality, format_)]
    assert found
    return found


def test_same_seed_same_bytes_whatever_else_is_written(archive: tuple[Path, list[Phantom]], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_archive(tmp_path, 1, seed=7, modalities=["pathology", "ecg", "ct"], progress=lambda *n: calls.append(n))
    first, again = digest(archive[0]), digest(tmp_path)
    same = {path: value for path, value in again.items() if not path.endswith("manifest.csv")}
    assert len(same) == 1 + 2 + 20  # a slide, a header with its data, the slices of a CT series
    assert same.items() <= first.items()
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_another_seed_draws_another_archive(archive: tuple[Path, list[Phantom]], tmp_path: Path) -> None:
    write_archive(tmp_path, 1, seed=8, modalities=["ecg", "xray"])
    assert not set(digest(tmp_path).values()) & set(digest(archive[0]).values())


def test_manifests_have_the_columns_and_name_every_file(archive: tuple[Path, list[Phantom]]) -> None:
    folder, phantoms = archive
    for modality in ALL:
        with (folder / modality / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        listed = {f"{modality}/{row['path']}" for row in rows}
        written = {name for p in phantoms if p.modality == modality for name in p.files if not name.endswith(".dat")}
        assert listed == written
        assert {row["source"] for row in rows} == {"m3search phantom"}
        assert {row["license"] for row in rows} == {"Apache-2.0"}
        assert all(row["group"] == row["patient_id"] and row["text"] and row["labels"] for row in rows)
        assert {row["fs"] for row in rows} == ({"500"} if modality == "ecg" else {""})


def test_one_examination_of_each_modality_per_patient(archive: tuple[Path, list[Phantom]]) -> None:
    folder, phantoms = archive
    assert Counter(p.modality for p in phantoms) == dict.fromkeys(ALL, PATIENTS)
    assert len({p.patient_id for p in phantoms}) == PATIENTS
    assert all((folder / p.path).exists() for p in phantoms)
    people = {(p.patient_id, p.sex, p.age) for p in phantoms}
    assert len(people) == PATIENTS


def test_radiographs(archive: tuple[Path, list[Phantom]]) -> None:
    pydicom = pytest.importorskip("pydicom")
    sets = [pydicom.dcmread(path) for path, _ in of(archive, "xray", "dicom")]
    assert {ds.PhotometricInterpretation for ds in sets} == {"MONOCHROME1", "MONOCHROME2"}
    for ds in sets:
        assert ds.Manufacturer == "m3search phantom"
        assert ds.BitsStored == 12
        image = ds.pixel_array.astype(float)
        assert image.shape == (512, 512)
        assert image.max() < 4096
        air, abdomen = image[-20:, :10].mean(), image[-60:, 200:300].mean()
        assert (air > abdomen) == (ds.PhotometricInterpretation == "MONOCHROME1")
        low = float(ds.WindowCenter) - float(ds.WindowWidth) / 2
        assert low - 1 <= image.min() <= image.max() <= low + float(ds.WindowWidth) + 1


def test_ct_series_is_ordered_by_position_alone(archive: tuple[Path, list[Phantom]]) -> None:
    pydicom = pytest.importorskip("pydicom")
    for path, phantom in of(archive, "ct", "dicom"):
        slices = [pydicom.dcmread(file) for file in sorted(path.iterdir())]
        heights = [float(ds.ImagePositionPatient[2]) for ds in slices]
        assert heights != sorted(heights)
        by_number = sorted(slices, key=lambda ds: ds.InstanceNumber)
        assert [float(ds.ImagePositionPatient[2]) for ds in by_number] != sorted(heights)
        assert len({ds.SeriesInstanceUID for ds in slices}) == 1
        assert len({ds.SOPInstanceUID for ds in slices}) == len(slices) == len(phantom.files)
        ordered = sorted(slices, key=lambda ds: float(ds.ImagePositionPatient[2]))
        hu = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in ordered])
        number = int(phantom.patient_id.rsplit("-", 1)[1])
        assert np.array_equal(hu, picture(examine("ct", number, 7)).hu)


def test_nifti(archive: tuple[Path, list[Phantom]]) -> None:
    nibabel = pytest.importorskip("nibabel")
    ((path, phantom),) = of(archive, "ct", "nifti")
    image = nibabel.load(path)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    scan = picture(examine("ct", int(phantom.patient_id.rsplit("-", 1)[1]), 7))
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), scan.hu)
    assert image.header.get_zooms() == pytest.approx(scan.spacing_mm[::-1])


def test_fundus_photographs(archive: tuple[Path, list[Phantom]]) -> None:
    pydicom = pytest.importorskip("pydicom")
    from PIL import Image

    ((path, phantom),) = of(archive, "retina", "dicom")
    ds = pydicom.dcmread(path)
    assert {"L": "left", "R": "right"}[ds.ImageLaterality] in phantom.text
    drawn = picture(examine("retina", int(phantom.patient_id.rsplit("-", 1)[1]), 7)).astype(float)
    decoded = ds.pixel_array
    assert decoded.shape == drawn.shape
    assert np.abs(decoded - drawn).mean() < 6  # JPEG, colours intact
    for file, _ in of(archive, "retina", "raster"):
        assert Image.open(file).mode == "RGB"


def test_ecgs(archive: tuple[Path, list[Phantom]]) -> None:
    pydicom, wfdb = pytest.importorskip("pydicom"), pytest.importorskip("wfdb")
    for path, phantom in of(archive, "ecg", "wfdb"):
        record = wfdb.rdrecord(str(path.with_suffix("")))
        signal = picture(examine("ecg", int(phantom.patient_id.rsplit("-", 1)[1]), 7))
        assert record.sig_name[:3] == ["I", "II", "III"]
        assert record.fs == 500
        assert np.abs(record.p_signal.T - signal).max() < 0.0006  # millivolts
        stored = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        assert stored.calc_checksum() == [checksum % 2**16 for checksum in record.checksum]
    for path, phantom in of(archive, "ecg", "dicom"):
        ds = pydicom.dcmread(path)
        millivolts = ds.waveform_array(0).T / 1000
        signal = picture(examine("ecg", int(phantom.patient_id.rsplit("-", 1)[1]), 7))
        assert np.abs(millivolts - signal).max() < 0.0007
        sources = [c.ChannelSourceSequence[0].CodeMeaning for c in ds.WaveformSequence[0].ChannelDefinitionSequence]
        assert sources[3:6] == ["Lead aVR", "Lead aVL", "Lead aVF"]


def test_slides(archive: tuple[Path, list[Phantom]]) -> None:
    openslide, tifffile = pytest.importorskip("openslide"), pytest.importorskip("tifffile")
    for path, _ in of(archive, "pathology", "slide"):
        with tifffile.TiffFile(path) as tiff:
            assert [page.shape[0] for page in tiff.pages] == [1536, 768, 384]
            assert tiff.pages[0].is_tiled
        slide = openslide.OpenSlide(path)
        assert slide.level_count == 3
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5, rel=1e-3)
        whole = np.asarray(slide.read_region((0, 0), 2, (384, 384)).convert("RGB"))
        assert whole[:8, :8].min() > 220
        assert whole[130:254, 130:254].std() > 10  # tissue in the middle


def test_texts_and_labels_agree_with_the_findings() -> None:
    for modality in ALL:
        kinds = painter(modality).KINDS
        block = [examine(modality, number, seed=3) for number in range(len(kinds))]
        assert {exam.findings[0].kind if exam.findings else "normal" for exam in block} == set(kinds)
        for exam in block:
            assert exam.text
            assert "{" not in exam.text + exam.caption
            assert "  " not in exam.text
            assert exam.labels
            for finding in exam.findings:
                if modality != "retina" and finding.side:
                    assert finding.side in exam.text.lower()


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mri"):
        write_archive(tmp_path, 1, modalities=["mri"])
    with pytest.raises(UsageError, match="0 patients"):
        write_archive(tmp_path, 0)
    assert not list(tmp_path.iterdir())
