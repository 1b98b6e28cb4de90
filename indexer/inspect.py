"""A first look at one file, in a worker process: what it is and which bytes it holds. No pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from m3search import formats, modalities
from m3search.errors import Reason, UnreadableFile
from m3search.indexer.archives.folder import FileStat


@dataclass(frozen=True, slots=True)
class Digest:
    """The bytes of one file."""

    stat: FileStat
    digest: str  # BLAKE3, hexadecimal


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one file is. `modality` is None where only a person or the encoder can say (a raster)."""

    path: Path
    format: str
    modality: str | None
    series: str = field(repr=False)  # raw identifiers: in memory only
    identifiers: tuple[str, ...] = field(repr=False)
    digests: tuple[Digest, ...]  # the file itself, then its companions


def inspect(path: Path) -> Inspected | None:
    """Look at a file; None where it is no medical file at all (a readme, a .dat that its header speaks for).

    Raises:
        UnreadableFile: it claims to be a medical file and is not, or is of a kind that is not searched.
    """
    try:
        digest = _digest(path)
        if digest.stat.size == 0:
            raise UnreadableFile(path, Reason.EMPTY, "has no bytes; copy it again from its source")
        name = formats.sniff(path)
        if name is None:
            return None
        header = formats.get(name).read_header(path)
        modality = modalities.recognise(header)
        return Inspected(
            path=path,
            format=name,
            modality=modality,
            series=modalities.get(modality).series(header) if modality else "",
            identifiers=header.identifiers,
            digests=(digest, *(_digest(companion) for companion in header.companions)),
        )
    except PermissionError as error:
        raise UnreadableFile(path, Reason.PERMISSION, "may not be read by this user; ask for read permission") from error
    except FileNotFoundError as error:
        raise UnreadableFile(path, Reason.VANISHED, "disappeared while the archive was read; run again") from error


def _digest(path: Path) -> Digest:
    stat = FileStat.of(path)  # before the bytes: a file changed meanwhile is seen as changed by the next run
    return Digest(stat, blake3().update_mmap(path).hexdigest())
