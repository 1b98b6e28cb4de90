"""The two kinds of entries of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# "abnormal" can be denied ("no pleural effusion"); "normal" is itself a statement of absence; "tissue" and "technique"
# (which tissue lies under the lens, whether contrast was given) are neither healthy nor ill.
Kind = Literal["abnormal", "normal", "tissue", "technique"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing an examination can show, under the name that labels use."""

    label: str
    words: tuple[str, ...] = ()  # noun phrases that mean just this, or that other findings share openly (see `meaning`)
    on: tuple[str, ...] = ()  # modalities
    region: str = ""  # part of the body, as in `examinations.REGIONS`; "" for any
    kind: Kind = "abnormal"
    is_a: tuple[str, ...] = ()  # labels of which it is a kind: whoever has it has those
    may_show: tuple[str, ...] = ()  # words for what often comes with it unsaid: its absence is not known
    places: tuple[str, ...] = ()  # where: phrases that follow the label
    degrees: tuple[str, ...] = ()  # how much or what sort: words that precede the label
    opposite: str = ""  # of a normal finding or a technique: a word for what it excludes


@dataclass(frozen=True, slots=True)
class Group:
    """Words for several findings at once: true of each member, false of whoever has none."""

    words: tuple[str, ...]  # the first is its name
    members: tuple[str, ...]  # labels, or names of other groups
    opposite: str = ""  # the label that says none of them is there
    on: tuple[str, ...] = ()  # modalities it speaks of; () for those of its members
