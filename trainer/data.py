"""The items of a training run: `m3search.datasets`, under the name the trainer's modules import."""

from m3search.datasets import Inputs, Row, join_series, load_inputs, read_manifests, split

__all__ = ["Inputs", "Row", "join_series", "load_inputs", "read_manifests", "split"]
