"""How hard an inverted file has to look to keep the recall it promises; found out when it is built.

Text queries lie outside the distribution of image vectors, and lists that serve an image well may miss a text's
neighbours. So every kind of query is tried against exact answers, and the worst one counts: items, texts as they are,
texts less their mean, as calibration asks with them. Of each kind, every other query chooses the setting, and the
others tell what it reaches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.stores.faiss import InvertedFile
    from m3search.types import Float32

    Rows = npt.NDArray[np.int64]

TARGET = 0.99  # recall that is promised
SURE = 1.645  # standard errors by which the target must be passed: queries like these reach it 19 times in 20
DEPTHS = (10, 32, 100, 320)  # k for which settings are found; in between, the deeper one's serves
FACTORS = (2, 4, 8, 16, 32)  # candidates scored in full, as multiples of the depth
QUERIES = 500  # of each kind, at most
SLOWER = 1.5  # times the fastest setting so far: whoever compares still more in full will not be faster
REPEATS = 3  # timings of a setting, of which the best counts: machines have other things to do
SINGLES = 32  # queries timed one by one
BLOCK = 65536  # vectors compared at a time
MIXED = 3  # items whose mean stands for a text where the index has none


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search of `depth` neighbours uses."""

    depth: int
    nprobe: int  # lists looked into
    candidates: int  # scored in full


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings by depth, ascending, and the recall they reach on queries that did not choose them."""

    lists: int
    settings: tuple[Setting, ...]
    recall_items: float  # at the first depth, of items of the index asking for their neighbours
    recall_texts: float  # of texts in the form that reaches less
    target: float = TARGET
    texts: str = "stored"  # "stored": text vectors of the index; "made": mixtures of items, where it has none

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tuning:
        """What `to_json` gave."""
        return cls(**{**content, "settings": tuple(Setting(**one) for one in content["settings"])})

    def to_json(self) -> dict[str, Any]:
        """For the segment's manifest."""
        return asdict(self)

    def setting(self, k: int) -> Setting:
        """For k neighbours; beyond the deepest one tried, lists are added as they grew between the last ones tried."""
        for setting in self.settings:
            if k <= setting.depth:
                return setting
        last = self.settings[-1]
        lists = min(self.lists, round(last.nprobe * (k / last.depth) ** self._growth))
        return Setting(k, lists, k * last.candidates // last.depth)

    def filtered(self, k: int, matching: int, count: int) -> tuple[Setting, float]:
        """For k neighbours among `matching` of `count` rows: a setting, and how many matching rows are to be seen.

        The k-th match is about the (k / share)-th neighbour of all. A search that deep sees so many rows, of which that
        share matches; where matches are sparse near the query, more lists are needed to see as many.
        """
        share = matching / count
        deep = self.setting(min(round(k / share), count))
        return replace(self.setting(k), nprobe=deep.nprobe), matching * deep.nprobe / self.lists

    @property
    def _growth(self) -> float:
        """Exponent of nprobe over depth, between the last two; at least 1/2, at most 1."""
        if len(self.settings) < 2:
            return 1.0
        before, last = self.settings[-2:]
        grown = np.log(max(last.nprobe / before.nprobe, 1.0)) / np.log(last.depth / before.depth)
        return float(np.clip(grown, 0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Trial:
    """Queries and their exact neighbours."""

    queries: Float32  # (Q, D)
    exact: Rows  # (Q, max(DEPTHS)), best first
    itself: Rows  # (Q,) the row that a query is, which does not count; -1 for none

    def half(self, odd: bool) -> Trial:
        """Every other query."""
        return Trial(self.queries[odd::2], self.exact[odd::2], self.itself[odd::2])

    def recall(self, lists: InvertedFile, setting: Setting) -> float:
        """Share of the exact `depth` neighbours that are found."""
        return float(self._recalls(lists, setting).mean())

    def assured(self, lists: InvertedFile, setting: Setting) -> float:
        """Recall that other queries of this kind reach as well, all but surely."""
        recalls = self._recalls(lists, setting)
        return float(recalls.mean() - SURE * recalls.std() / len(recalls) ** 0.5)

    def _recalls(self, lists: InvertedFile, setting: Setting) -> npt.NDArray[np.float64]:
        """(Q,)."""
        _, rows = lists.search(self.queries, setting.depth + 1, setting.nprobe, setting.candidates)
        exact = self.exact[:, : setting.depth]
        found = []
        for got, best, itself in zip(rows.tolist(), exact.tolist(), self.itself, strict=True):
            got = [row for row in got if row != itself][: setting.depth]
            found.append(len(set(got) & set(best)))
        shares: npt.NDArray[np.float64] = np.array(found, dtype=np.float64) / max(exact.shape[1], 1)
        return shares


def tune(
    lists: InvertedFile,
    vectors: npt.NDArray[np.float16],
    texts: npt.NDArray[np.float16],
    target: float = TARGET,
    most: int = QUERIES,
    seed: int = 0,
) -> Tuning:
    """Settings that reach `target` for both kinds of query.

    Args:
        vectors: (N, D), all that `lists` holds.
        texts: (T, D) text vectors of the index; mixtures of items stand in where there are none.
        most: queries of each kind.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(vectors), min(most, len(vectors)), replace=False))
    stored = len(texts) > 0
    asked = [
        vectors[chosen].astype(np.float32),
        *(_texts(texts, most, rng) if stored else _mixtures(vectors, most, rng)),
    ]
    queries = np.concatenate(asked)
    itself = np.concatenate([chosen, np.full(len(queries) - len(chosen), -1)])
    exact = neighbours(vectors, queries, itself, max(DEPTHS))
    ends = np.cumsum([len(some) for some in asked])[:-1]
    kinds = [Trial(*parts) for parts in zip(*(np.split(of, ends) for of in (queries, exact, itself)), strict=True)]
    settings: list[Setting] = []
    for depth in (depth for depth in DEPTHS if depth < len(vectors)):
        settings.append(_held(lists, kinds, _chosen(lists, kinds, depth, target), target))
    items, *words = (kind.half(odd=True).recall(lists, settings[0]) for kind in kinds)
    return Tuning(lists.lists, tuple(settings), items, min(words), target, "stored" if stored else "made")


def neighbours(
    vectors: npt.NDArray[np.float16], queries: Float32, itself: Rows, depth: int, block: int = BLOCK
) -> Rows:
    """(Q, depth) exact nearest rows of each query, best first, streamed over blocks of the vectors (N, D).

    Args:
        itself: (Q,) a row that is left out, -1 for none.
    """
    best = np.full((len(queries), 0), -1, dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors), block):
        part = queries @ vectors[start : start + block].astype(np.float32).T
        mine = np.flatnonzero((itself >= start) & (itself < start + part.shape[1]))
        part[mine, itself[mine] - start] = -np.inf
        kept = np.argpartition(-part, min(depth, part.shape[1]) - 1, axis=1)[:, :depth]
        best = np.concatenate([best, kept + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(part, kept, 1)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        best, scores = np.take_along_axis(best, order, 1), np.take_along_axis(scores, order, 1)
    return best


def _chosen(lists: InvertedFile, kinds: Sequence[Trial], depth: int, target: float) -> Setting:
    """The fastest setting that reaches the target on the even queries, and would on others like them."""
    trials = [kind.half(odd=False) for kind in kinds]
    queries = np.concatenate([trial.queries for trial in trials])
    fastest, least = Setting(depth, lists.lists, FACTORS[-1] * depth), np.inf
    for setting in _reaching(lists, trials, depth, target):
        took = _seconds(lists, queries, setting)
        if took < least:
            fastest, least = setting, took
        elif took > SLOWER * least:
            break
    return fastest


def _seconds(lists: InvertedFile, queries: Float32, setting: Setting) -> float:
    """Of a query: the geometric mean of its share of a batch and of what it takes alone, so that neither way of asking
    pays for the other.
    """

    def took(some: Float32) -> float:
        started = time.perf_counter()
        lists.search(some, setting.depth, setting.nprobe, setting.candidates)
        return time.perf_counter() - started

    spread = queries[:: max(len(queries) // SINGLES, 1)]  # over all kinds
    batched = min(took(queries) for _ in range(REPEATS)) / len(queries)
    alone = min(float(np.median([took(one[None]) for one in spread])) for _ in range(REPEATS))
    return float(np.sqrt(batched * alone))


def _reaching(lists: InvertedFile, trials: Sequence[Trial], depth: int, target: float) -> Iterator[Setting]:
    """For each factor the fewest lists that surely reach the target, if any number does."""
    most = lists.lists
    for factor in FACTORS:
        low, high = 0, _steps(most)  # of nprobe, by a quarter each
        reached = None
        while low < high:
            middle = (low + high) // 2
            setting = Setting(depth, min(_nprobe(middle), most), factor * depth)
            if min(trial.assured(lists, setting) for trial in trials) >= target:
                reached, high = setting, middle
            else:
                low = middle + 1
        if reached is not None:
            yield reached
            most = max(reached.nprobe, 1)  # more candidates never need more lists


def _held(lists: InvertedFile, kinds: Sequence[Trial], setting: Setting, target: float) -> Setting:
    """With more lists, as long as the odd queries are under the target."""
    while setting.nprobe < lists.lists:
        if min(kind.half(odd=True).recall(lists, setting) for kind in kinds) >= target:
            break
        setting = replace(setting, nprobe=min(setting.nprobe + max(setting.nprobe // 4, 1), lists.lists))
    return setting


def _nprobe(step: int) -> int:
    return round(1.25**step)


def _steps(most: int) -> int:
    """How many steps `_nprobe` takes to reach `most`."""
    step = 0
    while _nprobe(step) < most:
        step += 1
    return step + 1


def _texts(texts: npt.NDArray[np.float16], most: int, rng: np.random.Generator) -> list[Float32]:
    """(most, D) at most: as they are, and less the mean of all, as calibration asks with them."""
    drawn = texts[rng.permutation(len(texts))[:most]].astype(np.float32)
    return [drawn, _unit(drawn - texts.mean(axis=0, dtype=np.float32))]


def _mixtures(vectors: npt.NDArray[np.float16], count: int, rng: np.random.Generator) -> list[Float32]:
    """(count, D) directions that lie between items, and away from their mean, as texts do."""
    drawn = vectors[np.sort(rng.choice(len(vectors), min(20_000, len(vectors)), replace=False))].astype(np.float32)
    several = drawn[rng.integers(len(drawn), size=(count, MIXED))].mean(axis=1)
    return [_unit(several - drawn.mean(axis=0))]


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)
