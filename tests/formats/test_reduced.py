"""Pictures decoded at a fraction of their size: like the whole ones scaled down, and whole where that is safer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels, raster
from m3search.formats.dicom_codestream import coding_2000, encoded_frame
from m3search.formats.dicom_reduced import decode_reduced
from m3search.formats.limits import halvings
from m3search.modalities.xray import XRay
from m3search.types import InputSpec, Source

LOSSLESS = UID("1.2.840.10008.1.2.4.90")
SPEC = InputSpec("image", size=64)


def picture(shape: tuple[int, int]) -> np.ndarray:
    """float64 in [0, 1], smooth with edges: what a radiograph is to a decoder."""
    rng = np.random.default_rng(3)
    blobs = gaussian_filter(rng.normal(size=shape), 20)
    return (blobs - blobs.min()) / np.ptp(blobs) * 0.8 + 0.2 * (gaussian_filter(rng.normal(size=shape), 9) > 0)


def write(path: Path, shape: tuple[int, int] = (430, 401), signed: bool = False, bits: int = 12) -> np.ndarray:
    values = (picture(shape) * (2**bits - 1)).astype(np.uint16)
    if signed:
        values = (values.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.ImagerPixelSpacing = ["0.2", "0.2"]
    dataset.WindowCenter, dataset.WindowWidth = 0 if signed else 2 ** (bits - 1), 2**bits
    dataset.PixelData = values.tobytes()
    dataset.compress(LOSSLESS, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return values


@pytest.mark.parametrize(
    ("longest", "least", "times"), [(2048, 768, 1), (1535, 768, 0), (1536, 768, 1), (9, 2, 2), (9, 0, 0)]
)
def test_halvings_keep_what_is_needed(longest: int, least: int, times: int) -> None:
    assert halvings(longest, least) == times


@pytest.mark.parametrize(("signed", "bits"), [(False, 12), (True, 12), (False, 16), (True, 16)])
def test_jpeg_2000_at_half_size_is_the_image_scaled_down(tmp_path: Path, signed: bool, bits: int) -> None:
    whole = write(tmp_path / "a.dcm", signed=signed, bits=bits)
    values = decode_reduced(dicom.read_dataset(tmp_path / "a.dcm"), 0, 200)
    assert values is not None
    assert values.dtype == whole.dtype
    assert values.shape == (215, 201)
    half = np.asarray(Image.fromarray(whole.astype(np.float32)).resize((201, 215), Image.Resampling.BOX))
    assert np.abs(values - half).mean() < 0.01 * 2**bits


def test_a_radiograph_says_that_it_was_decoded_at_half_its_size(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", (1540, 90))
    source = Source("xray", "dicom", (tmp_path / "a.dcm",))
    item = XRay().read(source, SPEC)
    assert item.parts[0].data.shape == (770, 45)
    assert item.parts[0].spacing_mm == pytest.approx(0.4)
    assert item.provenance["size"] == [1540, 90]
    assert "decoded at 45 x 770" in item.provenance["pixels"]
    whole = dicom_pixels.displayed(tmp_path / "a.dcm", dicom.read_dataset(tmp_path / "a.dcm"))
    difference = XRay().prepare(item, SPEC).astype(int) - raster_input(whole.pixels)
    assert np.abs(difference).mean() < 2


def raster_input(pixels: np.ndarray) -> np.ndarray:
    from m3search.modalities.imaging import letterbox

    return letterbox(pixels, SPEC.size)[None].astype(int)


def test_a_stream_without_its_end_is_left_to_the_full_decoder(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm")
    dataset = dicom.read_dataset(tmp_path / "a.dcm")
    stream = encoded_frame(dataset, 0)
    coding = coding_2000(stream)
    assert coding is not None
    assert (coding.components, coding.bits, coding.signed, coding.whole) == (1, 12, False, True)
    dataset.PixelData = encapsulate([stream[: len(stream) // 2]])
    assert decode_reduced(dataset, 0, 200) is None


def test_what_the_header_says_of_the_samples_must_be_so(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm")
    dataset = dicom.read_dataset(tmp_path / "a.dcm")
    dataset.PixelRepresentation = 1
    assert decode_reduced(dataset, 0, 200) is None
    dataset.PixelRepresentation, dataset.BitsStored = 0, 10
    assert decode_reduced(dataset, 0, 200) is None


@pytest.mark.parametrize(
    "stream", [b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51" + bytes(40), b"\xff\x4f\xff\x51" + b"\xff" * 60]
)
def test_no_coding_is_found_in_what_is_no_codestream(stream: bytes) -> None:
    assert coding_2000(stream) is None


def test_another_size_than_stated_is_refused_at_half_size_too(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm")
    dataset = dicom.read_dataset(tmp_path / "a.dcm")
    dataset.Rows = 420
    with pytest.raises(UnreadableFile) as caught:
        dicom_pixels.displayed(tmp_path / "a.dcm", dataset, least=200)
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_at_half_size_is_the_picture_scaled_down(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray((picture((440, 400)) * 255).astype(np.uint8))
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / "a.jpg", quality=95, exif=exif)
    whole, half = raster.read(tmp_path / "a.jpg"), raster.read(tmp_path / "a.jpg", 200)
    assert half.pixels.shape == ((220, 200) if orientation == 1 else (200, 220))
    assert half.size == whole.size == whole.pixels.shape
    assert half.description[0] == "decoded at 200 x 220"
    box = np.asarray(Image.fromarray(whole.pixels).reduce(2)).astype(int)
    assert np.abs(half.pixels - box).mean() < 1


def test_other_pictures_are_read_whole(tmp_path: Path) -> None:
    Image.fromarray((picture((400, 300)) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    assert raster.read(tmp_path / "a.png", 100).pixels.shape == (400, 300)
