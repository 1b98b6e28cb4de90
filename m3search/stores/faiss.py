"""FAISS over half-precision vectors: a flat index, whose answers are exact, and an inverted file before it.

Half precision is what the record keeps, so nothing is lost; it halves what a search reads, and unlike in numpy nothing
has to be widened first.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import MissingExtra

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.stores.chosen import Chosen
    from m3search.types import Float32

    Rows = npt.NDArray[np.int64]

BLOCK = 65536  # vectors added at a time
TRAINED_ON = 48  # vectors per list that k-means sees
ITERATIONS = 8  # of k-means


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

    kind = "Flat"

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: npt.NDArray[Any]) -> FlatIndex:
        """From (N, D) values that half precision represents exactly.

        Raises:
            MissingExtra: faiss is not installed.
        """
        faiss = _faiss()
        index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        _add(index, vectors)
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
        """Write to a new file.

        Raises:
            OSError: the disk is full, or away.
        """
        _write(self._index, path)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Float32, k: int, allowed: Chosen | None = None) -> tuple[Float32, Rows]:
        """Scores and rows (Q, k) of the nearest vectors, best first; row -1 where there are fewer than k.

        Args:
            queries: float32 (Q, D).
            k: at most len(self).
            allowed: only these rows.
        """
        params = None
        if allowed is not None:
            params = _faiss().SearchParameters(sel=_selector(allowed))
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=params)
        return scores, rows


class InvertedFile:
    """Lists of vectors by their nearest centroid, as 4-bit codes of what is left: rows worth scoring in full, fast.

    `IVF,PQ(D/2)x4fsr` of FAISS (Douze et al., arXiv 2401.08281; André et al., Quicker ADC). Its own scores are rough;
    the flat index beside it scores its candidates anew.
    """

    def __init__(self, index: Any, flat: FlatIndex) -> None:
        faiss = _faiss()
        self._index = index
        self._flat = flat  # kept alive: FAISS only points to it
        self._refined = faiss.IndexRefine(index, flat._index)

    @classmethod
    def train(cls, vectors: npt.NDArray[Any], lists: int, seed: int = 0) -> Any:
        """An empty FAISS index that knows its `lists` centroids and codes, learned from a sample of (N, D).

        Raises:
            MissingExtra: faiss is not installed.
        """
        faiss = _faiss()
        dim = vectors.shape[1]
        index = faiss.index_factory(dim, kind_of(lists, dim), faiss.METRIC_INNER_PRODUCT)
        index.cp.niter = ITERATIONS
        index.cp.seed = seed
        count = min(len(vectors), max(TRAINED_ON * lists, 10_000))
        sample = np.sort(np.random.default_rng(seed).choice(len(vectors), count, replace=False))
        index.cp.max_points_per_centroid = TRAINED_ON
        index.cp.min_points_per_centroid = 1
        index.train(vectors[sample].astype(np.float32))
        return index

    @classmethod
    def build(cls, trained: Any, vectors: npt.NDArray[Any], flat: FlatIndex) -> InvertedFile:
        """Fill what `train` made with all vectors (N, D), which `flat` holds too."""
        _add(trained, vectors)
        return cls(trained, flat)

    @classmethod
    def open(cls, path: Path, flat: FlatIndex) -> InvertedFile:
        """Read a file made by `save`.

        Raises:
            MissingExtra: faiss is not installed.
        """
        return cls(read_trained(path), flat)

    def save(self, path: Path) -> None:
        """Write to a new file. Raises as `FlatIndex.save`."""
        save_trained(self._index, path)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self._index.nlist)

    def list_of_rows(self) -> npt.NDArray[np.int32]:
        """(N,) the list that each row is in."""
        faiss = _faiss()
        found = np.empty(len(self), dtype=np.int32)
        inverted = self._index.invlists
        for number in range(self.lists):
            if not (size := inverted.list_size(number)):
                continue  # vectors that are alike leave lists empty
            found[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
        return found

    def nearest_lists(self, queries: Float32, lists: Chosen) -> Rows:
        """(Q, len(lists)) of these lists, nearest first."""
        params = _faiss().SearchParameters(sel=_selector(lists))
        order: Rows = self._index.quantizer.search(np.ascontiguousarray(queries), len(lists), params=params)[1]
        return order

    def search(
        self,
        queries: Float32,
        k: int,
        nprobe: int,
        candidates: int,
        allowed: Chosen | None = None,
        lists: Chosen | None = None,
    ) -> tuple[Float32, Rows]:
        """Scores and rows (Q, k), best first; row -1 where fewer than k were found.

        Args:
            nprobe: how many lists are looked into.
            candidates: how many rows, by their rough scores, are scored in full; at least k.
            allowed: only these rows.
            lists: only these lists.
        """
        factor = max(candidates / k, 1.0)
        everywhere = allowed is None and lists is None
        params = _params_everywhere(nprobe, factor) if everywhere else _params(nprobe, factor, allowed, lists)
        scores, rows = self._refined.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=params)
        return scores, rows


def kind_of(lists: int, dim: int) -> str:
    """The factory string of the inverted file: one 4-bit code for each two dimensions."""
    return f"IVF{lists},PQ{max(dim // 2, 1)}x4fsr"


def save_trained(index: Any, path: Path) -> None:
    """Write a bare FAISS index to a new file. Raises as `FlatIndex.save`."""
    _write(index, path)


def read_trained(path: Path) -> Any:
    """A bare FAISS index, read whole.

    Raises:
        MissingExtra: faiss is not installed.
    """
    return _faiss().read_index(str(path))


def _write(index: Any, path: Path) -> None:
    """Through a file of ours: where the last bytes find no room, as its file is closed, FAISS only prints that."""
    faiss = _faiss()
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _add(index: Any, vectors: npt.NDArray[Any]) -> None:
    for start in range(0, len(vectors), BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK], dtype=np.float32))


def _params(nprobe: int, factor: float, allowed: Chosen | None = None, lists: Chosen | None = None) -> Any:
    """Of a search of an inverted file and of what refines it, by the rows and the lists that it may look at."""
    faiss = _faiss()
    inner = faiss.SearchParametersIVF(
        nprobe=nprobe,
        sel=None if allowed is None else _selector(allowed),
        quantizer_params=None if lists is None else faiss.SearchParameters(sel=_selector(lists)),
    )
    return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)


@lru_cache  # making them takes a tenth of a search, and a search only reads them
def _params_everywhere(nprobe: int, factor: float) -> Any:
    return _params(nprobe, factor)


def _selector(allowed: Chosen) -> Any:
    return _faiss().IDSelectorBitmap(allowed.bits)
