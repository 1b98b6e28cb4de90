"""Synthetic patients in real file formats, with findings that can be seen: for demos, tests and benchmarks.

    from m3search.phantoms import write_archive
    write_archive(Path("archive"), patients=20, seed=1)

Nothing here was ever a patient: the pictures are drawn by `chest`, `ct`, `retina`, `ecg` and `pathology`.
"""

from __future__ import annotations

from m3search.phantoms.archive import Phantom, write_archive
from m3search.phantoms.examination import ALL, Examination, Patient, examine, picture
from m3search.phantoms.phi import Phi

__all__ = ["ALL", "Examination", "Patient", "Phantom", "Phi", "examine", "picture", "write_archive"]
