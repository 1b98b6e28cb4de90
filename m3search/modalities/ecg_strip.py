"""An ECG drawn as on paper: 25 mm/s, 10 mm/mV, three rows of four leads and a rhythm strip below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.ecg_leads import LEADS

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    from m3search.types import Float32

WIDTH = 512  # pixels of the finished strip
SUPERSAMPLING = 3  # drawn this much larger and then reduced: Pillow draws lines without anti-aliasing
MM_PER_SECOND = 25.0
SECONDS = 10.0
MARGIN_MM = 3.0
ROW_MM = 26.0  # paper height of one row
GAINS = (10.0, 5.0, 2.5, 1.25)  # mm per mV, as carts offer them; the first at which the curves stay in their rows
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM_LEADS = ("II", "V1", "V5", "I")  # the first that was recorded runs along the bottom
MANY = 4  # up to this many leads are drawn one per row over the whole width

PAPER, FINE, COARSE, INK, FAINT = "#fffafa", "#fbe6e6", "#f2b8b8", "#1c1c28", "#b0a0a0"


@dataclass(frozen=True, slots=True)
class Cell:
    """A stretch of one lead in one place of the paper."""

    lead: str
    row: int
    start: float  # seconds from the left edge, and into the signal: the four columns are consecutive in time
    seconds: float


def draw_strip(leads: Float32, rate_hz: float, calibrated: bool = True, width: int = WIDTH) -> bytes:
    """PNG, so many pixels wide; its resolution is stated, so that it prints to scale.

    Args:
        leads: float32 (12, T) in the order of LEADS, millivolts, NaN where a lead is missing.
        calibrated: False where the amplitude has no unit: the curves are fitted to their rows and the scale says so.
    """
    from PIL import Image, ImageDraw, ImageFont

    recorded = [lead for lead, curve in zip(LEADS, leads, strict=True) if not np.isnan(curve).all()]
    cells = cells_of(recorded)
    rows = 1 + max(cell.row for cell in cells)
    scale = width * SUPERSAMPLING / (SECONDS * MM_PER_SECOND + 2 * MARGIN_MM)  # pixels per mm
    size = (width * SUPERSAMPLING, round((rows * ROW_MM + 2 * MARGIN_MM + 4) * scale))
    picture = _paper(size, scale).copy()
    draw = ImageDraw.Draw(picture)
    centred = centre(leads)
    gain = fitting_gain(centred, calibrated)
    font = ImageFont.load_default(size=4.6 * scale)
    for cell in cells:
        _draw_cell(draw, cell, centred[LEADS.index(cell.lead)], (rate_hz, gain, scale), font)
    caption = f"25 mm/s   {gain:g} mm/mV" if calibrated else "25 mm/s   amplitude not calibrated"
    draw.text((MARGIN_MM * scale, size[1] - 1.2 * scale), caption, fill=INK, font=font, anchor="ls")
    small = picture.resize((width, round(size[1] / SUPERSAMPLING)), Image.Resampling.BOX)
    buffer = io.BytesIO()
    dpi = 25.4 * scale / SUPERSAMPLING
    small.quantize(32).save(buffer, "PNG", dpi=(dpi, dpi))
    return buffer.getvalue()


def centre(leads: Float32) -> Float32:
    """(12, T), the median of each lead taken away: where its curve is drawn around."""
    return leads - np.array([[np.nanmedian(c) if not np.isnan(c).all() else 0] for c in leads], dtype=np.float32)


def cells_of(recorded: Sequence[str]) -> list[Cell]:
    """Three rows of four and a rhythm strip; a record of few leads shows each over the whole width."""
    if len(recorded) <= MANY:
        return [Cell(lead, row, 0.0, SECONDS) for row, lead in enumerate(recorded or LEADS[:1])]
    column = SECONDS / 4
    cells = [
        Cell(lead, row, number * column, column)
        for row, names in enumerate(LAYOUT)
        for number, lead in enumerate(names)
    ]
    rhythm = next((lead for lead in RHYTHM_LEADS if lead in recorded), recorded[0])
    return [*cells, Cell(rhythm, len(LAYOUT), 0.0, SECONDS)]


def fitting_gain(centred: Float32, calibrated: bool) -> float:
    """mm per mV at which nearly all of the curves stays in its row."""
    values = np.abs(centred[np.isfinite(centred)])
    reach = float(np.percentile(values, 99.8)) if values.size else 0.0
    room = 0.62 * ROW_MM  # neighbouring rows may meet, as they do on paper
    if calibrated:
        return next((gain for gain in GAINS if reach * gain <= room), GAINS[-1])
    return 0.5 * ROW_MM / reach if reach > 0 else GAINS[0]


@lru_cache(maxsize=4)  # layouts
def _paper(size: tuple[int, int], scale: float) -> Image.Image:
    """The grid alone: as long to draw as the curves, and the same for every record of a layout."""
    from PIL import Image, ImageDraw

    paper = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(paper)
    for step, colour, width in ((1.0, FINE, 1), (5.0, COARSE, 2)):
        for across in np.arange(MARGIN_MM % step, size[0] / scale, step):
            draw.line([(across * scale, 0), (across * scale, size[1])], fill=colour, width=width)
        for down in np.arange(MARGIN_MM % step, size[1] / scale, step):
            draw.line([(0, down * scale), (size[0], down * scale)], fill=colour, width=width)
    return paper


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    cell: Cell,
    curve: Float32,
    scales: tuple[float, float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """One lead's name and curve; `scales` are samples per second, mm per mV and pixels per mm."""
    rate_hz, gain, scale = scales
    left = (MARGIN_MM + cell.start * MM_PER_SECOND) * scale
    middle = (MARGIN_MM + (cell.row + 0.55) * ROW_MM) * scale
    top = (MARGIN_MM + cell.row * ROW_MM) * scale
    stretch = curve[round(cell.start * rate_hz) : round((cell.start + cell.seconds) * rate_hz)]
    missing = not np.isfinite(stretch).any()
    across = left + np.arange(len(stretch)) / rate_hz * MM_PER_SECOND * scale
    half = 0.75 * ROW_MM * scale  # curves that leave their row are cut rather than drawn over all others
    down = middle - np.clip(stretch * gain * scale, -half, half)
    for run in finite_runs(stretch):
        draw.line(list(zip(across[run].tolist(), down[run].tolist(), strict=True)), fill=INK, width=3, joint="curve")
    if cell.start:
        draw.line([(left, middle - 4 * scale), (left, middle + 4 * scale)], fill=INK, width=2)
    draw.text((left + scale, top + scale), cell.lead, fill=FAINT if missing else INK, font=font, anchor="lt")


def finite_runs(values: Float32) -> list[slice]:
    """Stretches of at least two samples without NaN."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isfinite(values), [False]]).astype(np.int8)))
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop - start > 1]
