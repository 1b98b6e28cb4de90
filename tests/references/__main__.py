"""`python -m tests.references ARCHIVE`: what m3search reads, beside independent readings of the same files."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from .compare import Comparison, Left, compare


def main() -> int:
    """1 where a reading disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.references", description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--all", action="store_true", help="a line for every comparison, not only for each kind")
    typed = parser.parse_args()
    found = list(compare(typed.archive))
    comparisons = [one for one in found if isinstance(one, Comparison)]
    lines = [
        f"{'kind':34} {'reference':22} {'compared':>8} {'agree':>6} {'values':>12} {'largest':>9} {'allowed':>8} unit"
    ]
    kinds: dict[tuple[str, str, str], list[Comparison]] = defaultdict(list)
    for one in comparisons:
        folder = str(one.path.relative_to(typed.archive).parts[:2][0])
        what = (
            f"{folder}: {one.what.lstrip('0123456789 ')}" if not typed.all else str(one.path.relative_to(typed.archive))
        )
        kinds[what[-34:] if typed.all else what, one.reference, one.unit].append(one)
    for (what, reference, unit), ones in kinds.items():
        worst = max(ones, key=lambda one: one.difference / max(one.tolerance, 1e-12))
        lines.append(
            f"{what:34} {reference:22} {len(ones):8} {sum(one.agrees for one in ones):6} "
            f"{sum(one.values for one in ones):12,} {worst.difference:9.3g} {worst.tolerance:8.3g} {unit}"
        )
    lines += [
        f"not compared: {one.path.relative_to(typed.archive)}: {one.why}" for one in found if isinstance(one, Left)
    ]
    wrong = [one for one in comparisons if not one.agrees]
    lines += [f"DISAGREES: {one}" for one in wrong]
    places = len({one.path for one in comparisons})
    lines.append(f"{len(comparisons)} comparisons of {places} files and series, {len(wrong)} disagree")
    sys.stdout.write("\n".join([*lines, ""]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
