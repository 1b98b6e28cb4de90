"""NIfTI-1 and -2 volumes (.nii, .nii.gz): slices in a known orientation, scaled (https://nifti.nimh.nih.gov)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, require_readable
from m3search.types import Header

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

GZIP = b"\x1f\x8b"
MAGIC_AT = {1: (344, (b"n+1\0", b"ni1\0")), 2: (4, (b"n+2\0", b"ni2\0"))}  # offset and words by version
PEEK_BYTES = 348  # of the NIfTI-1 header
SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume whose axial slices can be taken one by one."""

    path: Path
    data: Any  # array proxy, (X, Y, Z) in RAS+ orientation: rising indices go right, anterior, superior
    spacing_mm: tuple[float, float, float]  # along X, Y, Z
    steps: tuple[str, ...]  # for provenance

    def __len__(self) -> int:
        """Axial slices."""
        return int(self.data.shape[2])

    def axial(self, index: int) -> Float32:
        """float32 (H, W), scaled: slice `index` counted from the feet, seen as radiology shows it.

        Anterior is up and the patient's left is on the right, as in an axial DICOM series.

        Raises:
            UnreadableFile: the data end early or cannot be decompressed.
        """
        with _translated(self.path):
            plane: npt.NDArray[Any] = np.asarray(self.data[:, :, index])
        # (X rising to the right, Y rising to the front) -> rows from front to back, columns from right to left.
        return np.ascontiguousarray(plane[::-1, ::-1].T, dtype=np.float32)


def sniff(path: Path, head: bytes) -> bool:
    """NIfTI by its magic word, looked for inside gzip too, or by its suffix."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, PEEK_BYTES)
        except zlib.error:
            head = b""
    found = any(head[start : start + 4] in words for start, words in MAGIC_AT.values())
    return found or path.name.casefold().endswith(SUFFIXES)


def read_header(path: Path) -> Header:
    """Shape and voxel size. Free-text fields are not kept: they may hold names.

    Raises:
        UnreadableFile: not NIfTI, or too large.
    """
    image = _load(path)
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    return Header(path, "nifti", {"shape": tuple(int(side) for side in image.shape), "zooms": zooms})


def open_volume(path: Path) -> Volume:
    """The first volume of a file, reoriented; voxels are read slice by slice, from gzip once as a whole.

    Raises:
        UnreadableFile: not NIfTI, truncated, too large, or without three dimensions.
    """
    nib = _nibabel()
    image = _load(path)
    with _translated(path):
        steps = []
        if len(image.shape) > 3:
            image = image.slicer[..., *[slice(0, 1)] * (len(image.shape) - 3)]
            image = nib.funcs.squeeze_image(image)
            steps.append("first volume of several")
        stated = "".join(nib.aff2axcodes(image.affine))
        if path.name.casefold().endswith(".gz"):  # random access into gzip would decompress again for every slice
            image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
        canonical = nib.as_closest_canonical(image)
        if stated != "RAS":
            steps.append(f"reoriented from {stated} to RAS")
        spacing = tuple(float(zoom) for zoom in canonical.header.get_zooms()[:3])
        return Volume(path, canonical.dataobj, (spacing[0], spacing[1], spacing[2]), tuple(steps))


def _nibabel() -> Any:
    """nibabel, which has types for some of its functions only, as if it had none."""
    import nibabel

    return nibabel


def _load(path: Path) -> Any:
    nib = _nibabel()
    require_readable(path)
    with _translated(path):
        image = nib.load(path)
        shape = tuple(int(side) for side in image.shape)
        if not isinstance(image, nib.Nifti1Image) or len(shape) < 3 or min(shape) < 1:
            raise UnreadableFile(path, Reason.UNSUPPORTED, f"is no volume: it has the shape {shape}")
        LIMITS.check_pixels(path, shape[1], shape[0])
        LIMITS.check_frames(path, int(np.prod(shape[2:])))
        LIMITS.check_bytes(path, int(np.prod(shape)) * int(image.header.get_data_dtype().itemsize))
    return image


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What nibabel and gzip raise on bad files, as an UnreadableFile."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        yield
    except UnreadableFile:
        raise
    except EOFError as error:
        raise UnreadableFile(path, Reason.TRUNCATED, "ends early; copy it again from its source") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "its compression is damaged; copy it again") from error
    except (ImageFileError, HeaderDataError, WrapStructError) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "is not a well-formed NIfTI file") from error
    except (OSError, ValueError, TypeError, OverflowError, LookupError) as error:
        # nibabel reports missing voxels as OSError ("Expected N bytes, got M") or as a failed mapping
        raise UnreadableFile(path, Reason.TRUNCATED, "holds fewer voxels than it declares; copy it again") from error
