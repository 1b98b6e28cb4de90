"""What an adapter is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

Setting = Mapping[str, int]
"""Search parameters by the engine's own names; empty where there are none."""


class Peer(Protocol):
    """One engine. A build is what is decided when the index is made, a setting when it is searched."""

    packages: ClassVar[Sequence[str]]  # modules to import, outside of all times
    filters: ClassVar[bool]  # whether it takes a filter

    @classmethod
    def builds(cls, count: int, dim: int) -> Sequence[str]:
        """Names of the builds that are worth a try at this size."""
        ...

    @classmethod
    def settings(cls, build: str) -> Sequence[Setting]:
        """What to sweep, fast ones first."""
        ...

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """Index the gallery in an empty folder, durably."""
        ...

    def __init__(self, folder: Path, build: str) -> None:
        """Open what `fit` left."""
        ...

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """Rows of the k nearest to queries (Q, D), best first: (Q, k), -1 where a page is short."""
        ...


def threads() -> int:
    """As many as the benchmark lets this process use."""
    return len(os.sched_getaffinity(0))


def padded(found: Sequence[Sequence[int]], k: int) -> npt.NDArray[np.int64]:
    """Pages of any length up to k as (Q, k)."""
    rows = np.full((len(found), k), -1, dtype=np.int64)
    for number, page in enumerate(found):
        rows[number, : len(page)] = page
    return rows
