"""Searching an index: `Engine` asks, `Results` answers."""

from m3search.search.engine import Engine
from m3search.search.results import Results

__all__ = ["Engine", "Results"]
