"""Where medical files lie: a folder, a zip or tar file, the files a manifest lists, a bucket, a PACS."""

from __future__ import annotations

from pathlib import Path

from m3search.errors import UsageError
from m3search.indexer.archives.base import Archive
from m3search.indexer.archives.containers import is_container
from m3search.indexer.archives.folder import ContainerArchive, FolderArchive, ManifestArchive
from m3search.indexer.archives.pacs import Pacs, PacsArchive
from m3search.indexer.archives.remote import RemoteArchive, has_scheme

__all__ = ["Archive", "Pacs", "is_address", "open_archive"]


def is_address(location: str | Path) -> bool:
    """Whether it names something by an address, such as "s3://bucket/prefix", and not a path of this machine."""
    return has_scheme(str(location))


def open_archive(location: str | Path, pacs: Pacs | None = None) -> Archive:
    """The archive at `location`.

    A folder; a zip or tar file; a manifest (.csv) that lists files; http(s)://…, a DICOMweb server, asked as `pacs`
    says; any other scheme is left to fsspec.

    Raises:
        UsageError: nothing is there, or it is none of these; an address that holds a password.
        MissingExtra: what an address needs is not installed.
    """
    if is_address(location):
        if str(location).startswith(("http://", "https://")):
            return PacsArchive(str(location), pacs or Pacs())
        return RemoteArchive(str(location))
    path = Path(location).expanduser().resolve()
    if path.is_dir():
        return FolderArchive(path)
    if path.is_file() and path.suffix.casefold() == ".csv":
        return ManifestArchive(path)
    if path.is_file() and is_container(path):
        return ContainerArchive(path)
    if path.exists():
        raise UsageError(
            f"{path} is neither a folder, a zip or tar file, nor a manifest (.csv); index the folder it lies in"
        )
    raise UsageError(f"there is no folder or manifest at {path}")
