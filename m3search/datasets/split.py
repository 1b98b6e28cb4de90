"""Which items are held out: decided by their group's name alone, so that training and judging agree everywhere."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from m3search.datasets.rows import Row

VALIDATION_SHARE = 0.2


def split(rows: Sequence[Row], share: float = VALIDATION_SHARE) -> tuple[list[Row], list[Row]]:
    """(training, validation): `share` of each label's groups, rarest labels first, chosen by a hash of their names.

    Deterministic, independent of the order of rows; a group is never on both sides, also not across modalities. A label
    with at least two groups has items on both sides wherever the labels placed before it allow.
    """
    labels_of: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        labels_of[row.group] |= {(row.modality, label) for label in row.labels or ("",)}
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group in sorted(labels_of, key=_hash):
        for label in labels_of[group]:
            members[label].append(group)
    side: dict[str, bool] = {}  # True is validation
    for _, groups in sorted(members.items(), key=lambda entry: (len(entry[1]), entry[0])):
        wanted = max(1, round(share * len(groups))) if len(groups) > 1 else 0
        wanted -= sum(side.get(group, False) for group in groups)
        for group in groups:
            if group not in side:
                side[group] = wanted > 0
                wanted -= 1
    return [row for row in rows if not side[row.group]], [row for row in rows if side[row.group]]


def _hash(group: str) -> tuple[str, str]:
    return hashlib.blake2b(group.encode(), digest_size=8).hexdigest(), group


def names_key(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits that stand for a set of items: figures are comparable where the key is the same."""
    names = "\n".join(sorted(row.name for row in rows))
    return hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
