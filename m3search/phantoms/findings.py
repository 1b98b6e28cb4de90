"""What a phantom shows: findings as values, and sentences made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Sided = Literal["", "left", "right"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to be seen. Unused fields are ""."""

    kind: str  # one of the modality's KINDS
    side: Sided = ""  # of the patient
    extent: str = ""  # "small", "moderate", "large"; "a few", "many"
    place: str = ""  # "upper", "lower", "macula", "anterior", ...


def find(findings: Sequence[Finding], kind: str, side: str = "") -> Finding | None:
    """The first finding of that kind (and side, where one is given)."""
    return next((finding for finding in findings if finding.kind == kind and side in ("", finding.side)), None)


def plain(rng: np.random.Generator, sentences: Sequence[str], finding: Finding | None = None) -> str:
    """One of `sentences` by lot, with {side}, {extent} and {place} filled in; {Side} begins a sentence."""
    words = asdict(finding) if finding is not None else {}
    words |= {name.capitalize(): value.capitalize() for name, value in words.items()}
    return str(rng.choice(list(sentences))).format(**words)
