"""`python -m tests.faults`: index runs, deletions and compactions killed, or met by a full disk, at every change they
make to the disk; with `--kills N`, killed at N random moments instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import campaign


def _part(text: str) -> tuple[int, int]:
    part, _, of = text.partition("/")
    if not 1 <= int(part) <= int(of):
        raise ValueError
    return int(part), int(of)


def main() -> int:
    """1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="write points for each kind of fault. Default: all")
    parser.add_argument("--scenario", choices=campaign.SCENARIOS, help="default: all")
    parser.add_argument("--fault", choices=campaign.KINDS_OF_FAULT, help="default: all")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="K/N", help="every N-th write point from the K-th"
    )
    parser.add_argument("--kills", type=int, default=0, help="random moments to kill at, over all scenarios")
    parser.add_argument("--seed", type=int, default=1)
    typed = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        library = campaign.compiled(Path(name))
        if library is None:
            sys.exit("this needs Linux on x86-64 or aarch64 and a C compiler")
        with campaign.nursery(library) as runs:
            for place, scenario in enumerate(campaign.SCENARIOS):
                if scenario != (typed.scenario or scenario):
                    continue
                work = Path(name) / str(place)
                if typed.kills:
                    share = (typed.kills + place) // len(campaign.SCENARIOS)
                    outcome = campaign.run_kills(scenario, work, runs, share, typed.seed)
                else:
                    points = campaign.Points(typed.sample, typed.seed, typed.part, typed.fault)
                    outcome = campaign.run(scenario, work, runs, points)
                sys.stdout.write("\n".join([*outcome.lines(), ""]))
                sys.stdout.flush()
                wrong += len(outcome.wrong)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
