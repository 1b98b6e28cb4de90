"""Recall against queries per second, one panel for each kind of query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.ann_tables import choices, peers_of
from benchmarks.measure import Outcome
from benchmarks.vectors import KINDS


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (recall, speed) that no other beats in both, by rising recall."""
    best: list[tuple[float, float]] = []
    for recall, speed in sorted(points, reverse=True):
        if not best or speed > best[-1][1]:
            best.append((recall, speed))
    return best[::-1]


def plot(outcomes: Sequence[Outcome], path: Path, title: str) -> None:
    """Write the picture; its suffix chooses the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        for peer in peers_of(outcomes):
            points = [(one.point.recall[kind], one.point.per_second[kind]) for one in choices(outcomes, peer)]
            if points:
                axes.plot(*zip(*frontier(points), strict=True), marker="o", markersize=4, label=peer)
        axes.set(title=f"{kind} queries", xlabel="recall", yscale="log")
        axes.grid(visible=True, which="both", alpha=0.3)
    figure.axes[0].set_ylabel("queries per second, batched")
    figure.axes[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
