"""What `evaluate` returns: figures with intervals, overall and per modality and source, and the run behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.evaluation import trec
from m3search.evaluation.figures import Figure

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("part", "name", "measure", "value", "low", "high", "chance", "queries", "items")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How well queries were answered. `report["AP"]` is the figure over all queries."""

    encoder: str
    overall: Mapping[str, Figure]  # by measure; the gallery is every document
    by_modality: Mapping[str, Mapping[str, Figure]]  # the gallery, and what is relevant, is of that modality
    by_source: Mapping[str, Mapping[str, Figure]]  # the same by "modality/source", where sources are known
    per_query: Mapping[str, Mapping[str, float]]  # by query and measure, over every document
    run: Mapping[str, Sequence[tuple[str, float]]]  # documents and scores of each query, best first
    qrels: Mapping[str, Mapping[str, int]]  # what was judged and in the query's gallery, by the ids of `run`
    notes: tuple[str, ...] = ()  # what was left out, and why

    def __getitem__(self, measure: str) -> Figure:
        return self.overall[measure]

    def to_trec(self, run_path: Path | str, qrels_path: Path | str) -> None:
        """Write a run and the judgements it was measured by: trec_eval and ir_measures find the same values."""
        trec.write_run(run_path, self.run, self.encoder)
        trec.write_qrels(qrels_path, self.qrels)

    def to_json(self) -> str:
        """Everything but the run."""

        def plain(figures: Mapping[str, Figure]) -> dict[str, dict[str, float | None]]:
            return {measure: asdict(figure) for measure, figure in figures.items()}

        content = {
            "encoder": self.encoder,
            "queries": len(self.run),
            "overall": plain(self.overall),
            "by_modality": {name: plain(figures) for name, figures in self.by_modality.items()},
            "by_source": {name: plain(figures) for name, figures in self.by_source.items()},
            "per_query": self.per_query,
            "notes": self.notes,
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def to_pandas(self) -> pd.DataFrame:
        """One row per part of the data and measure."""
        import pandas as pd

        rows = [
            {"part": part, "name": name, "measure": measure, **asdict(figure)}
            for part, name, figures in self._parts()
            for measure, figure in figures.items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def __str__(self) -> str:
        measures = list(self.overall)
        width = max([len(name) for _, name, _ in self._parts()] + [3])
        lines = [f"{'':{width}} {'queries':>7} {'items':>6} " + " ".join(f"{measure:>22}" for measure in measures)]
        for _, name, figures in self._parts():
            first = next(iter(figures.values()))
            cells = " ".join(f"{figures[measure].text():>22}" for measure in measures)
            lines.append(f"{name or 'all':{width}} {first.queries:7} {first.items:6} {cells}")
        return "\n".join([*lines, *self.notes])

    def _parts(self) -> Iterator[tuple[str, str, Mapping[str, Figure]]]:
        yield "all", "", self.overall
        for name, figures in self.by_modality.items():
            yield "modality", name, figures
        for name, figures in self.by_source.items():
            yield "source", name, figures
