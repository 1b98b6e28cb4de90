"""What an encoder is judged on: labelled items held out of training, or queries with judgements.

Three layouts are read:

    <folder>/manifest.csv, <folder>/*/manifest.csv     labelled items, held out by group as training does it
    <file>.csv                                         one manifest
    <folder>/corpus.jsonl (or .csv), queries.jsonl, qrels/*.tsv     BEIR's layout; documents are files: see beir.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from m3search.datasets import Inputs, Row, join_series, load_inputs, names_key, read_manifests, split
from m3search.encoders.base import Encoder, pool_parts
from m3search.errors import DataError, UnreadableFile
from m3search.evaluation import beir
from m3search.evaluation.items import Label, LabelledItems
from m3search.modalities.reading import source_of
from m3search.types import Batch

SPLITS = ("validation", "all")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Items, and queries with judgements where the data set has them."""

    name: str
    rows: tuple[Row, ...]  # one per item; `Row.name` is its id
    split: str  # "validation" (held out of training), "all", or the name of a file of judgements
    key: str  # of the items: figures recorded elsewhere are comparable where the key is the same
    queries: Mapping[str, beir.Question] = field(default_factory=dict)
    qrels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def open_dataset(path: Path, part: str = "") -> EvaluationSet:
    """The data set at a path.

    Args:
        path: a folder or a manifest, see above.
        part: of manifests "validation" (the default) or "all"; of a BEIR-style folder the name of a file in qrels/,
            by default all of them.

    Raises:
        DataError: nothing of the kind is there, a line is wrong, or there is no such part.
    """
    path = Path(path)
    if beir.is_folder(path):
        documents, queries, qrels = beir.read(path, part)
        return EvaluationSet(path.absolute().name, documents, part or "all", names_key(documents), queries, qrels)
    if part not in ("", *SPLITS):
        raise DataError(f"{path} has no split {part!r}; choose from {', '.join(SPLITS)}")
    rows = read_manifests(_manifests(path))
    chosen = rows if part == "all" else split(rows)[1]
    if not chosen:
        raise DataError(f"{path}: no item is held out, there are too few groups; judge all of them with --split all")
    name, times = Counter(row.name for row in chosen).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path} lists {name} {times} times; list every file once")
    return EvaluationSet(path.absolute().name, tuple(join_series(chosen)), part or "validation", names_key(chosen))


def embed(rows: Sequence[Row], encoder: Encoder, cache: Path, *, workers: int = 2, say: Say = print) -> LabelledItems:
    """Every row that can be read and whose modality the encoder has, as an item with its vector: prepared as an index
    run would, decoded once into the folder `cache`.

    Raises:
        DataError: none can.
    """
    rows = [row if row.modality else _recognised(row, encoder) for row in rows]
    labels: list[Label] = []
    vectors = []
    for modality, spec in encoder.inputs.items():
        own = [row for row in rows if row.modality == modality]
        if not own:
            continue
        inputs = load_inputs(own, spec, cache, workers, say)
        labels += [label_of(row) for row in inputs.rows]
        vectors.append(item_vectors(encoder, modality, inputs))
    lacking = sorted({row.modality for row in rows} - set(encoder.inputs) - {""})
    if lacking:
        say(f"  left out: {', '.join(lacking)}, for which {encoder.name} has no tower")
    if not vectors:
        raise DataError(f"{encoder.name} has no tower for any of the {len(rows)} items")
    return LabelledItems(tuple(labels), np.concatenate(vectors))


def item_vectors(encoder: Encoder, modality: str, inputs: Inputs) -> np.ndarray:
    """(R, D) float32, unit length: the mean of each item's parts."""
    parts = encoder.encode(Batch(modality, np.ascontiguousarray(inputs.parts)))
    return np.stack([pool_parts(parts[start:end]) for start, end in zip(inputs.first, inputs.first[1:], strict=False)])


def label_of(row: Row) -> Label:
    """What the judge needs to know of a row."""
    return Label(row.name or str(row.path), row.modality, frozenset(row.labels), row.text, row.group, row.source)


def _manifests(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [*path.glob("manifest.csv"), *path.glob("*/manifest.csv")]
    if not found:
        raise DataError(
            f"there is no data set at {path}; give a manifest (.csv), a folder with manifest.csv or */manifest.csv, or "
            "one with corpus.jsonl, queries.jsonl and qrels/"
        )
    return found


def _recognised(row: Row, encoder: Encoder) -> Row:
    """The row with the modality its file states, or the encoder sees; without one if it cannot be read."""
    try:
        return replace(row, modality=source_of(row.path, guess=encoder.guess_modality).modality)
    except (UnreadableFile, OSError):
        return row
