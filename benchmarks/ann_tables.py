"""The tables of `python -m benchmarks.ann`: engines side by side where their recall is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Outcome, Plan, Point
from benchmarks.vectors import KINDS
from benchmarks.workload import filter_names

YARDSTICK = "faiss"
HEADER = (
    "engine", "build", "setting", "recall item / text", "batched queries/s", "time / FAISS", "one query, ms",
    "time / FAISS", "memory, MB: own + mapped", "of float32", "disk, MB", "build, s", "open, ms", "first answer, ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting of a build."""

    outcome: Outcome
    point: Point


def batched(choice: Choice) -> float:
    """Milliseconds per query in batches."""
    return choice.point.batched_ms


def single(choice: Choice) -> float:
    """Milliseconds of a query by itself."""
    return choice.point.one_ms


def choices(outcomes: Sequence[Outcome], peer: str) -> list[Choice]:
    """All settings of all builds of one engine."""
    return [Choice(outcome, point) for outcome in outcomes if outcome.peer == peer for point in outcome.points]


def fastest(
    outcomes: Sequence[Outcome], peer: str, target: float, time: Callable[[Choice], float] = batched
) -> Choice | None:
    """Of the settings that reach the target for both kinds of query; None where there are none."""
    reached = [choice for choice in choices(outcomes, peer) if choice.point.least_recall >= target]
    return min(reached, key=time, default=None)


def peers_of(outcomes: Sequence[Outcome]) -> list[str]:
    """In the order they were measured."""
    return list(dict.fromkeys(outcome.peer for outcome in outcomes))


def table(outcomes: Sequence[Outcome], plan: Plan) -> str:
    """Each engine's fastest settings at the target, in batches and one by one; or the best recall it reached."""
    lines = _head(HEADER)
    for peer in peers_of(outcomes):
        in_batches, by_itself = (fastest(outcomes, peer, plan.target, time) for time in (batched, single))
        if in_batches is not None and by_itself is not None:
            lines.append(_row(outcomes, plan, in_batches))
            if by_itself != in_batches:
                lines.append(_row(outcomes, plan, by_itself))
        elif tried := choices(outcomes, peer):
            best = max(tried, key=lambda choice: choice.point.least_recall)
            lines.append(_row(outcomes, plan, best, "below target: "))
        else:
            failed = next(outcome for outcome in outcomes if outcome.peer == peer)
            lines.append(_line([peer, failed.build, f"not measured: {failed.failure}", *[""] * (len(HEADER) - 3)]))
    return "\n".join(lines) + "\n"


def _row(outcomes: Sequence[Outcome], plan: Plan, choice: Choice, remark: str = "") -> str:
    outcome, point = choice.outcome, choice.point
    raw = 4e-6 * plan.workload.recipe.count * plan.workload.recipe.dim  # MB
    ratios = []
    for time in (batched, single):
        yardstick = fastest(outcomes, YARDSTICK, plan.target, time)
        # At another recall a ratio of times says nothing.
        ratios.append("" if yardstick is None or remark else f"{time(choice) / time(yardstick):.2f}")
    return _line(
        [
            outcome.peer,
            outcome.build,
            point.setting,
            remark + " / ".join(f"{point.recall[kind]:.3f}" for kind in KINDS),
            f"{1000 / point.batched_ms:,.0f}",
            ratios[0],
            f"{point.one_ms:.3f}",
            ratios[1],
            f"{point.anonymous_mb:.0f} + {point.mapped_mb:.0f}",
            f"{(point.anonymous_mb + point.mapped_mb) / raw:.2f}",
            f"{outcome.disk_mb:.0f}",
            f"{outcome.build_s:.1f}",
            f"{outcome.open_ms:.0f}",
            f"{outcome.first_ms:.0f}",
        ]
    )


def filter_table(outcomes: Sequence[Outcome], plan: Plan) -> str:
    """Each engine with the build that is fastest without a filter among those that take one."""
    shown = {}
    for peer in peers_of(outcomes):
        taking = [outcome for outcome in outcomes if outcome.filtered]
        best = fastest(taking, peer, plan.target) or max(
            choices(taking, peer), key=lambda choice: choice.point.least_recall, default=None
        )
        if best is not None:
            shown[peer] = {one.name: one for one in best.outcome.filtered}
    if not shown:
        return ""
    lines = ["recall · time over the unfiltered, batched, one by one · short pages", *_head(["filter", *shown])]
    for name in filter_names():
        cells = []
        for rows in shown.values():
            one = rows.get(name)  # absent where the process was stopped before
            cells.append(
                ""
                if one is None
                else f"{one.recall:.3f} · {one.batched:.2f}, {one.single:.2f} · {one.short} of {one.asked}"
            )
        lines.append(_line([name, *cells]))
    return "\n".join(lines) + "\n"


def notes(outcomes: Sequence[Outcome]) -> str:
    """What failed, what was asked fewer queries than others, and who takes no filters."""
    lines = []
    most = max((point.asked for outcome in outcomes for point in outcome.points), default=0)
    for outcome in outcomes:
        name = f"{outcome.peer} {outcome.build}".strip()
        if outcome.failure:
            lines.append(f"- {name}: {outcome.failure}")
        if fewer := [point.asked for point in outcome.points if point.asked < most]:
            lines.append(f"- {name}: asked only {min(fewer)} queries of each kind, for want of time")
        if outcome.no_filters:
            lines.append(f"- {name}: no filters: {outcome.no_filters}")
    return "\n".join(lines)


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + " --- |" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
