"""The data sets that benchmarks run on, in one visible dict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataSet:
    """Where a data set lies and how it is laid out."""

    about: str
    folder: Path  # relative to the root of the checkout
    manifests: str = "*/manifest.csv"  # below `folder`


DATASETS = {
    "train": DataSet(
        "compact real data of all five modalities; a fifth of its groups is held out", Path("../shared/data/train")
    ),
    "archive": DataSet("a few real files per original format", Path("../shared/data/archive")),
}
