"""A flat FAISS index over half-precision vectors: every vector is compared, so answers are exact.

Half precision is what the record keeps, so nothing is lost; it halves what a search reads, and unlike in numpy nothing
has to be widened first.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import MissingExtra

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32


def usable() -> bool:
    """Whether faiss is installed. Imports nothing."""
    return find_spec("faiss") is not None


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra('FAISS is not installed: pip install "m3search[cpu]"') from error
    return faiss


class FlatIndex:
    """Vectors by row number. Not safe to change once made."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Float32) -> FlatIndex:
        """From float32 (N, D) that half precision represents exactly.

        Raises:
            MissingExtra: faiss is not installed.
        """
        faiss = _faiss()
        index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        index.add(np.ascontiguousarray(vectors))
        return cls(index)

    @classmethod
    def open(cls, path: Path) -> FlatIndex:
        """Map a file made by `save`: read from disk only as far as it is searched.

        Raises:
            MissingExtra: faiss is not installed.
        """
        faiss = _faiss()
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        """Write to a new file."""
        _faiss().write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: Float32, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Float32, npt.NDArray[np.int64]]:
        """Scores and rows (Q, k) of the nearest vectors, best first; row -1 where there are fewer than k.

        Args:
            queries: float32 (Q, D).
            k: at most len(self).
            allowed: (N,), only these rows.
        """
        faiss = _faiss()
        params = None
        if allowed is not None:
            bitmap = np.packbits(allowed, bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=params)
        return scores, rows
