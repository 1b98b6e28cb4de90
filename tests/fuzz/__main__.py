"""`python -m tests.fuzz --files 10000`: damaged files of every format through index runs; figures are printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .campaign import Campaign, run


def main() -> int:
    """1 where a run crashed, a file hung, an index did not verify, or a reader showed a defect."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=500, help="files of one index run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="one file may take")
    parser.add_argument("--memory", type=float, default=3.0, help="GiB one worker may take")
    parser.add_argument("--keep", type=Path, help="folder for the files that showed a defect")
    typed = parser.parse_args()
    campaign = Campaign(
        typed.files, typed.seed, typed.batch, typed.seconds, int(typed.memory * 2**30), typed.workers, typed.keep
    )
    outcome = run(campaign, lambda line: sys.stderr.write(f"{line}\n"))
    sys.stdout.write("\n".join([*outcome.lines(), ""]))
    return int(bool(outcome.run_crashes or outcome.timeouts or outcome.defects or outcome.verified < outcome.runs))


if __name__ == "__main__":
    sys.exit(main())
