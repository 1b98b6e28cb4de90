"""Does the bundle find what it should, on patients it has never seen?

    python -m benchmarks.retrieval [--data FOLDER] [--bundle NAME] [--no-baseline] [--json]

Text to image (label names as queries) and image to image, mean average precision with 95% intervals, on the validation
split of the data set by group, beside chance (the expected precision of a random order) and an untrained baseline.
`m3search bench retrieval` asks more, and in the same way: both call m3search.evaluation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.datasets import DATASETS
from m3search.encoders import DEFAULT_ENCODER, load_encoder
from m3search.encoders.base import Encoder
from m3search.evaluation import MIN_RELEVANT
from m3search.evaluation.benches import Options, Outcome
from m3search.evaluation.comparison import compare
from m3search.evaluation.dataset import open_dataset

TABLES = (
    "text_to_image",
    "text_to_image_within",
    "text_to_image_source",
    "image_to_image",
    "legacy_case_left_in",
    "image_to_image_source",
)
CONFIGURATION = Path("trainer/configs/m3bind-small.toml")  # what the untrained baseline is built from
CACHE = Path(".cache/inputs")  # decoded inputs, so that a second run starts at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    options = _parse(arguments)
    baselines: list[Encoder] = []
    if options.baseline:
        from m3search.trainer.untrained import UntrainedEncoder

        baselines.append(UntrainedEncoder(CONFIGURATION))
    how = Options(options.cache, min_relevant=options.min_relevant, legacy=True)
    data = open_dataset(options.data)
    found = compare("retrieval", data, [load_encoder(options.bundle)], how, baselines=baselines, say=_say)
    found = replace(found, outcomes=tuple(_chosen(outcome) for outcome in found.outcomes))
    print(found.to_json() if options.json else found.to_text())


def _chosen(outcome: Outcome) -> Outcome:
    tables = {table.key: table for table in outcome.tables}
    return replace(outcome, tables=tuple(tables[key] for key in TABLES if key in tables))


def _say(message: str) -> None:
    print(message, file=sys.stderr)


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


if __name__ == "__main__":
    main()
