"""What every modality can do. To add one: one module here, one line in MODALITIES, one case in tests/contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    from m3search.types import Header, InputSpec, Item, Source


class Modality(Protocol):
    """Reads one kind of examination, clinically right, and records how."""

    name: str
    folder_names: frozenset[str]  # words in a folder name that hint at this modality, lower case: {"fundus", "retina"}

    def recognises(self, header: Header) -> bool:
        """True where the header itself shows that the file is of this modality. Raster files never do."""
        ...

    def series(self, header: Header) -> str:
        """Files with the same non-empty series (of this modality) form one item; "" means the file stands alone."""
        ...

    def read(self, source: Source, spec: InputSpec) -> Item:
        """Decode at most `spec.max_parts` parts, evenly spread where there are more.

        Raises:
            UnreadableFile: naming the file and the reason.
        """
        ...

    def prepare(self, item: Item, spec: InputSpec) -> npt.NDArray[Any]:
        """Model input, one row per part: see `InputSpec`."""
        ...

    def thumbnail(self, item: Item) -> bytes:
        """JPEG or PNG bytes, longest side at most 256 px (an ECG's strip at most 512 px)."""
        ...
