"""Text in pixels: a name, a date or an id that a workstation, a film label or a machine drew into the image.

What draws text draws it alike: strokes of one brightness, brighter or darker than an even ground, in rows of marks of
one height. `find_text` looks for such rows; it reads nothing. Handwriting, slanted or faint text and text on a busy
ground are missed, and markers such as "PORTABLE" are found though they name nobody. It sees images at WORKING_PX on
their longest side, three times the size of a thumbnail: what is too small there cannot be read in a thumbnail either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.imaging import DETAIL_PX, to_uint8

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from m3search.types import Item, Part, Source, UInt8

Policy = Literal["mask", "quarantine", "keep"]

LOOKED_AT = ("xray", "ct", "retina")  # tissue is full of rows of marks of one size; an ECG's thumbnail is drawn by us
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture Image Storage, and its multi-frame kin
WHITE_FROM_HU, WHITE_AT_HU = -500.0, 1300.0  # a CT's window: what is drawn in is white, but little bone is
WORKING_PX = DETAIL_PX  # longest side that is looked at
STROKE = 9  # pixels: wider things are no strokes
CONTRAST = 90  # of 255: between a stroke and its ground
GLYPH = (6, 64)  # pixels of height
MARKS = 4  # in a row, at least; after a header that speaks of text, one less
EVEN = 26.0  # standard deviation of 255 within the strokes of a row, at most
SMOOTH = 20.0  # the same of what is left of its ground when slow changes are taken away
AROUND = 0.5  # of a glyph's height: painted over beside and above what was found


class Box(NamedTuple):
    """A row of marks, in pixels; the ends are outside."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class Said:
    """What a header says of text in its pixels."""

    claims: bool = False  # BurnedInAnnotation says YES
    suggests: bool = False  # a capture of a screen or a document, where text is usual


def apply(item: Item, policy: Policy) -> Item:
    """The item with what looks like text painted over, as `policy` says; its provenance then says so.

    "mask" paints over what is found; a file that claims to hold text where none is found is left out, since something
    that names a person is likely to be there. "quarantine" leaves out whatever holds text or claims to. "keep" does not
    look.

    Raises:
        UnreadableFile: BURNED_IN.
    """
    if policy == "keep":
        return item
    path = item.source.files[0]
    said = said_by(item.source)
    boxes = _boxes(item, said)
    is_found = any(boxes)
    if policy == "quarantine" and (is_found or said.claims):
        found = "shows what looks like text" if is_found else "says that text is in its pixels"
        raise _left_out(path, f'{found}; look at it, then index it with "--burned-in mask" or "keep"')
    if said.claims and not is_found:
        raise _left_out(
            path, 'says that text is in its pixels, and none was found to paint over; "--burned-in keep" lets it in'
        )
    if not is_found:
        return item
    parts = tuple(_painted(part, found) for part, found in zip(item.parts, boxes, strict=True))
    return replace(
        item, parts=parts, provenance={**item.provenance, "burned_in": "what looks like text was painted over"}
    )


def said_by(source: Source) -> Said:
    """What the header of a DICOM file says; of other formats, nothing is known."""
    if source.format != "dicom":
        return Said()
    from m3search.formats import dicom

    header = dicom.read_annotation(source.files[0])
    capture = header["SOPClassUID"].startswith(CAPTURE) or "SCREEN" in header["ImageType"].upper()
    return Said(header["BurnedInAnnotation"].upper() == "YES", capture)


def _boxes(item: Item, said: Said) -> list[list[Box]]:
    """What is found in each part. Of many slices three are looked at, and all of them if those hold text."""
    nothing: list[list[Box]] = [[] for _ in item.parts]
    if item.source.modality not in LOOKED_AT:
        return nothing
    marks = MARKS - (said.claims or said.suggests)
    last = len(item.parts) - 1
    if last > 2 and not said.claims and not any(find_text(_grey(item.parts[at]), marks) for at in (0, last // 2, last)):
        return nothing
    return [find_text(_grey(part), marks) for part in item.parts]


def find_text(grey: UInt8, marks: int = MARKS) -> list[Box]:
    """Rows of at least `marks` marks that look like text in uint8 (H, W); boxes in its pixels, with a margin."""
    from PIL import Image

    scale = max(1.0, max(grey.shape) / WORKING_PX)
    if scale > 1:
        size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))
    rows = [row for bright in (True, False) for row in _rows(grey if bright else 255 - grey, marks)]
    return [_enlarged(row, scale) for row in rows]


def _rows(grey: UInt8, marks: int) -> list[Box]:
    """Rows of bright marks."""
    from scipy import ndimage

    ground = _opened(grey)
    strokes = grey.astype(np.int16) - ground > CONTRAST
    if not strokes.any():
        return []
    labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    glyphs = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        height, width = (one.stop - one.start for one in place)
        if GLYPH[0] <= height <= GLYPH[1] and width <= 2 * height:
            filled = areas[number] / (height * width)
            if 0.15 <= filled <= 0.9 or width <= height / 2:
                glyphs.append(Box(place[0].start, place[1].start, place[0].stop, place[1].stop))
    rows = []
    for row in _in_rows(glyphs):
        box = Box(
            min(g.top for g in row), min(g.left for g in row), max(g.bottom for g in row), max(g.right for g in row)
        )
        place = (slice(box.top, box.bottom), slice(box.left, box.right))
        if len(row) >= marks and _is_drawn(grey[place], ground[place], strokes[place]):
            rows.append(box)
    return rows


def _opened(grey: UInt8) -> UInt8:
    """The image without bright things narrower than STROKE: an opening, equal to scipy's and faster."""
    return _extreme(_extreme(grey, np.minimum), np.maximum)


def _extreme(grey: UInt8, of_two: np.ufunc) -> UInt8:
    """The least or greatest value in a square of STROKE (9 = 8 + 1) pixels around each pixel."""
    for axis in (0, 1):
        width = [(STROKE // 2, STROKE // 2) if one == axis else (0, 0) for one in (0, 1)]
        grey = np.pad(grey, width, mode="edge")
        for step in (1, 2, 4, 1):  # windows of 2, 4, 8 and 9
            grey = of_two(grey[:, :-step], grey[:, step:]) if axis else of_two(grey[:-step], grey[step:])
    return grey


def _in_rows(glyphs: Sequence[Box]) -> list[list[Box]]:
    """Marks of like height that stand side by side on one line, from left to right."""
    rows: list[list[Box]] = []
    for glyph in sorted(glyphs, key=lambda one: (one.left, one.top)):
        for row in rows:
            last = row[-1]
            height = max(last.bottom - last.top, glyph.bottom - glyph.top)
            alike = min(last.bottom - last.top, glyph.bottom - glyph.top) >= 0.6 * height
            level = abs(last.bottom - glyph.bottom) <= 0.25 * height or abs(last.top - glyph.top) <= 0.15 * height
            if alike and level and -0.2 * height <= glyph.left - last.right <= 1.2 * height:
                row.append(glyph)
                break
        else:
            rows.append([glyph])
    return rows


def _is_drawn(grey: UInt8, ground: UInt8, strokes: npt.NDArray[np.bool_]) -> bool:
    """Whether strokes of one brightness stand on a smooth ground."""
    from scipy import ndimage

    ink = grey[strokes]
    core = ink[ink >= np.percentile(ink, 40)]  # the edges of strokes are between ink and ground
    off = ~ndimage.binary_dilation(strokes, iterations=2)
    rest = (grey.astype(np.int16) - ground)[off if off.sum() >= 8 else ~strokes]
    return bool(core.std() <= EVEN and rest.size and rest.std() <= SMOOTH)


def _enlarged(box: Box, scale: float) -> Box:
    around = AROUND * (box.bottom - box.top)
    return Box(
        int((box.top - around) * scale),
        int((box.left - 2 * around) * scale),
        int((box.bottom + around) * scale) + 1,
        int((box.right + 2 * around) * scale) + 1,
    )


def _grey(part: Part) -> UInt8:
    """A part as it is looked at."""
    if part.data.dtype != np.uint8:
        return to_uint8(part.data, WHITE_FROM_HU, WHITE_AT_HU)
    if part.data.ndim == 2:
        return part.data
    grey: UInt8 = part.data.max(axis=2)  # yellow and green text is as bright as white
    return grey


def _painted(part: Part, boxes: Sequence[Box]) -> Part:
    """The part with the boxes filled with what is around them."""
    if not boxes:
        return part
    data: npt.NDArray[Any] = part.data.copy()
    for box in boxes:
        top, left = max(0, box.top), max(0, box.left)
        place = data[top : max(0, box.bottom), left : max(0, box.right)]
        if place.size:
            edge = np.concatenate([place[0], place[-1], place[:, 0], place[:, -1]])
            place[...] = np.median(edge, axis=0).astype(data.dtype)
    return replace(part, data=data)


def _left_out(path: Path, message: str) -> UnreadableFile:
    return UnreadableFile(path, Reason.BURNED_IN, message)
