"""NIfTI-1 and -2 volumes (.nii, .nii.gz): slices in a known orientation, scaled (https://nifti.nimh.nih.gov).

nibabel reads the header; the voxels are read here, because it loads a volume whole to reorient it and stops reading a
gzip file before its checksum, so that damaged voxels would pass.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, require_readable
from m3search.formats.quiet import quiet
from m3search.formats.storage import blame
from m3search.types import Header

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

GZIP = b"\x1f\x8b"
MAGIC_AT = {1: (344, (b"n+1\0", b"ni1\0")), 2: (4, (b"n+2\0", b"ni2\0"))}  # offset and words by version
HEADER_BYTES = {1: 348, 2: 540}
EXTENSION_BYTES = 4  # between header and voxels at least, so that these begin at 352 or 544
SUFFIXES = (".nii", ".nii.gz")
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # every other unit, and none, is taken as millimetres
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume whose axial slices can be taken one by one."""

    path: Path
    voxels: npt.NDArray[Any]  # as stored, (X, Y, Z) in RAS+ orientation: rising indices go right, anterior, superior
    scaling: tuple[float, float]  # slope and intercept
    spacing_mm: tuple[float, float, float]  # along X, Y, Z
    steps: tuple[str, ...]  # for provenance

    def __len__(self) -> int:
        """Axial slices."""
        return int(self.voxels.shape[2])

    def axial(self, index: int) -> Float32:
        """float32 (H, W), scaled: slice `index` counted from the feet, seen as radiology shows it.

        Anterior is up and the patient's left is on the right, as in an axial DICOM series.
        """
        slope, intercept = self.scaling
        plane = self.voxels[:, :, index].astype(np.float64) * slope + intercept
        # (X rising to the right, Y rising to the front) -> rows from front to back, columns from right to left.
        return np.ascontiguousarray(plane[::-1, ::-1].T, dtype=np.float32)


def sniff(path: Path, head: bytes) -> bool:
    """NIfTI by its magic word, looked for inside gzip too, or by its suffix."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEADER_BYTES[1])
        except zlib.error:
            head = b""
    return _version(head) is not None or path.name.casefold().endswith(SUFFIXES)


def read_header(path: Path) -> Header:
    """Shape, voxel size and its unit. Free-text fields are not kept: they may hold names.

    Raises:
        UnreadableFile: not a NIfTI volume, or too large.
    """
    header = _load(path)
    with _translated(path):
        attributes = {
            "shape": tuple(int(side) for side in header.get_data_shape()),
            "zooms": tuple(float(zoom) for zoom in header.get_zooms()[:3]),
            "units": str(header.get_xyzt_units()[0]),
        }
    return Header(path, "nifti", attributes)


def open_volume(path: Path) -> Volume:
    """The first volume of a file, reoriented; mapped where it is not compressed, else read once as a whole.

    Raises:
        UnreadableFile: not a NIfTI volume, truncated, damaged, too large, or of no stated orientation.
    """
    nibabel = _nibabel()
    header = _load(path)
    with _translated(path):
        steps = []
        if math.prod(header.get_data_shape()[3:]) > 1:
            steps.append("first volume of several")
        if not header["sform_code"] and not header["qform_code"]:
            steps.append("no orientation stated: taken as LAS, as Analyze has it")
        affine = header.get_best_affine()
        orientation = nibabel.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
        if np.isnan(orientation).any():
            raise UnreadableFile(path, Reason.CORRUPT, "has an affine that is no orientation; convert it again")
        if (stated := "".join(nibabel.aff2axcodes(affine))) != "RAS":
            steps.append(f"reoriented from {stated} to RAS")
        slope, intercept = header.get_slope_inter()
        sides = [float(zoom) * MILLIMETRES.get(header.get_xyzt_units()[0], 1.0) for zoom in header.get_zooms()[:3]]
        along = [sides[int(axis)] for axis in np.argsort(orientation[:, 0])]
        return Volume(
            path,
            nibabel.apply_orientation(_voxels(path, header), orientation),  # a view: nothing is read yet
            (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
            (along[0], along[1], along[2]),
            tuple(steps),
        )


def _version(head: bytes) -> int | None:
    return next((version for version, (at, words) in MAGIC_AT.items() if head[at : at + 4] in words), None)


def _load(path: Path) -> Any:
    """The nibabel header of a file, by its content and whatever its name, once the declared size was checked."""
    require_readable(path)
    with _translated(path), _opened(path) as file:
        head = file.read(HEADER_BYTES[2])
    version = _version(head)
    if version is None:
        if len(head) < HEADER_BYTES[1]:
            raise UnreadableFile(path, Reason.TRUNCATED, "ends within its header; copy it again from its source")
        raise UnreadableFile(path, Reason.CORRUPT, "is named like a NIfTI file, but its content is something else")
    at, (_, pair) = MAGIC_AT[version]
    if head[at : at + 4] == pair:
        raise UnreadableFile(
            path, Reason.UNSUPPORTED, "is the header of a pair (.hdr and .img); convert it to a single .nii file"
        )
    if len(head) < HEADER_BYTES[version]:
        raise UnreadableFile(path, Reason.TRUNCATED, "ends within its header; copy it again from its source")
    with _translated(path):
        header = _parse(head[: HEADER_BYTES[version]], version)
        _check_declared(path, header)
    return header


def _parse(block: bytes, version: int) -> Any:
    nibabel = _nibabel()
    return (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(block)


def _nibabel() -> Any:
    """nibabel, which has types for some of its functions only, as if it had none."""
    import nibabel

    return nibabel


def _check_declared(path: Path, header: Any) -> None:
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) < 3:
        raise UnreadableFile(path, Reason.UNSUPPORTED, f"is no volume: it has the shape {shape}")
    if min(shape) < 1:
        raise UnreadableFile(path, Reason.CORRUPT, f"declares the shape {shape}")
    if header.get_data_dtype().kind not in "iuf":
        raise UnreadableFile(
            path, Reason.UNSUPPORTED, "holds colours or complex numbers, where grey values were expected"
        )
    # Python integers throughout: the product of hostile NIfTI-2 sides would wrap around in 64 bits.
    LIMITS.check_pixels(path, *sorted(shape[:3])[1:])
    LIMITS.check_frames(path, math.prod(shape[2:]))
    LIMITS.check_bytes(path, math.prod(shape[:3]) * int(header.get_data_dtype().itemsize))


def _voxels(path: Path, header: Any) -> npt.NDArray[Any]:
    """The first volume as stored (I, J, K): mapped from a plain file, read from a compressed one."""
    shape = tuple(int(side) for side in header.get_data_shape()[:3])
    dtype = header.get_data_dtype()
    start = int(header.get_data_offset()) or int(header["sizeof_hdr"]) + EXTENSION_BYTES
    size = math.prod(shape) * dtype.itemsize
    if not _is_compressed(path):
        if (there := path.stat().st_size - start) < size:
            raise _too_short(path, there, size)
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order="F")
    with _opened(path) as file:
        file.read(start)
        data = file.read(size)
        if len(data) < size:
            raise _too_short(path, len(data), size)
        beyond = 0
        while chunk := file.read(CHUNK):  # to the end, where gzip compares its checksum
            LIMITS.check_bytes(path, beyond := beyond + len(chunk))
    return np.frombuffer(data, dtype).reshape(shape, order="F")


def _too_short(path: Path, there: int, size: int) -> UnreadableFile:
    percent = 100 * max(there, 0) // size
    return UnreadableFile(
        path, Reason.TRUNCATED, f"holds {percent}% of the voxels it declares; copy it again from its source"
    )


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _opened(path: Path) -> Any:
    """The file as bytes, decompressed where its content is gzip, whatever its name."""
    return gzip.open(path) if _is_compressed(path) else path.open("rb")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What nibabel and gzip raise on bad files, as an UnreadableFile."""
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        with quiet("nibabel.global"):
            yield
    except UnreadableFile:
        raise
    except EOFError as error:
        raise UnreadableFile(path, Reason.TRUNCATED, "ends early; copy it again from its source") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "its compression is damaged; copy it again") from error
    except (HeaderDataError, WrapStructError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "is not a well-formed NIfTI file") from error
    except OSError as error:
        damaged = UnreadableFile(path, Reason.CORRUPT, f"cannot be read ({type(error).__name__}); copy it again")
        raise blame(error, damaged) from error
