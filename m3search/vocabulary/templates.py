"""Sentences to put a name of an examination and a finding into."""

from __future__ import annotations

from m3search.vocabulary.concepts import Kind

TEMPLATES = (
    "{name} of {label}",
    "{name} showing {label}",
    "{label} on {name}",
    "{name} with {label}",
    "{label} {name}",
)

# The same sentence said and denied, so that nothing but the denial tells the two apart; the plainest first.
PAIRS = (
    ("{name} with {label}", "{name} without {label}"),
    ("{name} of {label}", "{name} with no {label}"),
    ("{name} showing {label}", "{name} showing no {label}"),
    ("{label} on {name}", "no {label} on {name}"),
    ("{label} {name}", "{name} negative for {label}"),
    ("{name} positive for {label}", "{name} negative for {label}"),
    ("{name} with signs of {label}", "{name} without signs of {label}"),
    ("{name}: evidence of {label}", "{name}: no evidence of {label}"),
)

# A finding by itself, said and denied; the plainest first.
BARE_PAIRS = (
    ("{label}", "no {label}"),
    ("{label}", "without {label}"),
    ("{label}", "absence of {label}"),
    ("{label}", "free of {label}"),
    ("evidence of {label}", "no evidence of {label}"),
    ("signs of {label}", "no signs of {label}"),
    ("positive for {label}", "negative for {label}"),
    ("there is evidence of {label}", "there is no evidence of {label}"),
)

# What is itself a statement of absence ("no abnormality"), and how a scan was taken, do not go well with "of".
_BY_KIND: dict[Kind, tuple[str, ...]] = {
    "abnormal": TEMPLATES,
    "tissue": TEMPLATES,
    "normal": ("{name} showing {label}", "{label} on {name}", "{name} with {label}", "{name}: {label}"),
    "technique": ("{name}: {label}", "{name}, {label}"),
}
_ADJECTIVES = frozenset({"normal", "healthy", "unremarkable"})
_OF_ADJECTIVES = ("{label} {name}", "{name}: {label}")


def templates_for(kind: Kind, word: str) -> tuple[str, ...]:
    """Templates that a word for a finding of this kind fits into."""
    return _OF_ADJECTIVES if word.lower() in _ADJECTIVES else _BY_KIND[kind]
