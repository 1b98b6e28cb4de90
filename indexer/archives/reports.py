"""Reports beside files: `a.txt` beside `a.dcm` is its text where no manifest gives one."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".txt"
LONGEST = 1 << 16  # bytes that are read of one
NEVER_DESCRIBED = {SUFFIX, ".csv", ".dat", ".mat", ".atr"}  # no items: a report beside them is of another file


def names_for(path: Path) -> tuple[str, ...]:
    """How the report of a file may be called."""
    if path.suffix in NEVER_DESCRIBED:
        return ()
    return path.name + SUFFIX, path.stem + SUFFIX, f"{_bare(path)}{SUFFIX}"


def text_of(path: Path) -> str:
    """The words of a text file; "" where it holds something else."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        raw = file.read(LONGEST)
    if b"\0" in raw:
        return ""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # another encoding, or cut inside a character
        text = raw.decode("utf-8", "ignore") if len(raw) == LONGEST else raw.decode("latin-1")
    return text.strip()


def _bare(path: Path) -> str:
    """The name without both suffixes of "a.nii.gz"."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if path.suffix == ".gz" else path.stem
