"""Whether the index holds a file that somebody queries with. Its bytes tell, not its name: a copy is recognised too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from m3search import filters, modalities
from m3search.modalities.content import digest_of, item_id_of
from m3search.modalities.reading import header_of, unreadable
from m3search.privacy import Pseudonyms

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder
    from m3search.stores.reader import Reader


def stored_item(path: Path, index: IndexFolder, store: Reader) -> str | None:
    """The `item_id` of the stored item that this file is, or is a slice of; None where the index lacks these bytes.

    Raises:
        UnreadableFile: the file is of no known format, or cannot be read.
    """
    header = header_of(path)
    try:
        digest = digest_of(path)
        item_id = item_id_of([digest, *map(digest_of, header.companions)])
    except OSError as error:
        raise unreadable(path, error) from error
    if store.count(filters.equals("item_id", item_id)):
        return item_id
    modality = modalities.recognise(header)
    series = modalities.get(modality).series(header) if modality else ""
    if not series or not index.key_file.is_file():
        return None
    key = Pseudonyms.load(index.key_file).of(series)
    if not (candidates := store.matching(filters.equals("series_key", key))):
        return None
    rows = store.record.rows(candidates, ["item_id", "files"]).to_pylist()
    return next((row["item_id"] for row in rows if any(file["digest"] == digest for file in row["files"])), None)
