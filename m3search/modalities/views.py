"""Items larger than their thumbnails: windowed CT slices, regions of slides, ECGs on paper, pictures.

Each function reads the item's files anew, in a process that may be ended at any time, and gives back bytes of an image
or numbers. What looks like text in pixels is treated as the index run treated it: see `burned_in`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.slide import open_slide
from m3search.modalities import burned_in, ct
from m3search.modalities.ecg import Stretch, read_stretch
from m3search.modalities.ecg_leads import LEADS
from m3search.modalities.ecg_paper import draw_paper
from m3search.modalities.ecg_strip import SECONDS, draw_strip
from m3search.modalities.imaging import JPEG_QUALITY
from m3search.modalities.pathology import ASSUMED_MPP, is_whole_slide
from m3search.modalities.reading import read_item
from m3search.types import Item, Part

if TYPE_CHECKING:
    from m3search.formats.pyramid import Slide
    from m3search.types import Float32, InputSpec, Source, UInt8

Kind = Literal["ct", "slide", "ecg", "picture"]
ImageFormat = Literal["jpeg", "png"]

PRESETS = {"lung": ct.LUNG, "mediastinum": ct.MEDIASTINUM, "bone": ct.BONE}
MOST_PIXELS = 64_000_000  # of a slide's level, decoded for one region
WHOLE = 1 << 20  # pixels along a side: more than any image has
PAPER_PX = 2048  # width of an ECG drawn as PNG


@dataclass(frozen=True, slots=True)
class Look:
    """How an image is to be made."""

    size: int = 1024  # pixels of the longer side at most; nothing is enlarged
    format: ImageFormat = "jpeg"
    policy: burned_in.Policy = "mask"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in level-0 pixels of a slide."""

    x: float
    y: float
    width: float
    height: float


def kind_of(source: Source) -> Kind:
    """What a source is looked at as. A loose patch of pathology, or a field of view, is a picture."""
    if source.modality in ("ct", "ecg"):
        return "ct" if source.modality == "ct" else "ecg"
    if source.modality == "pathology" and source.format != "raster":
        return "slide" if source.format == "slide" or is_whole_slide(source.files[0]) else "picture"
    return "picture"


def describe(source: Source, spec: InputSpec) -> tuple[dict[str, Any], tuple[ct.Slice, ...]]:
    """What can be looked at, as JSON-able values, "kind" among them; and the slices of a CT in order."""
    match kind_of(source):
        case "ct":
            return _describe_ct(source)
        case "ecg":
            return _describe_ecg(source), ()
        case "slide":
            return _describe_slide(source, spec), ()
    return _describe_picture(source, spec), ()


def _describe_ct(source: Source) -> tuple[dict[str, Any], tuple[ct.Slice, ...]]:
    """What can be seen of a CT, and its slices in order."""
    slices = ct.slices_of(source)
    middle = ct.read_slice(slices[len(slices) // 2], source.format)
    height, width = middle.data.shape
    hounsfield = middle.data.dtype != np.uint8
    window = ct.window_for(middle.data) if hounsfield else None
    about = {
        "kind": "ct",
        "slices": len(slices),
        "hounsfield": hounsfield,
        "width": width,
        "height": height,
        "spacing_mm": round(middle.spacing_mm, 4) or None,
        "presets": {name: list(preset) for name, preset in PRESETS.items()} if hounsfield else {},
        "preset": next((name for name, preset in PRESETS.items() if preset == window), None),
    }
    return about, slices


def _describe_slide(source: Source, spec: InputSpec) -> dict[str, Any]:
    """Size and resolutions of a slide, and the side of the tiles that were embedded."""
    with open_slide(source.files, dicom=source.format == "dicom") as slide:
        mpp = slide.mpp or ASSUMED_MPP
        return {
            "kind": "slide",
            "width": slide.width,
            "height": slide.height,
            "mpp": round(slide.mpp, 5) or None,
            "levels": [round(level.downsample, 3) for level in slide.levels],
            "tile": min(round(spec.size * (spec.tile_mpp or mpp) / mpp), slide.width, slide.height),
        }


def _describe_ecg(source: Source) -> dict[str, Any]:
    """Length and leads of a record."""
    stretch = read_stretch(source, 0.0, SECONDS)
    present = [lead for lead, curve in zip(LEADS, stretch.leads, strict=True) if not np.isnan(curve).all()]
    return {
        "kind": "ecg",
        "seconds": round(stretch.of_seconds, 3),
        "leads": present,
        "missing": [lead for lead in LEADS if lead not in present],
        "calibrated": stretch.calibrated,
    }


def _describe_picture(source: Source, spec: InputSpec) -> dict[str, Any]:
    """Size of a picture as it is shown, and how many frames of it were embedded."""
    parts = _whole(source, spec).parts
    height, width = parts[0].data.shape[:2]
    return {"kind": "picture", "width": width, "height": height, "frames": len(parts)}


def ct_slice(source: Source, one: ct.Slice, window: tuple[float, float] | None, look: Look) -> bytes:
    """A slice under a window, (centre, width) in Hounsfield units; None chooses one. A picture has no window."""
    part = ct.read_slice(one, source.format)
    item = burned_in.apply(Item(replace(source, files=(one.path,)), (part,)), look.policy)
    pixels = item.parts[0].data
    if pixels.dtype != np.uint8:
        pixels = ct.windowed(pixels, window or ct.window_for(pixels))
    return encode(pixels, look)


def picture(source: Source, spec: InputSpec, frame: int, look: Look) -> bytes:
    """A picture, or the frame of that number (from 1) among those that are embedded."""
    item = burned_in.apply(_whole(source, spec), look.policy)
    return encode(_frame(item, frame).data, look)


def overview(source: Source, look: Look) -> bytes:
    """A slide from afar."""
    with open_slide(source.files, dicom=source.format == "dicom") as slide:
        return encode(slide.overview(look.size), look)


def region(source: Source, box: Box, look: Look) -> bytes:
    """A rectangle of a slide, white where it leaves the slide.

    Raises:
        UnreadableFile: TOO_LARGE where the slide has no level coarse enough for so much of it.
    """
    longest = max(box.width, box.height)
    scale = min(1.0, look.size / longest)
    size = max(1, round(box.width * scale)), max(1, round(box.height * scale))
    with open_slide(source.files, dicom=source.format == "dicom") as slide:
        _refuse_much(slide, box, size)
        return encode(slide.read_region(box.x, box.y, box.width, box.height, size), look)


def ecg_paper(source: Source, start: float, form: Literal["svg", "png"]) -> bytes:
    """Ten seconds of an ECG from `start` on, as on paper."""
    stretch = read_stretch(source, start, SECONDS)
    if form == "svg":
        return draw_paper(stretch.leads, stretch.rate_hz, stretch.calibrated).encode()
    return draw_strip(stretch.leads, stretch.rate_hz, stretch.calibrated, PAPER_PX)


def ecg_samples(source: Source, start: float) -> dict[str, Any]:
    """Ten seconds of an ECG as numbers, JSON-able: null where a sample is missing."""
    stretch = read_stretch(source, start, SECONDS)
    return {
        "rate_hz": round(stretch.rate_hz, 3),
        "start": start,
        "seconds": round(min(SECONDS, stretch.of_seconds - start), 3),
        "unit": "mV" if stretch.calibrated else "",
        "calibrated": stretch.calibrated,
        "leads": _samples(stretch),
    }


def encode(pixels: UInt8, look: Look) -> bytes:
    """JPEG or PNG of uint8 (H, W) or (H, W, 3), its longer side at most `look.size`."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((look.size, look.size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    if look.format == "png":
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _whole(source: Source, spec: InputSpec) -> Item:
    """An item in every pixel: for a tower of the usual size, readers stop at fewer."""
    return read_item(source, replace(spec, size=WHOLE))


def _frame(item: Item, frame: int) -> Part:
    wanted = f"frame={frame}"
    if found := next((part for part in item.parts if part.locator == wanted), None):
        return found
    if frame == 1:
        return item.parts[0]
    raise UnreadableFile(item.source.files[0], Reason.UNSUPPORTED, f"frame {frame} is not among those it was read with")


def _refuse_much(slide: Slide, box: Box, size: tuple[int, int]) -> None:
    level = slide.levels[slide.level_for(min(box.width / size[0], box.height / size[1]))]
    if box.width * box.height / level.downsample**2 > MOST_PIXELS:
        raise UnreadableFile(
            slide.path, Reason.TOO_LARGE, "has no level coarse enough for so large a region; ask for a smaller one"
        )


def _samples(stretch: Stretch) -> dict[str, list[float | None]]:
    return {lead: _listed(curve) for lead, curve in zip(LEADS, stretch.leads, strict=True) if np.isfinite(curve).any()}


def _listed(curve: Float32) -> list[float | None]:
    return [round(value, 4) if np.isfinite(value) else None for value in curve.tolist()]
