"""Does the bundle find what it should, on patients it has never seen?

    python -m benchmarks.retrieval [--data FOLDER] [--bundle NAME] [--no-baseline] [--json]

Text to image (label names as queries) and image to image, mean average precision with 95% intervals, on the validation
split of the data set by group, beside chance (the expected precision of a random order) and an untrained baseline. The
protocols are those of m3search.evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import DATASETS
from m3search.datasets import Inputs, Row, load_inputs, read_manifests, split
from m3search.encoders import DEFAULT_ENCODER, load_encoder
from m3search.encoders.base import Encoder, pool_parts
from m3search.evaluation import (
    MIN_RELEVANT,
    Figure,
    Label,
    LabelledItems,
    Scope,
    image_to_image,
    summarise,
    text_to_image,
)
from m3search.types import Batch

TASKS: dict[str, tuple[str, Scope]] = {
    "text to image, gallery of all modalities": ("text", "all"),
    "text to image, gallery of one modality": ("text", "modality"),
    "text to image, gallery of one source": ("text", "source"),
    "image to image, gallery of one modality": ("image", "modality"),
    "image to image, gallery of one modality, own case left in": ("image with its case", "modality"),
    "image to image, gallery of one source": ("image", "source"),
}
CONFIGURATION = Path("trainer/configs/m3bind-small.toml")  # what the untrained baseline is built from
CACHE = Path(".cache/inputs")  # decoded inputs, so that a second run starts at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    options = _parse(arguments)
    _, held_out = split(read_manifests([options.data / DATASETS["train"].manifests]))
    encoders = [load_encoder(options.bundle)]
    if options.baseline:
        from m3search.trainer.untrained import UntrainedEncoder

        encoders.append(UntrainedEncoder(CONFIGURATION))
    results = {}
    for encoder in encoders:
        started = time.perf_counter()
        items = embed(held_out, encoder, options.cache)
        results[encoder.name] = measure(items, encoder, options.min_relevant)
        seconds = time.perf_counter() - started
        _say(f"{encoder.name} {encoder.fingerprint[:12]}: {len(items)} held-out items in {seconds:.0f} s")
    if options.json:
        print(json.dumps(_as_json(results, options), indent=2))
    else:
        _print_tables(results)


def embed(rows: Sequence[Row], encoder: Encoder, cache: Path) -> LabelledItems:
    """Every row that can be read, as an item with its vector: prepared as indexing does it."""
    labels: list[Label] = []
    vectors = []
    for modality, spec in encoder.inputs.items():
        own = [row for row in rows if row.modality == modality]
        if not own:
            continue
        inputs = load_inputs(own, spec, cache, say=_say)
        labels += [_label(row) for row in inputs.rows]
        vectors.append(_item_vectors(encoder, modality, inputs))
    return LabelledItems(tuple(labels), np.concatenate(vectors))


def measure(items: LabelledItems, encoder: Encoder, min_relevant: int) -> dict[str, dict[str, Figure]]:
    """Figures by task and modality; by modality and source where the gallery is one source."""
    results = {}
    for task, (query, scope) in TASKS.items():
        if query == "text":
            scores = text_to_image(items, encoder.encode_text, scope, min_relevant)
        else:
            scores = image_to_image(items, scope, "group" if query == "image" else "query")
        results[task] = summarise(scores, by="source" if scope == "source" else "modality")
    return results


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _item_vectors(encoder: Encoder, modality: str, inputs: Inputs) -> np.ndarray:
    parts = encoder.encode(Batch(modality, np.ascontiguousarray(inputs.parts)))
    return np.stack([pool_parts(parts[start:end]) for start, end in zip(inputs.first, inputs.first[1:], strict=False)])


def _label(row: Row) -> Label:
    return Label(str(row.path), row.modality, frozenset(row.labels), row.text, row.group, row.source)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=DATASETS["train"].folder, help="folder with <modality>/manifest.csv"
    )
    parser.add_argument("--bundle", default=DEFAULT_ENCODER, help="bundle by name or folder")
    parser.add_argument("--min-relevant", type=int, default=MIN_RELEVANT, help="items a label needs to be a text query")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for decoded inputs")
    parser.add_argument(
        "--no-baseline", dest="baseline", action="store_false", help="leave out the untrained towers (torch)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_args(arguments)


def _as_json(results: Mapping[str, Mapping[str, Mapping[str, Figure]]], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "measure": "mean average precision",
        "data": options.data.name,
        "min_relevant": options.min_relevant,
        "encoders": {
            encoder: {
                task: {name: asdict(figure) for name, figure in figures.items()} for task, figures in tasks.items()
            }
            for encoder, tasks in results.items()
        },
    }


def _print_tables(results: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> None:
    first, *others = results
    for task in TASKS:
        figures = results[first][task]
        if not figures:
            continue
        columns = [f"{first[:20]:>22}", *(f"{name[:20]:>22}" for name in others)]
        print(f"\n{task}\n{'':40} {'queries':>7} {'items':>6} {'chance':>6} {' '.join(columns)}")
        for name, figure in figures.items():
            cells = [_cell(results[encoder][task].get(name)) for encoder in results]
            print(f"{_short(name):40} {figure.queries:7} {figure.items:6} {figure.chance:6.3f} {' '.join(cells)}")


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return f"{'-':>22}"
    interval = "" if figure.low is None or figure.high is None else f"[{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:7.3f} {interval:14}"


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"


if __name__ == "__main__":
    main()
