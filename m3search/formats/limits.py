"""How much a file may ask for before it is refused: damaged headers and hostile files declare absurd sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m3search.errors import Reason, UnreadableFile


@dataclass(frozen=True, slots=True)
class Limits:
    """Checked against what a header declares, before anything is decoded."""

    pixels: int = 400_000_000  # of one image or frame: a 20,000 x 20,000 scan
    frames: int = 100_000  # of one file
    decoded_bytes: int = 4 << 30  # of everything decoded from one file

    def check_pixels(self, path: Path, height: int, width: int) -> None:
        """Refuse an image that is empty or too large.

        Raises:
            UnreadableFile: CORRUPT without pixels, TOO_LARGE beyond the limit.
        """
        if height < 1 or width < 1:
            raise UnreadableFile(path, Reason.CORRUPT, f"declares an image of {width} x {height} pixels")
        if height * width > self.pixels:
            raise UnreadableFile(
                path,
                Reason.TOO_LARGE,
                f"declares {width} x {height} pixels; at most {self.pixels:,} pixels are decoded: scale it down first",
            )

    def check_bytes(self, path: Path, size: int) -> None:
        """Refuse a decoded size beyond the limit.

        Raises:
            UnreadableFile: TOO_LARGE.
        """
        if size > self.decoded_bytes:
            raise UnreadableFile(
                path,
                Reason.TOO_LARGE,
                f"declares {size / 2**30:.1f} GiB of data; at most {self.decoded_bytes / 2**30:.0f} GiB are decoded",
            )

    def check_frames(self, path: Path, frames: int) -> None:
        """Refuse a number of frames that cannot be.

        Raises:
            UnreadableFile: CORRUPT without frames, TOO_LARGE beyond the limit.
        """
        if frames < 1:
            raise UnreadableFile(path, Reason.CORRUPT, f"declares {frames} frames")
        if frames > self.frames:
            raise UnreadableFile(path, Reason.TOO_LARGE, f"declares {frames:,} frames, more than {self.frames:,}")


LIMITS = Limits()


def require_readable(path: Path) -> None:
    """Refuse what is not a file with bytes that this user may read.

    Raises:
        UnreadableFile: VANISHED, EMPTY, PERMISSION or UNSUPPORTED (a folder, a device).
    """
    try:
        if not path.exists():
            raise UnreadableFile(path, Reason.VANISHED, "it is not there (any more)")
        if not path.is_file():
            raise UnreadableFile(path, Reason.UNSUPPORTED, "it is not a regular file")
        if path.stat().st_size == 0:
            raise UnreadableFile(path, Reason.EMPTY, "the file is empty; copy it again from its source")
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise UnreadableFile(path, Reason.PERMISSION, "not permitted to read it; check its owner and mode") from error


def halvings(longest: int, least: int) -> int:
    """How often a side of so many pixels can be halved and still have `least`; 0 where `least` is 0."""
    return max(0, (longest // least).bit_length() - 1) if least > 0 else 0
