"""Does calibration make one list over all modalities fair, and are denials heard?

    python -m benchmarks.fusion [--data FOLDER] [--bundle NAME] [--cache FOLDER] [--json]

Label names as queries, on the validation split of the data set by group: mean average precision in the gallery of all
modalities beside that in the gallery of the query's own modality, which no calibration between modalities can raise.
Each method of `m3search.search.calibrate`, without and with the hubness correction; and full text alone and fused with
vectors, which flatters them: the texts of these items hold the words of their labels.

Then findings claimed and denied, in the phrases of `m3search bench negation`: the share of cases in which the denial
ranks the items that have the finding lower, on average, than the claim does, within their modality.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from benchmarks.datasets import DATASETS
from m3search.encoders import DEFAULT_ENCODER, load_encoder
from m3search.encoders.base import Encoder
from m3search.evaluation import MIN_RELEVANT, LabelledItems
from m3search.evaluation.dataset import EvaluationSet, embed, open_dataset
from m3search.evaluation.figures import figure_of
from m3search.evaluation.negation import negation_sets
from m3search.evaluation.prompts import DENIALS, TYPED_DENIALS
from m3search.evaluation.trials import score, trial
from m3search.search import hubness
from m3search.search.calibrate import DEFAULT, METHODS, Calibration, Method
from m3search.search.compose import Composed, compose_texts
from m3search.search.fuse import Ranked, fuse, in_order
from m3search.search.lexical import by_words
from m3search.stores.fulltext import FullText

if TYPE_CHECKING:
    from m3search.types import Float32

CACHE = Path(".cache/inputs")  # decoded inputs and vectors, so that a second run starts at once


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the first table."""

    name: str
    mixed: dict[str, float]  # mAP by the query's modality, gallery of all modalities
    within: dict[str, float]  # gallery of that modality

    @property
    def ratio(self) -> float:
        """Mean over modalities of the mixed gallery's mAP, as a share of the same within modalities."""
        return _mean(self.mixed) / _mean(self.within)


@dataclass(frozen=True, slots=True)
class Denials:
    """One line of the second table."""

    name: str
    lower: dict[str, float]  # share of cases in which the denial ranks the finding's items lower, by modality
    pairs: dict[str, float]  # pair accuracy, as in `m3search bench negation`
    cases: int

    @property
    def share(self) -> float:
        """Mean over modalities."""
        return _mean(self.lower)


class Gallery:
    """Embedded items and everything that ranks them, as the engine does it."""

    def __init__(self, items: LabelledItems, encoder: Encoder, tables: Path) -> None:
        from m3search.stores.lance import LanceStore  # after the items were decoded: lancedb does not survive a fork

        order = items.by_id(np.arange(len(items)))
        self.items = LabelledItems(tuple(items.items[row] for row in order), items.vectors[order])
        self._encoder = encoder
        self._known: dict[str, Float32] = {}  # texts are asked for more than once
        self.calibration = Calibration.of(encoder)
        self.ids = list(self.items.names(np.arange(len(items))))
        self.modalities = np.array([item.modality for item in self.items.items])
        self._lowered = hubness.lowering(self.items.vectors, hubness.bank_of(encoder))
        LanceStore.create(tables, encoder.dim).upsert(
            [
                {"item_id": item.item_id, "modality": item.modality, "vector": vector, "text": item.text}
                for item, vector in zip(self.items.items, self.items.vectors, strict=True)
            ]
        )
        self.texts = FullText(tables)

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """As the encoder does; each text is embedded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.encode_text(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def compose(self, texts: Sequence[str]) -> list[Composed]:
        """Queries as the engine makes them."""
        return compose_texts(texts, self.encode_text, self.calibration)

    def scores(self, query: Composed, method: Method, hubs: bool) -> np.ndarray:
        """float64 (N,)."""
        scale = self.calibration.scale(query, method)
        inner = self.items.vectors @ scale.direction - (self._lowered if hubs else 0)
        calibrated = np.empty(len(inner))
        for modality in set(self.modalities):
            own = self.modalities == modality
            calibrated[own] = scale.of(modality)(inner[own])
        return calibrated

    def fused(self, query: Composed, method: Method, alone: bool) -> np.ndarray:
        """float64 (N,) of full text, alone or fused with the vectors' ranking."""
        near = in_order(list(zip(self.ids, self.scores(query, method, hubs=False).tolist(), strict=True)))
        words = by_words(self.texts, query.said, len(self.ids))
        return self._dense(words if alone else fuse([near, words]))

    def _dense(self, ranked: Ranked) -> np.ndarray:
        """What is not ranked comes last, by id."""
        place = dict(ranked)
        last = min(place.values(), default=0.0) - 1
        return np.array([place.get(item_id, last) for item_id in self.ids])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    options = _parse(arguments)
    encoder = load_encoder(options.bundle)
    data = open_dataset(options.data, options.split)
    items = _embedded(data, encoder, options.cache)
    with tempfile.TemporaryDirectory(prefix="m3search-") as folder:
        gallery = Gallery(items, encoder, Path(folder) / "tables")
        rows = ablation(gallery, options.min_relevant)
        denials = negation(gallery, options.min_relevant)
    if options.json:
        print(json.dumps({"items": len(items), "key": data.key, "fingerprint": encoder.fingerprint,
                          "calibration": [asdict(row) | {"ratio": row.ratio} for row in rows],
                          "negation": [asdict(row) | {"share": row.share} for row in denials]}, indent=2))  # fmt: skip
    else:
        print(f"{encoder.name}@{encoder.fingerprint[:8]}, {len(items)} items ({data.split} {data.key})\n")
        print(_table(rows))
        print(_denial_table(denials))


def ablation(gallery: Gallery, min_relevant: int) -> list[Row]:
    """Every method, every method with the hubness correction, full text."""
    labels = gallery.items.labels()
    queries = gallery.compose(labels)
    methods = METHODS if gallery.calibration.statistics else METHODS[:1]
    rows = []
    for hubs in (False, True):
        for method in methods:
            scores = np.stack([gallery.scores(query, method, hubs) for query in queries])
            rows.append(_row(gallery, f"{method}{' + hubness' if hubs else ''}", labels, scores, min_relevant))
    best = DEFAULT if DEFAULT in methods else "none"
    for alone in (True, False):
        name = "full text" if alone else f"hybrid ({best})"
        scores = np.stack([gallery.fused(query, best, alone) for query in queries])
        rows.append(_row(gallery, name, labels, scores, min_relevant))
    return rows


def _row(gallery: Gallery, name: str, labels: Sequence[str], scores: np.ndarray, min_relevant: int) -> Row:
    carries = gallery.items.carries(labels).T
    found: list[dict[str, float]] = []
    for mixed in (True, False):
        values = {}
        for modality in sorted(set(gallery.modalities)):
            own = gallery.modalities == modality
            asked = np.flatnonzero(carries[:, own].sum(axis=1) >= min_relevant)
            columns = np.flatnonzero(np.ones_like(own) if mixed else own)
            cells = np.ix_(asked, columns)
            queries = [(labels[row], "", labels[row]) for row in asked]
            scored = score([trial(modality, queries, gallery.items.names(columns), scores[cells], carries[cells])])
            if scored:
                values[modality] = float(np.mean([one.value for one in scored]))
        found.append(values)
    return Row(name, *found)


def negation(gallery: Gallery, min_relevant: int) -> list[Denials]:
    """Denials as the text tower alone hears them, and as a query does; in the judge's phrases and as people type."""

    def heard(texts: Sequence[str]) -> Float32:
        return np.stack([one.vector for one in gallery.compose(texts)])

    rows = []
    for words, phrases in (("judge's phrases", DENIALS), ("as typed", TYPED_DENIALS)):
        for name, encode in (("text tower alone", gallery.encode_text), ("query", heard)):
            sets = negation_sets(gallery.items, encode, denials=phrases, min_relevant=min_relevant)
            lower: dict[str, list[bool]] = {}
            for one in sets:
                cases = lower.setdefault(one.modality, [])
                for finding in one.findings:
                    claim, denial = (rankdata(-side, axis=1) for side in (finding.claim, finding.denial))
                    fell = (denial - claim)[:, finding.carries].mean(axis=1)
                    cases += (fell > 0).tolist()
            rows.append(
                Denials(
                    f"{name}, {words}",
                    {modality: float(np.mean(cases)) for modality, cases in lower.items()},
                    {one.modality: figure_of([one.part("pairs")]).value for one in sets},
                    sum(map(len, lower.values())),
                )
            )
    return rows


def _embedded(data: EvaluationSet, encoder: Encoder, cache: Path) -> LabelledItems:
    """The items with their vectors, embedded once per bundle and set of items."""
    file = cache / f"vectors-{encoder.fingerprint[:16]}-{data.key}.npz"
    rows = {row.name: row for row in data.rows}
    if file.exists():
        from m3search.evaluation.dataset import label_of

        with np.load(file) as kept:
            return LabelledItems(tuple(label_of(rows[name]) for name in kept["names"].tolist()), kept["vectors"])
    items = embed(list(data.rows), encoder, cache, say=_say)
    np.savez(file, names=np.array(items.names(np.arange(len(items)))), vectors=items.vectors)
    return items


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _table(rows: Sequence[Row]) -> str:
    names = sorted({name for row in rows for name in row.mixed})
    lines = [
        "mAP, all modalities / own modality",
        "| | " + " | ".join(names) + " | mean | ratio |",
        "| --- |" + " --- |" * (len(names) + 2),
    ]
    for row in rows:
        cells = [f"{row.mixed[name]:.3f} / {row.within[name]:.3f}" for name in names]
        mean = f"{_mean(row.mixed):.3f} / {_mean(row.within):.3f}"
        lines.append(f"| {row.name} | " + " | ".join([*cells, mean, f"{row.ratio:.3f}"]) + " |")
    return "\n".join(lines) + "\n"


def _denial_table(rows: Sequence[Denials]) -> str:
    names = sorted({name for row in rows for name in row.lower})
    lines = [
        "denials that rank the finding lower (pair accuracy)",
        "| | cases | " + " | ".join(names) + " | mean |",
        "| --- | --- |" + " --- |" * (len(names) + 1),
    ]
    for row in rows:
        cells = [f"{row.lower[name]:.3f} ({row.pairs[name]:.3f})" for name in names]
        lines.append(f"| {row.name} | {row.cases} | " + " | ".join([*cells, f"{row.share:.3f}"]) + " |")
    return "\n".join(lines) + "\n"


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fusion", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=DATASETS["train"].folder, help="folder with <modality>/manifest.csv"
    )
    parser.add_argument("--split", default="", help="validation (the default) or all")
    parser.add_argument("--bundle", default=DEFAULT_ENCODER, help="bundle by name or folder")
    parser.add_argument("--min-relevant", type=int, default=MIN_RELEVANT, help="items a label needs to be a text query")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for decoded inputs and vectors")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
