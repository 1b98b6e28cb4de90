"""dcmtk's dcm2pnm and its kin: a DICOM implementation in C++ that shares no code with ours, nor with pydicom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

# Each links other decoders: dcmj2pnm JPEG, dcml2pnm JPEG-LS. All draw alike.
PROGRAMS = {"1.2.840.10008.1.2.4.80": "dcml2pnm", "1.2.840.10008.1.2.4.81": "dcml2pnm"}
ANY_OTHER = "dcmj2pnm"

needs_dcmtk = pytest.mark.skipif(
    shutil.which(ANY_OTHER) is None, reason="dcmtk is not installed: run `make test-system`, or apt-get install dcmtk"
)


class CannotDraw(Exception):
    """dcmtk does not read this file; its message says why."""


def drawn(path: Path, *options: str, frame: int = 0, syntax: str = "") -> npt.NDArray[np.float64]:
    """A frame as dcmtk shows it: brightness in [0, 1] drawn with 16 bits, (H, W) or (H, W, 3).

    `options` say which window, table or shape is applied (`+Wi 1`, `+Wl 1`, `+Wm`); without any, all values are shown.

    Raises:
        CannotDraw: dcmtk does not read it.
    """
    program = PROGRAMS.get(syntax, ANY_OTHER)
    command = [
        program,
        "--quiet",
        "--no-overlays",
        *options,
        "--frame",
        str(frame + 1),
        "--nointerlace",
        "--write-16-bit-png",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if done.returncode or not done.stdout:
        raise CannotDraw(f"{program} {' '.join(options)}: {done.stderr.decode(errors='replace').strip()[:200]}")
    from imagecodecs import png_decode

    pixels: npt.NDArray[np.uint16] = png_decode(done.stdout)
    return pixels / 65535
