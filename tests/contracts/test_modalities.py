"""What every modality keeps, on a small file of each format it is found in."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3search import formats, modalities
from m3search.encoders.fake import FAKE_INPUTS, FakeEncoder
from m3search.errors import Reason, UnreadableFile
from m3search.modalities import MODALITIES, reading
from m3search.types import Item, Source

PLANTED = ("PLANTED", "ID-77-SECRET", "19431207", "ACC-4711")  # name, patient id, birth date, accession number


def picture(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A disc with texture on black, uint8 (H, W, 3): large enough contrast for any reader."""
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.42 * min(height, width)) ** 2
    texture = 0.6 + 0.4 * np.sin(x / 7) * np.cos(y / 11)
    return (disc[..., None] * texture[..., None] * np.array(colour)).astype(np.uint8)


def write_png(folder: Path) -> tuple[Path, ...]:
    Image.fromarray(picture(150, 200, (220, 140, 90))).save(folder / "picture.png")
    return (folder / "picture.png",)


def write_tissue(folder: Path) -> tuple[Path, ...]:
    """Pink and purple all over: a patch of stained tissue has no background."""
    blobs = np.random.RandomState(0).randint(0, 2, (24, 24, 1)).repeat(10, axis=0).repeat(10, axis=1)
    patch = np.where(blobs, np.array([90, 40, 120]), np.array([220, 150, 190])).astype(np.uint8)
    Image.fromarray(patch).save(folder / "patch.tif")
    return (folder / "patch.tif",)


def write_dicom(
    folder: Path, sop_class: str, kind: str, pixels: list[np.ndarray], **attributes: object
) -> tuple[Path, ...]:
    """One single-frame file per array: axial slices 3 mm apart, whose names and numbers are in another order."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    study, series = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=[kind, "series"])
    files = []
    for index, array in enumerate(pixels):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[kind, str(index)])
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = study, series, kind
        data.PatientName, data.PatientID, data.PatientBirthDate, data.AccessionNumber = "PLANTED^PATIENT", *PLANTED[1:]
        data.PatientSex, data.PatientAge, data.StudyDate, data.BodyPartExamined = "F", "064Y", "20200102", "CHEST"
        data.Rows, data.Columns, data.SamplesPerPixel = *array.shape, 1
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PhotometricInterpretation = "MONOCHROME2"
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3.0 * index], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.InstanceNumber = [0.8, 0.8], 3.0, len(pixels) - index
        for keyword, value in attributes.items():
            setattr(data, keyword, value)
        data.PixelData = array.astype(np.uint16).tobytes()
        files.append(folder / f"{(index * 7) % 10}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return tuple(sorted(files))


def write_radiograph(folder: Path) -> tuple[Path, ...]:
    pixels = picture(160, 140, (255, 255, 255))[..., 0].astype(np.uint16) * 16
    return write_dicom(
        folder, "1.2.840.10008.5.1.4.1.1.1", "CR", [pixels], ViewPosition="PA", WindowCenter=2048, WindowWidth=4096
    )


def write_ct_series(folder: Path) -> tuple[Path, ...]:
    slices = [picture(96, 96, (255, 255, 255))[..., 0].astype(np.uint16) * (4 + index) for index in range(5)]
    return write_dicom(
        folder, "1.2.840.10008.5.1.4.1.1.2", "CT", slices,
        RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    )  # fmt: skip


def write_ct_nifti(folder: Path) -> tuple[Path, ...]:
    import nibabel

    volume = np.stack([picture(64, 64, (255, 255, 255))[..., 0].astype(np.int16) * 5 - 1000] * 6, axis=2)
    nibabel.Nifti1Image(volume, np.diag([1.5, 1.5, 4.0, 1])).to_filename(folder / "volume.nii.gz")
    return (folder / "volume.nii.gz",)


def write_wfdb(folder: Path) -> tuple[Path, ...]:
    import wfdb

    time = np.arange(0, 12, 1 / 250)
    beat = np.exp(-(((time % 0.8) - 0.3) ** 2) / 0.0002)
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    signal = np.stack([beat * (1 - index / 8) for index in range(12)], axis=1)
    wfdb.wrsamp("record", 250, ["mV"] * 12, leads, signal, fmt=["16"] * 12, write_dir=str(folder))
    return (folder / "record.hea",)


@dataclass(frozen=True)
class Case:
    """Files of one item. `declared`: its header cannot say what it is."""

    modality: str
    write: Callable[[Path], tuple[Path, ...]]
    declared: bool = False
    parts: int = 1

    def __str__(self) -> str:
        return f"{self.modality}-{self.write.__name__.removeprefix('write_')}"


CASES = (
    Case("xray", write_radiograph),
    Case("xray", write_png, declared=True),
    Case("ct", write_ct_series, parts=5),
    Case("ct", write_ct_nifti, parts=6),
    Case("ct", write_png, declared=True),
    Case("retina", write_png, declared=True),
    Case("ecg", write_wfdb),
    Case("pathology", write_tissue, declared=True),
)


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def source(case: Case, tmp_path: Path) -> Source:
    files = case.write(tmp_path)
    kind = formats.sniff(files[0])
    assert kind is not None
    return Source(case.modality, kind, files, "manifest" if case.declared else "header")


@pytest.fixture
def item(source: Source) -> Item:
    return reading.read_item(source, FAKE_INPUTS[source.modality])


def test_every_modality_has_a_case() -> None:
    assert {case.modality for case in CASES} == set(MODALITIES)


def test_header_says_what_it_can(case: Case, source: Source) -> None:
    header = reading.header_of(source.files[0])
    claims = [name for name in MODALITIES if modalities.get(name).recognises(header)]
    assert claims == ([] if case.declared else [case.modality])


def test_series_groups_only_what_belongs_together(case: Case, source: Source) -> None:
    modality = modalities.get(case.modality)
    series = {modality.series(reading.header_of(file)) for file in source.files}
    assert len(series) == 1
    assert (series != {""}) or len(source.files) == 1


def test_item_is_as_types_describes_it(case: Case, item: Item, source: Source) -> None:
    assert item.source == source
    assert len(item.parts) == min(case.parts, FAKE_INPUTS[case.modality].max_parts)
    assert len({part.locator for part in item.parts}) == len(item.parts)
    for part in item.parts:
        if case.modality == "ecg":
            assert part.data.dtype == np.float32
            assert part.data.shape[0] == 12
            assert part.rate_hz > 0
        elif part.data.dtype == np.float32:
            assert case.modality == "ct"
            assert part.data.ndim == 2
        else:
            assert part.data.dtype == np.uint8
            assert part.data.ndim == 2 or part.data.shape[2:] == (3,)


def test_parts_stay_below_the_limit(case: Case, source: Source) -> None:
    from dataclasses import replace

    item = reading.read_item(source, replace(FAKE_INPUTS[case.modality], max_parts=2))
    assert 1 <= len(item.parts) <= 2


def test_prepared_input_is_what_the_tower_takes(case: Case, item: Item) -> None:
    spec = FAKE_INPUTS[case.modality]
    inputs = modalities.get(case.modality).prepare(item, spec)
    shape = (12, round(spec.rate_hz * spec.seconds)) if spec.kind == "signal" else (3, spec.size, spec.size)
    assert inputs.shape == (len(item.parts), *shape)
    assert inputs.dtype == (np.float32 if spec.kind == "signal" else np.uint8)
    assert np.ptp(np.nan_to_num(inputs[0]).astype(np.float32)) > 0
    np.testing.assert_array_equal(inputs, modalities.get(case.modality).prepare(item, spec))


def test_provenance_and_tags_are_storable_and_name_nobody(item: Item) -> None:
    written = json.dumps(item.provenance) + repr(item) + item.text
    assert item.provenance
    assert not [secret for secret in PLANTED if secret in written]


def test_item_crosses_process_boundaries(item: Item) -> None:
    again = pickle.loads(pickle.dumps(item))
    np.testing.assert_array_equal(again.parts[0].data, item.parts[0].data)


def test_thumbnail_is_a_small_picture(case: Case, item: Item) -> None:
    with Image.open(io.BytesIO(modalities.get(case.modality).thumbnail(item))) as thumbnail:
        assert thumbnail.format in ("JPEG", "PNG")
        assert max(thumbnail.size) <= (512 if case.modality == "ecg" else 256)
        assert np.ptp(np.asarray(thumbnail.convert("L"))) > 30


def test_truncated_file_is_reported_by_name(case: Case, source: Source, tmp_path: Path) -> None:
    victim = source.files[0] if case.modality != "ecg" else tmp_path / "record.dat"
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 3])
    with pytest.raises(UnreadableFile) as caught:
        reading.read_item(Source(case.modality, source.format, (source.files[0],)), FAKE_INPUTS[case.modality])
    assert caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT)
    assert source.files[0].name in str(caught.value) or victim.name in str(caught.value)
    assert not [secret for secret in PLANTED if secret in str(caught.value)]


def test_file_that_vanished_is_reported(case: Case, source: Source) -> None:
    for file in source.files:
        file.unlink()
    with pytest.raises(UnreadableFile) as caught:
        reading.read_item(source, FAKE_INPUTS[case.modality])
    assert caught.value.reason in (Reason.VANISHED, Reason.MISSING_FILE)


def test_querying_by_file_gives_the_indexed_vector(case: Case, source: Source, item: Item) -> None:
    encoder = FakeEncoder()
    vector, part_vectors = encoder.encode_item(item)
    assert part_vectors.shape == (len(item.parts), encoder.dim)
    queried = encoder.encode_files([source.files[0]], modality=case.modality if case.declared else None)
    assert queried.shape == (1, encoder.dim)
    if len(source.files) == 1:
        assert float(queried[0] @ vector) >= 0.999


def test_folder_names_hint_at_one_modality_only() -> None:
    hints = [word for name in MODALITIES for word in modalities.get(name).folder_names]
    assert len(hints) == len(set(hints))
    assert hints == [word.casefold() for word in hints]
