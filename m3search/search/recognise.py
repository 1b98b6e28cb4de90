"""A file that somebody queries with: how results name it, and whether the index holds it.

Its bytes tell, not its name: a renamed copy is recognised too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m3search import filters, modalities
from m3search.modalities.content import digest_of, item_id_of
from m3search.modalities.reading import header_of, unreadable
from m3search.privacy import PathMask, Pseudonyms

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder
    from m3search.stores.reader import Reader


@dataclass(frozen=True, slots=True)
class QueryFile:
    """What an index knows of a file."""

    name: str  # masked like a stored path where it holds an identifier of its own DICOM file
    item_id: str | None  # of the stored item that it is, or is a slice of; None where the index lacks these bytes


def recognise(path: Path, index: IndexFolder, store: Reader) -> QueryFile:
    """Look a file up by its bytes.

    Raises:
        UnreadableFile: it is of no known format, or cannot be read.
    """
    header = header_of(path)
    pseudonyms = Pseudonyms.load(index.key_file)
    name = Path(path.name)
    mask = PathMask(pseudonyms)
    mask.learn(name, header.identifiers)
    modality = modalities.recognise(header)
    series = modalities.get(modality).series(header) if modality else ""
    try:
        item_id = stored_item([*map(digest_of, (path, *header.companions))], series, pseudonyms, store)
    except OSError as error:
        raise unreadable(path, error) from error
    return QueryFile(mask.uri(name), item_id)


def stored_item(digests: Sequence[str], series: str, pseudonyms: Pseudonyms, store: Reader) -> str | None:
    """The stored item that files with these digests are, or are slices of.

    Args:
        digests: of a file, then of its companions; or of several files of one series.
        series: what its modality says of the series, "" for none; an identifier: in memory only.
    """
    item_id = item_id_of(digests)
    if store.count(filters.equals("item_id", item_id)):
        return item_id
    candidates = store.matching(filters.equals("series_key", pseudonyms.of(series))) if series else []
    if not candidates:
        return None
    rows = store.record.rows(candidates, ["item_id", "files"]).to_pylist()
    return next((row["item_id"] for row in rows if any(file["digest"] == digests[0] for file in row["files"])), None)
