"""Placeholder until merged."""

from collections.abc import Sequence

from m3search.datasets import Row
from m3search.trainer.texts import Text


def centre_texts(rows: Sequence[Row], seed: int = 0) -> list[Text]:  # noqa: ARG001
    return [
        Text(w)
        for w in sorted({r.text for r in rows} | {r.caption for r in rows} | {x for r in rows for x in r.labels})
    ]
