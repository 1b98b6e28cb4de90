"""Several encoders side by side, as text, JSON and TREC files; with the baselines that a bundle has recorded."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

from m3search.encoders.base import Encoder
from m3search.encoders.runtime import BundleEncoder
from m3search.evaluation import trec
from m3search.evaluation.benches import Options, Outcome, bench
from m3search.evaluation.dataset import EvaluationSet, Say
from m3search.evaluation.figures import Figure
from m3search.evaluation.tables import MEAN, Table, ratio
from m3search.evaluation.trials import Trial
from m3search.metrics import Interval

NAME_WIDTH = 40

Recorded = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Values by baseline, key of a table, and part of the data."""


@dataclass(frozen=True)
class Comparison:
    """One bench put to several encoders, the first of which is compared with the others."""

    name: str  # of the bench
    data: EvaluationSet
    outcomes: tuple[Outcome, ...]
    relative_to: tuple[str, ...] = ()  # labels of outcomes that the first is divided by
    recorded: Recorded | None = None  # while the first was trained, on the same items
    notes: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the encoders, with a fingerprint where two are alike."""
        return labels(self.outcomes)

    @cached_property
    def ratios(self) -> dict[str, dict[str, dict[str, Interval]]]:
        """By other encoder, key of a table, and part: the first encoder relative to it."""
        found: dict[str, dict[str, dict[str, Interval]]] = {}
        first, *others = self.outcomes
        for label, other in zip(self.labels[1:], others, strict=True):
            if label in self.relative_to:
                theirs = {table.key: table for table in other.tables}
                shared = [table for table in first.tables if table.key in theirs]
                found[label] = {table.key: ratio(table, theirs[table.key]) for table in shared}
        return found

    def to_text(self) -> str:
        """A table per question."""
        notes = [*self.notes, *([f"* recorded while {self.labels[0]} was trained"] if self.recorded else [])]
        return "\n\n".join([*(self._table(table) for table in self.outcomes[0].tables), *notes])

    def to_json(self) -> str:
        """Everything but single queries."""
        content = {
            "bench": self.name,
            "data": self.data.name,
            "split": self.data.split,
            "key": self.data.key,
            "encoders": {
                label: {
                    "fingerprint": outcome.fingerprint,
                    "items": outcome.items,
                    "tables": {table.key: _plain(table) for table in outcome.tables},
                }
                for label, outcome in zip(self.labels, self.outcomes, strict=True)
            },
            "relative_to": {
                label: {key: {part: _bounds(found) for part, found in parts.items()} for key, parts in tables.items()}
                for label, tables in self.ratios.items()
            },
            "recorded": self.recorded or {},
            "notes": self.notes,
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def write_trec(self, folder: Path) -> list[Path]:
        """A run per encoder and question, and the judgements of each question. Returns the files.

        Queries are named "<modality>/<query>", with the source between where one query is put to several.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for label, outcome in zip(self.labels, self.outcomes, strict=True):
            for key, trials in _questions(outcome):
                run, qrels = folder / f"{label}.{key}.run", folder / f"{key}.qrels"
                named = list(zip(trials, _names(trials), strict=True))
                trec.write_run(run, dict(entry for one in named for entry in _run(*one)), label)
                trec.write_qrels(qrels, dict(entry for one in named for entry in _qrels(*one)))
                written += [run, qrels]
            if outcome.report is not None:
                run, qrels = folder / f"{label}.queries.run", folder / "queries.qrels"
                outcome.report.to_trec(run, qrels)
                written += [run, qrels]
        return list(dict.fromkeys(written))

    def _table(self, table: Table) -> str:
        columns = list(self._columns(table))
        head = " ".join(f"{_short(name, width):>{width}}" for name, width, _ in columns)
        title = f"{'flawed: ' if table.honest else ''}{table.title}: {table.measure}"
        lines = [title, f"{'':{NAME_WIDTH}} {'queries':>7} {'items':>6} {'chance':>6} {head}"]
        for part, figure in table.figures.items():
            cells = " ".join(f"{cells.get(part, '-'):>{width}}" for _, width, cells in columns)
            name = _short(part, NAME_WIDTH)
            lines.append(f"{name:{NAME_WIDTH}} {figure.queries:7} {figure.items:6} {figure.chance:6.3f} {cells}")
        return "\n".join(lines)

    def _columns(self, table: Table) -> Iterator[tuple[str, int, dict[str, str]]]:
        """(head, width, cells by part)."""
        for label, outcome in zip(self.labels, self.outcomes, strict=True):
            own = {one.key: one.figures for one in outcome.tables}
            yield label, 22, _cells(own.get(table.key, {}))
            if table.honest:
                yield "honest", 22, _cells(own.get(table.honest, {}))
        for label, ratios in self.ratios.items():
            if cells := {part: _ratio_text(found) for part, found in ratios.get(table.key, {}).items()}:
                yield f"relative to {label}", 22, cells
        for name, tables in (self.recorded or {}).items():
            if table.key in tables:
                cells = {part: f"{value:.3f}" for part, value in tables[table.key].items()}
                yield f"{name}*", max(8, min(len(name) + 1, 22)), cells


def compare(
    name: str,
    data: EvaluationSet,
    encoders: Sequence[Encoder],
    options: Options,
    *,
    baselines: Sequence[Encoder] = (),
    say: Say = print,
) -> Comparison:
    """Put one bench to several encoders.

    Args:
        name: of the bench.
        data: what they are judged on.
        encoders: the first is set in relation to the others.
        options: of the bench.
        baselines: encoders that are measured too, but not set in relation.
        say: told what is going on.

    Raises:
        UsageError: no such bench, or the data set has nothing that it could ask.
        DataError: nothing of the data set can be read by one of the encoders.
    """
    outcomes = []
    for encoder in [*encoders, *baselines]:
        started = time.perf_counter()
        outcomes.append(bench(name, data, encoder, options, say))
        say(f"{encoder.name}: {outcomes[-1].items} items of {data.name} in {time.perf_counter() - started:.0f} s")
    recorded, note = recorded_baselines(encoders[0], data)
    others = labels(outcomes)[1 : len(encoders)]
    return Comparison(name, data, tuple(outcomes), others, recorded, (note,) if note else ())


def labels(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A name for each outcome that no other has: with the fingerprint where names are alike, else with a number."""
    times = Counter(outcome.encoder for outcome in outcomes)
    names = [
        f"{outcome.encoder}@{outcome.fingerprint[:8]}" if times[outcome.encoder] > 1 else outcome.encoder
        for outcome in outcomes
    ]
    before = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(f"{name} ({count + 1})" if count else name for name, count in zip(names, before, strict=True))


def recorded_baselines(encoder: Encoder, data: EvaluationSet) -> tuple[Recorded, str]:
    """What a bundle's training run measured of its baselines, if on these very items; else nothing and why."""
    if not isinstance(encoder, BundleEncoder) or not encoder.bundle.description.get("baselines"):
        return {}, ""
    key = (encoder.bundle.description.get("training") or {}).get("validation_key")
    if key != data.key:
        return (
            {},
            f"baselines recorded while {encoder.name} was trained are left out: they were measured on other items",
        )
    recorded: dict[str, dict[str, dict[str, float]]] = {}
    for name, modalities in encoder.bundle.description["baselines"].items():
        for modality, values in modalities.items():
            for table, value in values.items():
                recorded.setdefault(name, {}).setdefault(table, {})[modality] = value
    for tables in recorded.values():
        for parts in tables.values():
            parts[MEAN] = sum(parts.values()) / len(parts)
    return recorded, ""


def _plain(table: Table) -> dict[str, Any]:
    found = {"title": table.title, "measure": table.measure} | ({"honest": table.honest} if table.honest else {})
    return found | {"figures": {part: asdict(figure) for part, figure in table.figures.items()}}


def _bounds(found: Interval) -> dict[str, float | None]:
    values = {"ratio": found.mean, "low": found.low, "high": found.high}
    return {name: None if isnan(value) else value for name, value in values.items()}


def _ratio_text(found: Interval) -> str:
    bounds = "" if isnan(found.low) else f"[{found.low:.3f}, {found.high:.3f}]"
    return f"{found.mean:7.3f} {bounds:14}"


def _cells(figures: Mapping[str, Figure]) -> dict[str, str]:
    return {part: figure.text() for part, figure in figures.items()}


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _questions(outcome: Outcome) -> Iterator[tuple[str, tuple[Trial, ...]]]:
    """Keys and trials, each set of trials once: two measures of the same question have the same run."""
    seen: set[int] = set()
    for table in outcome.tables:
        if table.trials and (first := id(table.trials[0])) not in seen:
            seen.add(first)
            yield table.key, table.trials


def _names(trials: Sequence[Trial]) -> list[list[str]]:
    """A name for each query of each trial that no other has."""
    short = [[f"{_ascii(one.modality)}/{query}" for query in one.queries] for one in trials]
    if len({name for names in short for name in names}) == sum(map(len, short)):
        return short
    return [
        [f"{_ascii(one.modality)}/{source}/{query}" for source, query in zip(one.sources, one.queries, strict=True)]
        for one in trials
    ]


def _ascii(modality: str) -> str:
    return modality.replace("→", "-to-")


def _run(one: Trial, names: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    for place, name in enumerate(names):
        order = (-one.scores[place]).argsort(kind="stable")
        kept = order[~one.exclude[place][order]][: trec.DEPTH]
        yield name, [(one.documents[row], float(one.scores[place, row])) for row in kept]


def _qrels(one: Trial, names: Sequence[str]) -> Iterator[tuple[str, dict[str, int]]]:
    for place, name in enumerate(names):
        yield name, {one.documents[row]: 1 for row in one.relevance[place].nonzero()[0]}
