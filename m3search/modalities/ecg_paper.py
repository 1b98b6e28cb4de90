"""An ECG as an SVG of stated size: 25 mm/s and 10 mm/mV in real millimetres, where a screen or printer knows its own.

The layout is that of `ecg_strip`, which draws the same as pixels. One user unit is one millimetre. No styles and no
scripts: the file is shown under a strict content security policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.ecg_leads import LEADS
from m3search.modalities.ecg_strip import (
    COARSE,
    FAINT,
    FINE,
    INK,
    MARGIN_MM,
    MM_PER_SECOND,
    PAPER,
    ROW_MM,
    SECONDS,
    Cell,
    cells_of,
    centre,
    finite_runs,
    fitting_gain,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

CAPTION_MM = 4.0
POINTS_PER_MM = 12.0  # of a curve: finer than a screen shows; denser signals keep the extremes of each step
LETTER_MM = 3.2


def draw_paper(leads: Float32, rate_hz: float, calibrated: bool = True) -> str:
    """SVG of up to SECONDS.

    Args:
        leads: float32 (12, T) in the order of LEADS, millivolts, NaN where a lead is missing.
        calibrated: False where the amplitude has no unit: the curves are fitted to their rows and the scale says so.
    """
    recorded = [lead for lead, curve in zip(LEADS, leads, strict=True) if not np.isnan(curve).all()]
    cells = cells_of(recorded)
    rows = 1 + max(cell.row for cell in cells)
    width, height = SECONDS * MM_PER_SECOND + 2 * MARGIN_MM, rows * ROW_MM + 2 * MARGIN_MM + CAPTION_MM
    centred = centre(leads)
    gain = fitting_gain(centred, calibrated)
    caption = f"25 mm/s   {gain:g} mm/mV" if calibrated else "25 mm/s   amplitude not calibrated"
    drawn = "\n".join(_cell(cell, centred[LEADS.index(cell.lead)], rate_hz, gain) for cell in cells)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" font-family="sans-serif" font-size="{LETTER_MM}">\n'
        f"<title>ECG, {', '.join(recorded) or 'no signal'}; {caption}</title>\n"
        f'<rect width="100%" height="100%" fill="{PAPER}"/>\n{_grid(width, height)}\n{drawn}\n'
        f'<text x="{MARGIN_MM}" y="{height - 1.5:g}" fill="{INK}" xml:space="preserve">{caption}</text>\n</svg>\n'
    )


def _grid(width: float, height: float) -> str:
    """A line each millimetre, a stronger one each five."""
    lines = []
    for step, colour, stroke in ((1.0, FINE, 0.1), (5.0, COARSE, 0.2)):
        across = "".join(f"M{x:g} 0V{height:g}" for x in np.arange(MARGIN_MM % step, width, step))
        down = "".join(f"M0 {y:g}H{width:g}" for y in np.arange(MARGIN_MM % step, height, step))
        lines.append(f'<path d="{across}{down}" stroke="{colour}" stroke-width="{stroke}" fill="none"/>')
    return "\n".join(lines)


def _cell(cell: Cell, curve: Float32, rate_hz: float, gain: float) -> str:
    """One lead's name and curve."""
    left, top = MARGIN_MM + cell.start * MM_PER_SECOND, MARGIN_MM + cell.row * ROW_MM
    middle = top + 0.55 * ROW_MM
    stretch = curve[round(cell.start * rate_hz) : round((cell.start + cell.seconds) * rate_hz)]
    half = 0.75 * ROW_MM  # curves that leave their row are cut rather than drawn over all others
    down = middle - np.clip(stretch * gain, -half, half)
    across = left + np.arange(len(stretch)) / rate_hz * MM_PER_SECOND
    parts = []
    if cell.start:
        parts.append(f'<path d="M{left:g} {middle - 4:g}v8" stroke="{INK}" stroke-width="0.2"/>')
    for run in finite_runs(stretch):
        kept = _thinned(down[run], rate_hz)
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(across[run][kept], down[run][kept], strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="0.3" stroke-linejoin="round"/>'
        )
    colour = INK if np.isfinite(stretch).any() else FAINT
    parts.append(f'<text x="{left + 1:g}" y="{top + LETTER_MM:g}" fill="{colour}">{cell.lead}</text>')
    return "\n".join(parts)


def _thinned(values: Float32, rate_hz: float) -> npt.NDArray[np.intp]:
    """Samples that are drawn: all, or of each step the least and the greatest, so that no spike is lost."""
    step = int(rate_hz / (MM_PER_SECOND * POINTS_PER_MM) * 2)
    if step <= 2:
        return np.arange(len(values))
    edges = np.arange(0, len(values), step)
    kept = {0, len(values) - 1}
    for start in edges:
        chunk = values[start : start + step]
        kept |= {int(start + chunk.argmin()), int(start + chunk.argmax())}
    return np.array(sorted(kept), dtype=np.intp)
