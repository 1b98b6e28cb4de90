"""Files of a stored item, brought back from where they lie: out of a zip or tar file, from a bucket, from a PACS.

An index run fetches, reads and forgets them. Whoever looks at an item later needs them once more, and knows them by
their masked names and by what their bytes were. What comes back with other bytes is not given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from m3search.errors import ArchiveUnreachable, Reason, UnreadableFile
from m3search.indexer.archives import is_address
from m3search.indexer.archives.containers import Unpacking, copy_members, is_container, is_packed, member_names
from m3search.indexer.archives.dicomweb import Client, Refused, Series, Server
from m3search.indexer.archives.pacs import SUFFIX
from m3search.indexer.archives.remote import Fetching
from m3search.modalities.content import digest_of
from m3search.privacy import LINK, MASK, PathMask, Sealed

if TYPE_CHECKING:
    from m3search.indexer.archives.base import Access
    from m3search.indexer.ledger import FileEntry
    from m3search.privacy.pseudonyms import KeyFile


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bringing one item back may take."""

    bytes: int = 1 << 30  # of all its files
    seconds: float = 120.0  # after which no further file is begun
    patience_s: float = 10.0  # how long a server that does not answer is asked again


@dataclass(frozen=True, slots=True)
class Where:
    """One archive of an index, as the index knows it."""

    location: str  # by which `open_archive` finds it
    mask: PathMask  # names its files as the index does
    key_file: KeyFile  # of the index: opens what leads to a study

    def parts(self, entry: FileEntry) -> tuple[str, ...]:
        """Components of a stored name, below the archive's root."""
        return PurePosixPath(entry.path.removeprefix(self.mask.prefix)).parts


@dataclass(slots=True)
class Recalled:
    """What came back, by the name that the index has for it."""

    files: dict[str, Path] = field(default_factory=dict)
    changed: bool = False  # some file is there, with other bytes

    def take(self, entry: FileEntry, copy: Path) -> None:
        """Keep a copy that is the file that was indexed; remove any other."""
        if digest_of(copy) == entry.digest:
            self.files[entry.path] = copy
        else:
            copy.unlink()
            self.changed = True


def can_recall(where: Where, entry: FileEntry) -> bool:
    """Whether a file is to be looked for by `recall`: at an address, or in a zip or tar file that is there."""
    if is_address(where.location):
        return True
    try:
        return _container(where, entry) is not None
    except OSError:
        return False


def recall(where: Where, entries: Sequence[FileEntry], provenance: str, to: Path, bounds: Bounds) -> Recalled:
    """Bring files of one item to a folder, which keeps them under their own names, in folders as they lie.

    Args:
        entries: the files, all of this archive.
        provenance: the item's, as it is stored (JSON): of an item of a PACS it leads to the study.

    Returns:
        Those that are still what they were; a file that is gone is not among them.

    Raises:
        UnreadableFile: TOO_LARGE or TIMEOUT where bounds are met; or the storage fails.
        ArchiveUnreachable: the server is away, or refuses.
        MissingExtra: what the archive needs is not installed.
    """
    if sum(max(entry.size, 0) for entry in entries) > bounds.bytes:
        raise _too_large(to, bounds)
    within = _Within(bounds, to)
    if where.location.startswith(("http://", "https://")):
        return _from_pacs(where, entries, provenance, within)
    if is_address(where.location):
        return _from_storage(where, entries, within)
    return _from_containers(where, entries, within)


class _Within:
    """Bounds of one call, and where its copies go."""

    def __init__(self, bounds: Bounds, folder: Path) -> None:
        self.bounds = bounds
        self.folder = folder
        self._left = bounds.bytes
        self._until = time.monotonic() + bounds.seconds

    def place(self, *names: str) -> Path:
        """Where the file of that relative path goes."""
        to = self.folder.joinpath(*names)
        if not to.is_relative_to(self.folder) or ".." in to.parts:
            raise UnreadableFile(self.folder, Reason.CORRUPT, "its archive gives it a name that leads elsewhere")
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return to

    def check(self, size: int = 0) -> None:
        """Raises UnreadableFile where so many bytes more are too many, or the time is over."""
        self._left -= size
        if self._left < 0:
            raise _too_large(self.folder, self.bounds)
        if time.monotonic() > self._until:
            raise UnreadableFile(self.folder, Reason.TIMEOUT, "did not come from its archive in time; try again")


def _too_large(path: Path, bounds: Bounds) -> UnreadableFile:
    return UnreadableFile(
        path, Reason.TOO_LARGE, f"its files have more than the {bounds.bytes >> 20:,} MB that are fetched for a look"
    )


# Zip and tar files ----------------------------------------------------------------------------------------------------
def _from_containers(where: Where, entries: Sequence[FileEntry], within: _Within) -> Recalled:
    members: dict[Path, dict[tuple[str, ...], FileEntry]] = {}
    for entry in entries:
        with suppress(OSError):
            if found := _container(where, entry):
                members.setdefault(found[0], {})[found[1]] = entry
    recalled = Recalled()
    for container, wanted in members.items():
        within.check()
        if is_packed(container) and container.stat().st_size > within.bounds.bytes:
            raise _too_large(container, within.bounds)
        present = member_names(container)
        plain = {"/".join(parts): entry for parts, entry in wanted.items()}
        names = plain if plain.keys() <= present else _named(where.mask, wanted, present)
        if is_packed(container):
            _unpack(container, names, within, recalled)
        else:
            _copy(Unpacking(within.folder), container, names, within, recalled)
    return recalled


def _unpack(container: Path, names: Mapping[str, FileEntry], within: _Within, recalled: Recalled) -> None:
    """Bring members of a compressed tar file, which is read once: inflated as a whole it might fill the disk."""
    places = {name: within.place(*name.split("/")) for name in names}
    copy_members(container, places, within.check)
    for name, entry in names.items():
        if places[name].exists():
            recalled.take(entry, places[name])


def _container(where: Where, entry: FileEntry) -> tuple[Path, tuple[str, ...]] | None:
    """The zip or tar file that a stored name leads into, and the rest of the name; None where it leads into none.

    Raises:
        OSError: something of the way is not there, or a link leads out of the archive.
    """
    root = Path(where.location).resolve(strict=True)
    parts = where.parts(entry)
    if root.is_file():
        return (root, parts) if is_container(root) else None
    path = root
    for depth, part in enumerate(parts[:-1], 1):
        path = where.mask.resolve(path, where.mask.prefix + part).resolve(strict=True)
        if not path.is_relative_to(root):
            raise FileNotFoundError(f"{entry.path} is no longer in the archive")
        if path.is_file():
            return (path, parts[depth:]) if is_container(path) else None
    return None


def _named(mask: PathMask, wanted: Mapping[tuple[str, ...], FileEntry], names: Iterable[str]) -> dict[str, FileEntry]:
    """Which of these names, relative paths, the wanted stored names stand for."""
    above = {parts[:depth] for parts in wanted for depth in range(len(parts) + 1)}
    found = {}
    for name in names:
        ways: set[tuple[str, ...]] = {()}
        for part in name.split("/"):
            ways = {(*way, form) for way in ways for form in mask.forms(part)} & above
        if entry := next((wanted[way] for way in sorted(ways) if way in wanted), None):
            found[name] = entry
    return found


# Object storage -------------------------------------------------------------------------------------------------------
def _from_storage(where: Where, entries: Sequence[FileEntry], within: _Within) -> Recalled:
    root = Path("/", where.location)
    storage = Fetching(where.location, root)
    names = {}
    for entry in entries:
        within.check()
        if path := _found(storage, root, where.parts(entry), where.mask):
            names[path.relative_to(root).as_posix()] = entry
    recalled = Recalled()
    _copy(storage, root, names, within, recalled)
    return recalled


def _found(storage: Fetching, root: Path, parts: Sequence[str], mask: PathMask) -> Path | None:
    """The object of a stored name; folders are listed only where a name is masked."""
    path = root
    for part in parts:
        name: str | None = part
        if part.startswith(MASK) or "\\" in part:
            name = next((entry for entry in storage.names(path) if part in mask.forms(entry)), None)
        if name is None:
            return None
        path = path / name
    return path


def _copy(access: Access, root: Path, names: Mapping[str, FileEntry], within: _Within, recalled: Recalled) -> None:
    """Bring files one by one; what is gone meanwhile, or has another size, is not brought."""
    for name, entry in names.items():
        try:
            stat = access.stat(root / name)
            if stat.size != entry.size:
                recalled.changed = True
                continue
            within.check(stat.size)
            to = within.place(*name.split("/"))
            access.copy(root / name, to)
        except FileNotFoundError:
            continue
        recalled.take(entry, to)


# A PACS ---------------------------------------------------------------------------------------------------------------
def _from_pacs(where: Where, entries: Sequence[FileEntry], provenance: str, within: _Within) -> Recalled:
    recalled = Recalled()
    sealed = json.loads(provenance or "{}").get(LINK)
    if not sealed:
        return recalled
    study = Sealed(where.key_file).open(sealed)
    client = Client(Server(where.location, patience_s=within.bounds.patience_s))
    wanted = {where.parts(entry): entry for entry in entries}
    for series in client.series_of(study):
        within.check()
        if any(parts[1:2] and parts[1] in where.mask.forms(series.series) for parts in wanted):
            folder = f"{study}/{series.series}"
            uids = {f"{folder}/{uid}{SUFFIX}": uid for uid in client.instances(series)}
            named = {uids[name]: entry for name, entry in _named(where.mask, wanted, uids).items()}
            _retrieve(client, series, named, 2 * len(named) > len(uids), within, recalled)
    return recalled


def _retrieve(
    client: Client, series: Series, named: Mapping[str, FileEntry], whole: bool, within: _Within, recalled: Recalled
) -> None:
    """Bring instances of one series, by SOP instance UID."""

    def keep(uid: str, content: bytes) -> None:
        within.check(len(content))
        to = within.place(f"{uid}{SUFFIX}")
        to.write_bytes(content)
        recalled.take(named[uid], to)

    try:
        if named:
            client.retrieve(series, named, whole, keep)
    except Refused as error:
        if error.status not in (404, 410):
            raise ArchiveUnreachable("the PACS lists a series and does not give it; ask its administrator") from None
