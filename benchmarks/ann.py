"""Which engine finds the nearest vectors fastest, at the same recall?

    python -m benchmarks.ann [--count N] [--dim D] [--peers NAME[=BUILD] ...] [--filters] [--memory MB] [--plot FILE]

Clustered unit vectors (`benchmarks.vectors`), queries like them and queries unlike them, every engine that is
installed, every build and setting worth a try. An engine's row is its fastest setting that reaches the target recall
for both kinds of query, in batches or one by one, with its time over that of the best raw FAISS setting that does;
memory, disk, build and opening stand beside it. All in one run: figures of two runs are not comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from benchmarks.ann_tables import filter_table, notes, table
from benchmarks.measure import Outcome, Plan, measure
from benchmarks.peers import PEERS, load_peer, why_absent
from benchmarks.vectors import Recipe
from benchmarks.workload import Workload

DATA = Path(".cache/ann")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, prepare, measure, print."""
    options = _parse(arguments)
    recipe = Recipe(options.count, options.dim, options.seed)
    workload = Workload(options.data.resolve(), recipe, options.queries, options.k)
    plan = Plan(
        workload, options.target, options.threads, options.filters, options.seconds, options.limit, options.memory
    )
    _say(f"preparing {recipe.count:,} x {recipe.dim} and exact answers")
    workload.prepare(options.filters)
    load = [_load()]
    outcomes = [outcome for name, build in options.peers for outcome in run(plan, name, build)]
    load.append(_load())
    if options.plot:
        from benchmarks.ann_plot import plot

        plot(outcomes, options.plot, f"{recipe.count:,} x {recipe.dim}, recall@{options.k}, {options.threads} threads")
    if options.json:
        print(json.dumps({"plan": asdict(plan) | {"workload": workload.as_json()}, "load": load,
                          "outcomes": [asdict(one) for one in outcomes]}, indent=2))  # fmt: skip
        return
    print(
        f"{recipe.count:,} x {recipe.dim}, {options.queries:,} queries of each kind, "
        f"recall@{options.k} >= {options.target:g}, {options.threads} threads, "
        f"load {load[0]:.1f} before and {load[1]:.1f} after\n"
    )
    print(table(outcomes, plan))
    if options.filters:
        print(filter_table(outcomes, plan))
    print(notes(outcomes))


def run(plan: Plan, name: str, build: str | None) -> list[Outcome]:
    """One engine: this build, or all that are worth a try."""
    peer = load_peer(name)
    if reason := why_absent(peer):
        _say(f"{name}: {reason}")
        return [Outcome(name, build or "", failure=reason)]
    outcomes = []
    for one in [build] if build else peer.builds(plan.workload.recipe.count, plan.workload.recipe.dim):
        outcome = measure(plan, name, one)
        outcomes.append(outcome)
        best = max((point.least_recall for point in outcome.points), default=0)
        _say(f"{name} {one}: {outcome.failure or f'built in {outcome.build_s:.1f} s, recall up to {best:.3f}'}")
    return outcomes


def _load() -> float:
    """Processes that wanted to run, averaged over the last minute: times are noise where this exceeds the cores."""
    return os.getloadavg()[0]


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _peer(word: str) -> tuple[str, str | None]:
    name, _, build = word.partition("=")
    if name not in PEERS:
        raise argparse.ArgumentTypeError(f"no peer {name!r}; choose from {', '.join(PEERS)}")
    return name, build or None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ann", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="vectors")
    parser.add_argument("--dim", type=int, default=256, help="their length")
    parser.add_argument("--seed", type=int, default=0, help="another one, other vectors")
    parser.add_argument(
        "--peers",
        type=_peer,
        nargs="+",
        default=[(name, None) for name in PEERS],
        metavar="NAME[=BUILD]",
        help=f"engines: {', '.join(PEERS)}; with a build, only that one",
    )
    parser.add_argument("--filters", action="store_true", help="also random, correlated and adversarial filters")
    parser.add_argument("--queries", type=int, default=1000, help="of each kind")
    parser.add_argument("--k", type=int, default=10, help="neighbours")
    parser.add_argument("--target", type=float, default=0.99, help="recall of both kinds at which engines are compared")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores an engine may use")
    parser.add_argument("--seconds", type=float, default=15, help="for a batch: slow engines are asked fewer queries")
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which a build or a search is given up")
    parser.add_argument(
        "--memory", type=float, metavar="MB", help="what a process that answers may use in all; as root"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder for vectors and exact answers")
    parser.add_argument("--plot", type=Path, help="write recall against queries per second to this picture")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    if options.plot and find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -c .ci/constraints.txt -e ".[cpu,bench]"')
    return options


if __name__ == "__main__":
    main()
