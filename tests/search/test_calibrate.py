"""Scores under each calibration against their definition, and a mixed list that is fair."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.errors import BundleError, UsageError
from m3search.search.calibrate import METHODS, Calibration
from m3search.search.compose import of_vector

from .conftest import DIM, ToldEncoder, statistics_of

MODALITIES = ("ct", "ecg", "xray")


@pytest.fixture
def items() -> dict[str, np.ndarray]:
    """float32 (40, DIM) of each modality: cones of their own width around centres of their own."""
    rng = np.random.default_rng(5)
    made = {}
    for place, name in enumerate(MODALITIES):
        vectors = rng.standard_normal((40, DIM)) * (0.1 + 0.1 * place)
        vectors[:, place] += 1
        made[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return made


@pytest.fixture
def texts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    made = {}
    for place, name in enumerate(MODALITIES):
        vectors = rng.standard_normal((30, DIM)) * 0.3
        vectors[:, place] += 0.3 + 0.2 * place
        vectors[:, 10] += 0.5
        made[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def rows_of(items: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [
        {"item_id": f"{name}{row:02d}", "modality": name, "vector": vector}
        for name, vectors in items.items()
        for row, vector in enumerate(vectors)
    ]


def test_each_method_is_its_definition(items, texts) -> None:
    statistics = statistics_of(items, texts)
    calibration = Calibration.of(ToldEncoder({}, statistics))
    text_centre = np.mean([one.mean(axis=0) for one in texts.values()], axis=0)
    item_centre = np.mean([one.mean(axis=0) for one in items.values()], axis=0)
    text = texts["ct"][3]
    raw = {name: vectors @ text for name, vectors in items.items()}
    centred = {name: (vectors - item_centre) @ (text - text_centre) for name, vectors in items.items()}
    spread = np.mean([one["score_std"] for one in statistics.values()])

    def standard(scores, name, expected):
        return np.mean(list(expected.values())) + spread * (scores - expected[name]) / statistics[name]["score_std"]

    of_raw = {name: one["score_mean"] for name, one in statistics.items()}
    of_centred = {name: ((texts[name] - text_centre) @ (items[name] - item_centre).T).mean() for name in items}
    for name, vectors in items.items():
        wanted = {
            "none": raw[name],
            "mean": centred[name],
            "standard": standard(raw[name], name, of_raw),
            "both": standard(centred[name], name, of_centred),
        }
        for method in METHODS:
            scale = calibration.scale(of_vector(text, "t"), method)
            assert np.linalg.norm(scale.direction) == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(scale.of(name)(vectors @ scale.direction), wanted[method], atol=1e-5)


def test_own_texts_score_alike_in_every_modality_once_standardised(items, texts) -> None:
    calibration = Calibration.of(ToldEncoder({}, statistics_of(items, texts)))
    for method in ("standard", "both"):
        means, spreads = [], []
        for name, vectors in items.items():
            scales = [calibration.scale(of_vector(text, "t"), method) for text in texts[name]]
            scores = np.concatenate([scale.of(name)(vectors @ scale.direction) for scale in scales])
            means.append(scores.mean())
            spreads.append(scores.std())
        assert np.ptp(means) < 1e-4
        assert np.ptp(spreads) < (1e-4 if method == "standard" else 0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", [None, "modality != 'ct'"])
def test_the_list_is_what_scoring_everything_would_give(make, items, texts, method, where) -> None:
    statistics = statistics_of(items, texts)
    engine = make(rows_of(items), statistics=statistics, texts={name: text[0] for name, text in texts.items()})
    for name in MODALITIES:
        composed = of_vector(engine.encoder.encode_text([name])[0], name)
        scale = engine._search.calibration.scale(composed, method)
        scores = {
            f"{modality}{row:02d}": float(scale.of(modality)(scale.direction @ vector))
            for modality, vectors in items.items()
            for row, vector in enumerate(vectors)
            if where is None or modality != "ct"
        }
        wanted = sorted(scores, key=lambda one: (-scores[one], one))
        for k in (1, 5, 30, 200):
            hits = engine.search(name, k=k, calibration=method, where=where)
            assert [hit.item_id for hit in hits] == wanted[:k]
            assert [hit.score for hit in hits] == pytest.approx([scores[one] for one in wanted[:k]], abs=1e-4)


def test_a_modality_whose_cosines_are_low_is_not_drowned(make) -> None:
    rng = np.random.default_rng(0)
    finding = np.eye(DIM)[0]

    def cone(centre: int, pull: float, carriers: bool) -> np.ndarray:
        vectors = 0.05 * rng.standard_normal((20, DIM)) + np.eye(DIM)[centre]
        vectors += pull * finding + (0.2 * finding if carriers else 0)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    have = {"ct": cone(5, 0.6, True), "xray": cone(6, 0.0, True)}
    lack = {"ct": cone(5, 0.6, False), "xray": cone(6, 0.0, False)}
    rows = [
        {"item_id": f"{name}-{word}-{row}", "modality": name, "vector": vector}
        for word, side in (("has", have), ("lacks", lack))
        for name, vectors in side.items()
        for row, vector in enumerate(vectors)
    ]
    statistics = statistics_of(
        {name: np.concatenate([have[name], lack[name]]) for name in have}, dict.fromkeys(have, finding[None])
    )
    engine = make(rows, statistics=statistics, texts={"nodule": finding})

    def share(method):
        return np.mean(["has" in hit.item_id for hit in engine.search("nodule", k=40, calibration=method)])

    assert share("none") == 0.5
    assert share("standard") > 0.9


def test_items_are_compared_by_cosine_unless_asked_otherwise(make, items, texts) -> None:
    engine = make(rows_of(items), statistics=statistics_of(items, texts))
    assert engine.search(item="ct00", k=1)[0].score == pytest.approx(1, abs=1e-3)
    hits = engine.search(item="ct00", k=120, calibration="mean")
    assert hits[0].item_id == "ct00"
    assert {hit.modality for hit in hits[:40]} == {"ct"}


def test_the_engines_calibration_is_the_default_of_its_queries(make, items, texts) -> None:
    engine = make(
        rows_of(items), statistics=statistics_of(items, texts), texts={"ct": texts["ct"][0]}, calibration="none"
    )
    vector = items["ct"] @ texts["ct"][0]
    assert engine.search("ct", k=1, modality="ct")[0].score == pytest.approx(vector.max(), abs=1e-3)
    assert engine.search("ct", k=1, modality="ct", calibration="standard")[0].score != pytest.approx(vector.max())


def test_without_statistics_scores_are_cosines_and_asking_for_more_is_an_error(make, items) -> None:
    engine = make(rows_of(items))
    assert engine.search("ct", k=1)[0].score <= 1
    with pytest.raises(UsageError, match="has no statistics"):
        engine.search("ct", calibration="standard")
    with pytest.raises(UsageError, match="there is no calibration 'fair'"):
        engine.search("ct", calibration="fair")


def test_broken_statistics_are_named(items, texts) -> None:
    statistics = statistics_of(items, texts)
    with pytest.raises(BundleError, match="ecg"):
        Calibration.of(ToldEncoder({}, statistics | {"ecg": {}}))
    with pytest.raises(BundleError, match="score_std"):
        Calibration.of(ToldEncoder({}, statistics | {"ecg": statistics["ecg"] | {"score_std": 0}}))
