"""Where medical files lie: a folder, or the files a manifest lists."""

from __future__ import annotations

from pathlib import Path

from m3search.errors import UsageError
from m3search.indexer.archives.folder import Archive, FolderArchive, ManifestArchive


def open_archive(location: Path) -> Archive:
    """The archive at `location`: a folder, or a manifest (.csv) that lists files.

    Raises:
        UsageError: nothing is there, or it is neither.
    """
    location = location.expanduser().resolve()
    if location.is_dir():
        return FolderArchive(location)
    if location.is_file() and location.suffix.casefold() == ".csv":
        return ManifestArchive(location)
    if location.exists():
        raise UsageError(f"{location} is neither a folder nor a manifest (.csv); index the folder it lies in")
    raise UsageError(f"there is no folder or manifest at {location}")
