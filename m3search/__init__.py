"""m3search: one search over medical archives of five modalities. A research tool, not a medical device.

>>> import m3search
>>> m3search.index("./archive", index="./.m3search")            # doctest: +SKIP
>>> engine = m3search.open("./.m3search")                       # doctest: +SKIP
>>> hits = engine.search("pleural effusion", modality="xray")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from m3search.encoders import load_encoder
    from m3search.errors import M3SearchError
    from m3search.evaluation import evaluate
    from m3search.indexer import Report, index
    from m3search.search import Engine, Query, Results
    from m3search.search.calibrate import Method
    from m3search.types import Hit
    from m3search.upkeep import (
        audit_log,
        compact,
        delete,
        duplicates,
        export,
        privacy_report,
        publish,
        switch_audit,
        undelete,
        verify,
    )

__version__ = "0.1.0"
__all__ = [
    "Engine", "Hit", "M3SearchError", "Query", "Report", "Results", "audit_log", "compact", "delete", "duplicates",
    "evaluate", "export", "index", "load_encoder", "open", "privacy_report", "publish", "switch_audit", "undelete",
    "verify",
]  # fmt: skip

_HOMES = {
    "Engine": "m3search.search",
    "Hit": "m3search.types",
    "M3SearchError": "m3search.errors",
    "Report": "m3search.indexer",
    "Query": "m3search.search",
    "Results": "m3search.search",
    "audit_log": "m3search.upkeep",
    "compact": "m3search.upkeep",
    "delete": "m3search.upkeep",
    "duplicates": "m3search.upkeep",
    "evaluate": "m3search.evaluation",
    "export": "m3search.upkeep",
    "index": "m3search.indexer",
    "load_encoder": "m3search.encoders",
    "privacy_report": "m3search.upkeep",
    "publish": "m3search.upkeep",
    "switch_audit": "m3search.upkeep",
    "undelete": "m3search.upkeep",
    "verify": "m3search.upkeep",
}


def open(
    path: Path | str | None = None,
    model: str | Path | None = None,
    calibration: Method | None = None,
    device: str | None = None,
    store: str | None = None,
) -> Engine:
    """The engine of an index; see `m3search.search.Engine.open`."""
    from m3search.search import Engine

    return Engine.open(path, model, calibration, device, store)


def __getattr__(name: str) -> Any:  # names load their module when first used: `import m3search` costs nothing
    if name not in _HOMES:
        raise AttributeError(f"module 'm3search' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
