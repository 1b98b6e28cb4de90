"""This machine's copies of segments that lie on S3: FAISS maps files into memory, which objects cannot be.

A copy lies in the folder of its index, under the SHA-256 of its segment's manifest, which holds the SHA-256 of every
other file. What is fetched is compared with these digests; a copy that is there already is held to the sizes of its
files ("m3search verify" reads the segment itself). Of each index one copy is kept, the newest: what was deleted from an
index leaves a machine when it next searches there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from m3search.stores.place import ObjectPath, Place, cache_folder, folder_name

VARIABLE = "M3SEARCH_CACHE_GB"
LIMIT_GB = 20.0  # of all copies together; beyond, those that were opened longest ago go
SETTLED_S = 600.0  # a copy opened since may be about to be mapped, and stays
FETCHING = "fetching-"  # begins the names of folders that are being filled


def local(segment: Place) -> Path:
    """The folder of a segment's files on this machine, fetched if need be.

    Raises:
        OSError: it is gone, or no space is left here.
        ValueError: what was fetched is not what was written.
        StoreUnreachable: its storage is away.
    """
    if isinstance(segment, Path):
        return segment
    manifest = (segment / "manifest.json").read_bytes()
    folder = _folder(segment) / hashlib.sha256(manifest).hexdigest()
    copy = folder / segment.name
    digests: dict[str, str] = json.loads(manifest)["sha256"]
    sizes = {name: size for name, size, _ in segment.files()}
    if not all((copy / name).is_file() and (copy / name).stat().st_size == sizes.get(name) for name in digests):
        _fetch(segment, digests, manifest, copy)
    os.utime(folder)
    return copy


def keep(built: Path, segment: ObjectPath) -> None:
    """Make what was built here, and uploaded as this segment, the copy of it. Where the cache lies on another disk, or
    is full, the segment is fetched like others.
    """
    with suppress(OSError):
        digest = hashlib.sha256((built / "manifest.json").read_bytes()).hexdigest()
        _put(built, _folder(segment) / digest / segment.name)
    shutil.rmtree(built, ignore_errors=True)


def _fetch(segment: ObjectPath, digests: dict[str, str], manifest: bytes, copy: Path) -> None:
    part = Path(tempfile.mkdtemp(prefix=FETCHING, dir=_folder(segment)))  # 0700
    try:
        for name, digest in digests.items():
            if Path(name).name != name:
                raise ValueError(f"{segment}: its manifest names a file elsewhere")
            (segment / name).download(part / name)
            with (part / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise ValueError(f"{segment / name} is not what was written")
        (part / "manifest.json").write_bytes(manifest)
        _put(part, copy)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(whole: Path, copy: Path) -> None:
    """Rename into place, and let go what it replaces: a process that has an older copy mapped keeps it."""
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(copy, ignore_errors=True)  # a damaged one
    try:
        whole.rename(copy)
    except OSError:
        if copy.is_dir():  # another process was faster, and its copy is as good
            return
        raise
    for other in copy.parent.parent.iterdir():
        with suppress(OSError):  # another process lets it go too
            being_filled = other.name.startswith(FETCHING) and time.time() - other.stat().st_mtime < SETTLED_S
            if other != copy.parent and not being_filled:
                shutil.rmtree(other, ignore_errors=True)
    _make_room(copy.parent)


def _make_room(newest: Path) -> None:
    limit = float(os.environ.get(VARIABLE) or LIMIT_GB) * 1e9
    found = []
    for folder in (cache_folder() / "segments").glob("*/*"):
        with suppress(OSError):  # another process makes room too
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            found.append((folder.stat().st_mtime, size, folder))
    total = sum(size for _, size, _ in found)
    for opened, size, folder in sorted(found):
        if total <= limit or time.time() - opened < SETTLED_S:
            return
        if folder != newest:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _folder(segment: ObjectPath) -> Path:
    """Of all copies of segments of one index."""
    folder = cache_folder() / "segments" / folder_name(segment.parent)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
