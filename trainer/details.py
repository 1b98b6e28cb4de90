"""Whom a text speaks of and how the picture was taken: age, sex, projection, side and magnification, where it says so.

They make an item's own text more its own than that of another item with the same findings; and one may search by them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from m3search.types import Float32

AGE_SPREAD = 12.0  # years apart at which the claim of an age has lost most of its truth
LEAST = 0.3  # of a text's truth that a wrong detail leaves: its findings are what it is about

_AGE = re.compile(r"\b(\d{1,3})[- ]year[- ]old\b")
_SAID = {
    "sex": {
        "male": re.compile(r"\b(?:male|man|boy)\b", re.IGNORECASE),
        "female": re.compile(r"\b(?:female|woman|girl)\b", re.IGNORECASE),
    },
    "projection": {
        "PA": re.compile(r"\bPA\b"),
        "AP": re.compile(r"\bAP\b"),
        "lateral": re.compile(r"\blateral (?:\(L\) )?chest\b", re.IGNORECASE),
    },
    "side": {"left": re.compile(r"\bleft eye\b"), "right": re.compile(r"\bright eye\b")},
    "magnification": {power: re.compile(rf"\b{power}\b") for power in ("40x", "100x", "200x", "400x")},
}


@dataclass(frozen=True, slots=True)
class Details:
    """What a text says; "" and a negative age where it says nothing, or more than one thing."""

    age: int = -1  # years
    sex: str = ""
    projection: str = ""
    side: str = ""
    magnification: str = ""


NO_DETAILS = Details()
KINDS = tuple(field.name for field in fields(Details) if field.name != "age")


@lru_cache(maxsize=1 << 16)
def details_in(words: str) -> Details:
    """What the words say."""
    ages = {int(age) for age in _AGE.findall(words)}
    said = {kind: [name for name, pattern in names.items() if pattern.search(words)] for kind, names in _SAID.items()}
    return Details(
        ages.pop() if len(ages) == 1 else -1, **{kind: found[0] for kind, found in said.items() if len(found) == 1}
    )


def agreement(of_items: Sequence[Details], of_texts: Sequence[Details]) -> Float32:
    """(N, M) float32 in (0, 1]: how far what text j says fits item i; what either does not say always fits."""
    ages = np.array([item.age for item in of_items])[:, None], np.array([text.age for text in of_texts])[None, :]
    apart = np.where((ages[0] < 0) | (ages[1] < 0), 0, ages[0] - ages[1])
    fits = LEAST + (1 - LEAST) * np.exp(-((apart / AGE_SPREAD) ** 2))
    for kind in KINDS:
        items, texts = ([getattr(one, kind) for one in side] for side in (of_items, of_texts))
        codes = {name: code for code, name in enumerate({"": 0} | dict.fromkeys([*items, *texts]))}
        item, text = (np.array([codes[name] for name in side]) for side in (items, texts))
        unlike = (item[:, None] > 0) & (text[None, :] > 0) & (item[:, None] != text[None, :])
        fits = fits * np.where(unlike, LEAST, 1.0)
    agreement: Float32 = fits.astype(np.float32)
    return agreement
