"""One item from its files to model input, in a worker process. What crosses back is small: no full-size pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from m3search import modalities
from m3search.modalities import burned_in
from m3search.modalities.reading import read_item
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


def read(source: Source, spec: InputSpec, policy: burned_in.Policy = "mask") -> Reading:
    """Read, prepare and draw one item; `policy` says what becomes of text in its pixels.

    Raises:
        UnreadableFile: naming the file and the reason.
    """
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
