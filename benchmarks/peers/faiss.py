"""Raw FAISS, by factory string: the yardstick. Whoever uses it so has neither filters by column nor upserts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.peers.base import Setting, threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

PROBES = (2, 4, 8, 16, 32, 64, 128)
FACTORS = (4, 10, 20, 40)  # candidates that are compared anew, times k
EFFORTS = (32, 64, 128, 256, 512)  # of a graph's search
TRAINING = 64  # rows for each list
ADDED = 65536  # rows at a time


class Faiss:
    """A build is a factory string. Searched from memory, as it is fastest."""

    packages: ClassVar[Sequence[str]] = ("faiss",)
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, count: int, dim: int) -> Sequence[str]:
        """See `Peer`."""
        lists = 2 ** round(np.log2(4 * count**0.5))  # 4096 for a million
        return (
            "SQfp16",
            "Flat",
            f"IVF{lists},Flat",
            f"IVF{lists},SQfp16",
            f"IVF{lists},PQ{dim // 2}x4fsr,RFlat",
            f"IVF{lists},PQ{dim // 4}x4fsr,RFlat",
            f"IVF{lists},PQ{dim // 2}x4fsr,Refine(SQfp16)",
            f"IVF{lists},RaBitQfs,Refine(SQfp16)",
            "HNSW32,SQfp16",
        )

    @classmethod
    def settings(cls, build: str) -> Sequence[Setting]:
        """See `Peer`."""
        if build.startswith("HNSW"):
            return [{"efSearch": effort} for effort in EFFORTS]
        if not build.startswith("IVF"):
            return [{}]
        if ",R" not in build.replace("RaBitQ", ""):
            return [{"nprobe": probes} for probes in PROBES]
        return [{"nprobe": probes, "k_factor": factor} for factor, probes in itertools.product(FACTORS, PROBES)]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        faiss: Any = import_module("faiss")  # its stubs know no keyword arguments

        count, dim = gallery.shape
        index = faiss.index_factory(dim, build, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            lists = int(build.split(",")[0][3:]) if build.startswith("IVF") else 256
            sample = np.random.default_rng(0).permutation(count)[: TRAINING * max(lists, 256)]
            index.train(gallery.vectors[np.sort(sample)].astype(np.float32))
        for _, vectors in gallery.blocks(ADDED):
            index.add(vectors.astype(np.float32))
        faiss.write_index(index, str(folder / "index.faiss"))
        np.savez(folder / "columns.npz", **gallery.columns)  # type: ignore[arg-type]

    def __init__(self, folder: Path, build: str) -> None:
        """See `Peer`."""
        faiss: Any = import_module("faiss")  # its stubs know no keyword arguments

        faiss.omp_set_num_threads(threads())
        self._index = faiss.read_index(str(folder / "index.faiss"))
        self._build, self._columns = build, folder / "columns.npz"
        self._bitmaps: dict[Where, npt.NDArray[np.uint8]] = {}

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        found: npt.NDArray[np.int64] = self._index.search(queries, k, params=self._parameters(setting, where))[1]
        return found

    def _parameters(self, setting: Setting, where: Where | None) -> Any:
        faiss: Any = import_module("faiss")  # its stubs know no keyword arguments

        chosen: dict[str, Any] = {"sel": faiss.IDSelectorBitmap(self._bitmap(where))} if where else {}
        if self._build.startswith("HNSW"):
            return faiss.SearchParametersHNSW(efSearch=setting["efSearch"], **chosen)
        if not setting:
            return faiss.SearchParameters(**chosen) if chosen else None
        inner = faiss.SearchParametersIVF(nprobe=setting["nprobe"], **chosen)
        if "k_factor" not in setting:
            return inner
        return faiss.IndexRefineSearchParameters(k_factor=setting["k_factor"], base_index_params=inner)

    def _bitmap(self, where: Where) -> npt.NDArray[np.uint8]:
        """Made once: a user who filters raw FAISS would keep it."""
        if where not in self._bitmaps:
            with np.load(self._columns) as columns:
                self._bitmaps[where] = np.packbits(columns[where.column] <= where.band, bitorder="little")
        return self._bitmaps[where]
