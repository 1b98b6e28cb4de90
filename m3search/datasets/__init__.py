"""Labelled items: manifests as rows, the split by group, inputs decoded once. Training and judging both stand on it."""

from m3search.datasets.inputs import Inputs, load_inputs
from m3search.datasets.rows import Row, join_series, read_manifests
from m3search.datasets.split import VALIDATION_SHARE, names_key, split

__all__ = ["VALIDATION_SHARE", "Inputs", "Row", "join_series", "load_inputs", "names_key", "read_manifests", "split"]
