"""What decodes, but shows nothing, is left out; whatever an archive really holds is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.plausible import refuse_implausible
from m3search.modalities.reading import read_item, source_of
from m3search.phantoms import Phantom
from m3search.types import InputSpec, Item, Part, Source

RNG = np.random.default_rng(11)
SPEC = InputSpec("image", size=32, max_parts=4)


def item(*images: np.ndarray, modality: str = "xray") -> Item:
    parts = tuple(Part(str(number), image) for number, image in enumerate(images))
    return Item(Source(modality, "raster", (Path("a.png"),)), parts)


def reason_of(one: Item) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        refuse_implausible(one)
    return caught.value.reason


def ramp(height: int = 90, width: int = 80) -> np.ndarray:
    return np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("image", [ramp(8, 8), ramp(400, 20), np.dstack([ramp()] * 3), ramp() // 64 * 64])
def test_an_image_passes(image: np.ndarray) -> None:
    refuse_implausible(item(image))


def test_a_noisy_image_passes() -> None:
    grains = RNG.normal(0, 25, (200, 200))
    refuse_implausible(item(np.clip(ramp(200, 200) * 0.5 + 60 + grains, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize(
    "image", [noise(90, 90), noise(90, 90, 3), ramp(7, 300), ramp(2000, 20), RNG.normal(0, 300, (90, 90)).astype("f4")]
)
def test_noise_and_what_is_too_small_do_not(image: np.ndarray) -> None:
    assert reason_of(item(image)) is Reason.IMPLAUSIBLE


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nearly_one_value_is_constant(value: int) -> None:
    image = np.full((700, 600), value, np.uint8)
    image[100:112, 40:52] = 77
    assert reason_of(item(image)) is Reason.CONSTANT
    image[100:300, 40:240] = ramp(200, 200)
    refuse_implausible(item(image))


def test_air_alone_is_no_scan() -> None:
    air = np.full((64, 64), -1000, np.float32)
    air[20:40, 20:40] = -900
    assert reason_of(item(air, air, modality="ct")) is Reason.IMPLAUSIBLE
    body = air.copy()
    body[20:40, 20:40] = 40
    refuse_implausible(item(air, body, modality="ct"))  # one slice saves the others


def test_signals_are_not_looked_at() -> None:
    refuse_implausible(item(np.zeros((12, 9)), modality="ecg"))


def test_every_phantom_passes(phantoms: tuple[Path, list[Phantom]]) -> None:
    for phantom in phantoms[1]:
        path = phantoms[0] / phantom.path
        if phantom.modality != "ecg" and path.is_file():
            read_item(source_of(path, phantom.modality), SPEC)


@pytest.mark.shared_data
def test_no_file_of_the_archive_is_left_out(shared_data: Path) -> None:
    archive, looked = shared_data / "archive", 0
    for path in sorted(archive.rglob("*")):
        if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
            read_item(source_of(path, path.relative_to(archive).parts[0]), SPEC)
            looked += 1
    assert looked > 20
