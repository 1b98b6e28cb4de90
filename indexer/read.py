"""One item from its files to model input, in a worker process. What crosses back is small: no full-size pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search import modalities
from m3search.errors import Reason, UnreadableFile
from m3search.indexer.archives.base import FileStat
from m3search.modalities import burned_in
from m3search.modalities.reading import read_item, unreadable
from m3search.types import Identity, InputSpec, Source, Tags

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """An item ready to be embedded. `inputs` has one row per part, as `InputSpec` describes."""

    inputs: npt.NDArray[Any]
    locators: tuple[str, ...]  # of the parts
    tags: Tags
    identity: Identity
    text: str
    provenance: Mapping[str, Any]
    thumbnail: bytes = field(repr=False)


def read(
    source: Source, spec: InputSpec, policy: burned_in.Policy = "mask", planned: Sequence[FileStat] = ()
) -> Reading:
    """Read, prepare and draw one item; `policy` says what becomes of text in its pixels.

    Args:
        planned: the files as they were when the item was named after their bytes.

    Raises:
        UnreadableFile: naming the file and the reason; VANISHED where a file is no longer as it was planned.
    """
    try:
        reading = _read(source, spec, policy)
    except UnreadableFile:
        check_unchanged(planned)  # half of a file that is being copied looks damaged
        raise
    check_unchanged(planned)
    return reading


def _read(source: Source, spec: InputSpec, policy: burned_in.Policy) -> Reading:
    modality = modalities.get(source.modality)
    item = burned_in.apply(read_item(source, spec), policy)
    return Reading(
        inputs=modality.prepare(item, spec),
        locators=tuple(part.locator for part in item.parts),
        tags=item.tags,
        identity=item.identity,
        text=item.text,
        provenance=item.provenance,
        thumbnail=modality.thumbnail(item),
    )


def check_unchanged(planned: Sequence[FileStat], stat: Callable[[Path], FileStat] = FileStat.of) -> None:
    """Refuse files that are no longer as they were planned; `stat` looks at them.

    Raises:
        UnreadableFile: VANISHED, or what `stat` met.
    """
    for before in planned:
        try:
            now = stat(before.path)
        except OSError as error:
            raise unreadable(before.path, error) from error
        if now != before:
            raise UnreadableFile(
                before.path, Reason.VANISHED, "changed while it was being read; index again when it is complete"
            )
