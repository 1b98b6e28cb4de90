"""The benchmark of nearest neighbours: its data, its judge, its table, and a run with what is always installed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ann, peers, vectors
from benchmarks.ann_plot import frontier
from benchmarks.ann_tables import fastest, filter_table, notes, single, table
from benchmarks.exact import exact, found_of, short_pages
from benchmarks.measure import Filtered, Outcome, Plan, Point
from benchmarks.vectors import SELECTIVITIES, Recipe
from benchmarks.workload import Workload, filter_names

RECIPE = Recipe(2000, 32, seed=1)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Rows of RECIPE and the cluster of each."""
    rows, clusters = np.empty((RECIPE.count, RECIPE.dim), np.float16), np.empty(RECIPE.count, np.int32)
    vectors.fill(RECIPE, rows, clusters)
    return rows, clusters


def test_the_same_recipe_gives_the_same_data(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    again, clusters = np.empty_like(drawn[0]), np.empty_like(drawn[1])
    vectors.fill(Recipe(2000, 32, seed=1), again, clusters)
    np.testing.assert_array_equal(again, drawn[0])
    np.testing.assert_array_equal(clusters, drawn[1])
    vectors.fill(Recipe(2000, 32, seed=2), again, clusters)
    assert (again != drawn[0]).mean() > 0.9
    for kind in vectors.KINDS:
        first, second = (vectors.queries(RECIPE, kind, 5, stream) for stream in (0, 1))
        np.testing.assert_array_equal(first, vectors.queries(RECIPE, kind, 5))
        assert not np.array_equal(first, second)


def test_vectors_are_unit_clustered_and_texts_lie_apart(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    rows, clusters = drawn[0].astype(np.float32), drawn[1]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    sizes = np.sort(np.bincount(clusters))[::-1]
    assert sizes[0] > 4 * np.median(sizes)  # heavy-tailed
    items, texts = (vectors.queries(RECIPE, kind, 100) for kind in vectors.KINDS)
    nearest = clusters[np.argmax(items @ rows.T, axis=1)]
    centres = vectors.unit(np.stack([rows[clusters == one].mean(axis=0) for one in nearest]))
    others = np.roll(centres, 1, axis=0)
    assert (items * centres).sum(axis=1).mean() > (items * others).sum(axis=1).mean() + 0.1
    best = [(queries @ rows.T).max(axis=1).mean() for queries in (items, texts)]
    assert best[1] < best[0] - 0.15


def test_filters_match_the_stated_share(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    clusters = drawn[1]
    for name in ("random", "cluster"):
        column = vectors.bands(RECIPE, name, clusters)  # type: ignore[arg-type]
        for band, share in enumerate(SELECTIVITIES):
            assert (column <= band).sum() == round(share * RECIPE.count)
    for band in range(len(SELECTIVITIES)):
        near = vectors.near_clusters(column, clusters, band)
        inside = [(column[clusters == one] <= band).all() for one in near]
        assert inside.count(False) <= 1  # whole clusters, and one cut to size
        assert not set(near) & set(vectors.far_clusters(RECIPE))


def test_exact_answers_are_those_of_brute_force(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    rows = np.concatenate([drawn[0]] * 5)  # more than a block, and every vector five times: ties
    queries = vectors.queries(RECIPE, "text", 20)
    allowed = np.random.default_rng(0).random(len(rows)) < 0.3
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    for mask in (None, allowed):
        truth = exact(rows, queries, 7, mask)
        ranked = scores if mask is None else np.where(mask, scores, -np.inf)
        best = -np.sort(-ranked, axis=1)[:, :7]
        np.testing.assert_allclose(truth.scores, best, atol=1e-12)
        np.testing.assert_allclose(np.take_along_axis(scores, truth.rows, 1), best, atol=1e-12)
        assert mask is None or mask[truth.rows].all()
        assert all(len(set(page)) == 7 for page in truth.rows)


def test_recall_counts_ties_once_and_only_what_is_allowed() -> None:
    rows = np.eye(4, dtype=np.float16)[[0, 0, 1, 2, 3]]
    queries = np.array([[0.8, 0.6, 0, 0]], dtype=np.float32)

    def recall(*answer: int, allowed: np.ndarray | None = None) -> float:
        truth = exact(rows, queries, 2, allowed)
        return float(found_of(rows, queries, truth, np.array([answer]), allowed)[0])

    assert recall(0, 1) == recall(1, 0) == 1
    assert recall(1, 1) == recall(1, -1) == recall(1, 2) == 0.5
    assert recall(3, 4) == 0
    second = np.array([False, True, True, False, False])
    assert recall(1, 2, allowed=second) == 1
    assert recall(0, 2, allowed=second) == 0.5  # as near as row 1, but not asked for
    only = np.array([False, True, False, False, False])
    assert recall(1, -1, allowed=only) == 1  # a short page of all there is
    truth = exact(rows, queries, 2, second)
    assert short_pages(truth, np.array([[1, -1]])) == 1
    assert short_pages(exact(rows, queries, 2, only), np.array([[1, -1]])) == 0


def point(setting: str, recall: float, speed: float, one_ms: float) -> Point:
    rates = {"item": speed, "text": speed}
    return Point(setting, 100, {"item": 1.0, "text": recall}, rates, {"item": one_ms, "text": one_ms}, 10, 20)


def test_the_table_compares_only_at_the_target(tmp_path: Path) -> None:
    plan = Plan(Workload(tmp_path, RECIPE, 100, 10), 0.99, 1, True, 1, 1)
    filtered = (Filtered("random 1%", 100, 0.5, 2.0, 3.0, 7),)
    outcomes = [
        Outcome("faiss", "A", points=(point("fast", 0.98, 9000, 0.1), point("right", 0.99, 1000, 1.0))),
        Outcome("faiss", "B", points=(point("quick", 0.995, 500, 0.5),)),
        Outcome("m3search", "default", points=(point("", 1.0, 2000, 0.25),), filtered=filtered),
        Outcome("slow", "C", points=(point("x", 0.7, 1e6, 1e-3), point("y", 0.9, 10, 1.0))),
        Outcome("broken", "D", failure="fit ended with 1: no"),
    ]
    chosen = [fastest(outcomes, "faiss", 0.99), fastest(outcomes, "faiss", 0.99, single)]
    assert [choice.point.setting for choice in chosen if choice] == ["right", "quick"]
    assert fastest(outcomes, "slow", 0.99) is None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(outcomes, plan).splitlines()[2:]]
    assert [line[:3] for line in lines] == [
        ["faiss", "A", "right"], ["faiss", "B", "quick"], ["m3search", "default", ""], ["slow", "C", "y"],
        ["broken", "D", "not measured: fit ended with 1: no"],
    ]  # fmt: skip
    assert lines[0][5:8:2] == ["1.00", "2.00"]
    assert lines[2][5:8:2] == ["0.50", "0.50"]  # half the time of the fastest raw FAISS of each kind
    assert lines[3][3:8:2] == ["below target: 1.000 / 0.900", "", ""]  # no ratio at another recall
    assert lines[2][9] == f"{30 / (4e-6 * 2000 * 32):.2f}"
    assert "| random 1% | 0.500 · 2.00, 3.00 · 7 of 100 |" in filter_table(outcomes, plan)
    assert "broken D: fit ended with 1: no" in notes(outcomes)
    assert outcomes[2] == Outcome.from_json(json.loads(json.dumps(asdict(outcomes[2]))))


def test_the_frontier_holds_what_no_other_beats_in_both() -> None:
    assert frontier([(0.9, 10), (0.95, 5), (0.94, 4), (1.0, 1), (0.8, 9)]) == [(0.9, 10), (0.95, 5), (1.0, 1)]


def test_listing_peers_imports_none_of_them() -> None:
    code = (
        "import sys; from benchmarks import peers\n"
        "found = {name: peers.load_peer(name) for name in peers.PEERS}\n"
        "assert all(peer.builds(1000, 64) and peer.settings(peer.builds(1000, 64)[0]) for peer in found.values())\n"
        "heavy = {'faiss', 'lancedb', 'usearch', 'hnswlib', 'qdrant_client', 'pymilvus', 'chromadb'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=True)


def test_a_missing_package_is_skipped_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers.load_peer("hnswlib"), "packages", ("a_package_that_nobody_has",))
    ann.main(["--count", "200", "--dim", "16", "--queries", "4", "--data", str(tmp_path), "--peers", "hnswlib"])
    printed = capsys.readouterr().out
    assert "not measured: not installed: a_package_that_nobody_has; pip install" in printed


def test_runs_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    words = ["--count", "2000", "--dim", "32", "--queries", "16", "--filters", "--seconds", "0.05", "--threads", "1"]
    words += ["--data", str(tmp_path), "--peers", "m3search", "faiss=IVF16,Flat", "--json"]
    ann.main(words)
    own, raw = json.loads(capsys.readouterr().out)["outcomes"]
    assert not own["failure"]
    assert not raw["failure"]
    assert [one["recall"] for one in own["points"]] == [{"item": 1, "text": 1}]
    assert raw["points"][-1]["recall"] == {"item": 1, "text": 1}  # every list probed
    assert raw["points"][0]["recall"]["text"] < 1
    for outcome in (own, raw):
        assert outcome["build_s"] > 0
        assert outcome["disk_mb"] > 0.1
        assert 0 < outcome["open_ms"] < outcome["first_ms"]
        assert [one["name"] for one in outcome["filtered"]] == filter_names()
        for one in outcome["points"]:
            assert one["anonymous_mb"] + one["mapped_mb"] > 0
            assert all(value > 0 for value in (*one["per_second"].values(), *one["single_ms"].values()))
    assert all(one["recall"] == 1 and one["short"] == 0 for one in own["filtered"])
    assert not list(tmp_path.glob("*/index-*"))  # indexes are dropped, vectors stay
