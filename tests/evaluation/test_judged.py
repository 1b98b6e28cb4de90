"""`m3search.evaluate`: by hand, against ir_measures through TREC's files, on an index and on a corpus of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ir_measures
import numpy as np
import pytest

import m3search
from m3search.datasets import Row
from m3search.encoders.base import normalise
from m3search.encoders.fake import FakeEncoder
from m3search.errors import DataError, UsageError
from m3search.evaluation import Label, LabelledItems
from m3search.evaluation.backends import CorpusBackend
from m3search.evaluation.beir import Question
from m3search.evaluation.dataset import embed, open_dataset
from m3search.evaluation.judged import judge
from m3search.phantoms import Phantom
from m3search.search import Engine

Phantoms = tuple[Path, list[Phantom]]
NAMES = ("R@1", "R@10", "AP", "nDCG@10", "RR", "P@5", "Success@1")


class Axes(FakeEncoder):
    """Texts are points of the plane: "1,0"."""

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return normalise(np.array([[float(number) for number in text.split(",")] for text in texts]))


def corpus(*items: tuple[str, str, str, float], source: str = "") -> CorpusBackend:
    """Documents of (id, modality, group, angle in degrees)."""
    labels = tuple(Label(name, modality, frozenset(), "", group, source) for name, modality, group, _ in items)
    angles = np.radians([angle for *_, angle in items])
    rows = [Row(Path(f"/files/{name}.png"), modality, group, "", "", ()) for name, modality, group, _ in items]
    rows = [replace(row, name=label.item_id) for row, label in zip(rows, labels, strict=True)]
    vectors = normalise(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return CorpusBackend(LabelledItems(labels, vectors), rows, Axes())


DOCUMENTS = (
    ("a", "xray", "p1", 0),
    ("b", "xray", "p1", 5),
    ("c", "xray", "p2", 10),
    ("d", "ct", "p3", 20),
    ("e", "ct", "", 90),
)


def test_worked_by_hand() -> None:
    report = judge(corpus(*DOCUMENTS), {"q": "1,0"}, {"q": {"b": 2, "d": 1, "e": 0}}, NAMES)
    # a b c d e: relevant at ranks 2 and 4
    discount = 1 / np.log2([3, 5])
    expected = {
        "R@1": 0, "R@10": 1, "AP": (1 / 2 + 2 / 4) / 2, "RR": 1 / 2, "P@5": 2 / 5, "Success@1": 0,
        "nDCG@10": (2 * discount[0] + discount[1]) / (2 + 1 / np.log2(3)),
    }  # fmt: skip
    for name, value in expected.items():
        assert report[name].value == pytest.approx(value), name
        assert report.per_query["q"][name] == pytest.approx(value), name
    assert report["RR"].chance > 0.4
    assert report["R@1"].chance == pytest.approx(1 / 5)
    assert (report["AP"].queries, report["AP"].items, report["AP"].low) == (1, 5, None)
    # within a modality only its own documents are ranked and judged
    assert report.by_modality["xray"]["AP"].value == pytest.approx(1 / 2)
    assert report.by_modality["xray"]["AP"].items == 3
    assert report.by_modality["ct"]["AP"].value == 1
    assert report.by_source == {}


def test_sources_are_told_apart_where_they_are_known() -> None:
    report = judge(corpus(*DOCUMENTS, source="clinic"), {"q": "1,0"}, {"q": {"b": 1}})
    assert list(report.by_source) == ["xray/clinic"]


def test_an_item_never_meets_itself_or_its_patient() -> None:
    backend = corpus(*DOCUMENTS)
    qrels = {"by id": {"a": 1, "b": 1, "c": 1}, "by file": {"c": 1}, "by patient": {"c": 1, "d": 1}}
    queries = {"by id": "a", "by file": Path("/files/b.png"), "by patient": Question(text="0,1", group="p3")}
    report = judge(backend, queries, qrels)
    ranked = {query: [document for document, _ in run] for query, run in report.run.items()}
    assert ranked == {"by id": ["c", "d", "e"], "by file": ["c", "d", "e"], "by patient": ["e", "c", "b", "a"]}
    assert report.qrels["by id"] == {"c": 1}, "b is of the same patient: neither found nor missed"
    assert report["R@1"].value == pytest.approx((1 + 1 + 0) / 3)


def test_queries_of_one_patient_are_resampled_together() -> None:
    report = judge(corpus(*DOCUMENTS), {"a": "a", "b": "b"}, {"a": {"c": 1}, "b": {"c": 1}})
    assert report["AP"].low is None, "two queries of one patient are one cluster"


def test_what_was_left_out_is_said() -> None:
    backend = corpus(*DOCUMENTS)
    queries = {"asked": "1,0", "unjudged": "0,1", "nothing": "0,1"}
    report = judge(backend, queries, {"asked": {"a": 1, "gone": 1}, "nothing": {"b": 0}})
    assert report["R@10"].value == 1 / 2, "a document that is not there is missed"
    assert report["R@10"].chance == pytest.approx(1 / 2)
    assert report["AP"].queries == 1
    text = " ".join(report.notes)
    for note in (
        "1 queries have no judgement",
        "1 queries have nothing relevant",
        "1 relevant documents are not there",
    ):
        assert note in text
    assert note in str(report)


@pytest.mark.parametrize(
    ("queries", "qrels", "metrics", "message"),
    [
        ({"q": "1,0"}, {"p": {"a": 1}}, NAMES, "query 'p' is judged but not among the queries"),
        ({"q": "1,0"}, {"q": {"z": 1}}, NAMES, "none of the 1 judged documents is there; .* 'z'"),
        ({"q": "1,0"}, {}, NAMES, "no query is judged"),
        ({"q": "1,0"}, {"q": {"a": 0}}, NAMES, "no query has anything relevant"),
        ({"q": "1,0"}, {"q": {"a": 1}}, ["precision"], "no measure 'precision'; choose from AP"),
    ],
)
def test_wrong_use_says_what_to_do(queries, qrels, metrics, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        judge(corpus(*DOCUMENTS), queries, qrels, metrics)


def test_trec_eval_finds_the_same_values_in_the_files(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    # many ties: angles are few, ids are not in the order of angles
    items = [
        (f"item {n * 37 % 60:02}", ["xray", "ct"][n % 2], f"p{n // 2}", 30 * random.integers(0, 6)) for n in range(60)
    ]
    queries = {f"query {n}": f"{random.normal()},{random.normal()}" for n in range(12)} | {"by item": "item 05"}
    qrels = {
        query: {name: int(random.integers(0, 4)) for name, *_ in random.permutation(items)[:20]} for query in queries
    }
    report = judge(corpus(*items), queries, qrels, NAMES)
    report.to_trec(tmp_path / "run", tmp_path / "qrels")
    theirs = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in NAMES],
        list(ir_measures.read_trec_qrels(str(tmp_path / "qrels"))),
        list(ir_measures.read_trec_run(str(tmp_path / "run"))),
    )
    assert {str(name): value for name, value in theirs.items()} == pytest.approx(
        {name: report[name].value for name in NAMES}, abs=1e-9
    )


def test_json_pandas_and_text_hold_the_figures() -> None:
    report = judge(corpus(*DOCUMENTS), {"q": "1,0", "r": "0,1"}, {"q": {"b": 1}, "r": {"d": 1}})
    content = json.loads(report.to_json())
    assert content["overall"]["AP"]["value"] == report["AP"].value
    assert set(content["by_modality"]) == {"xray", "ct"}
    table = report.to_pandas().set_index(["name", "measure"])
    assert table.loc[("xray", "RR"), "value"] == report.by_modality["xray"]["RR"].value
    assert f"{report['AP'].value:.3f}" in str(report)


@pytest.fixture(scope="module")
def asked(phantoms: Phantoms, indexed: Path) -> Engine:
    return m3search.open(indexed)


def items_of(engine: Engine) -> list[dict]:
    table = engine.store.rows(engine.store.matching(), ["item_id", "uri", "modality", "patient_key"])
    return table.to_pylist()


def test_an_engine_is_judged_by_what_it_returns(asked: Engine, tmp_path: Path) -> None:
    items = items_of(asked)
    ecgs = [item for item in items if item["modality"] == "ecg"]
    qrels = {"words": {item["item_id"]: 1 for item in ecgs}, "by uri": {item["uri"]: 1 for item in ecgs}}
    report = m3search.evaluate(asked, {"words": "an ECG of the heart", "by uri": "chest x-ray"}, qrels)
    assert report.per_query["words"]["AP"] == 1
    assert report.per_query["by uri"]["R@1"] == 0
    hits = asked.search("an ECG of the heart", k=100)
    assert list(report.run["words"]) == [(hit.item_id, hit.score) for hit in hits]
    assert report.by_modality["ecg"]["R@10"].value == 1, "within ECGs every ECG is relevant"
    assert report["AP"].items == len(items)


def test_an_engines_item_query_leaves_its_patient_out(asked: Engine, phantoms: Phantoms) -> None:
    items = items_of(asked)
    query = next(item for item in items if item["modality"] == "xray" and item["uri"].endswith(".dcm"))
    same = {item["item_id"] for item in items if item["patient_key"] == query["patient_key"]}
    others = [item["item_id"] for item in items if item["item_id"] not in same]
    assert len(same) > 1
    judged = dict.fromkeys([*sorted(same)[:2], others[0]], 1)
    file = phantoms[0] / query["uri"]
    queries = {"id": query["item_id"], "uri": query["uri"], "file": file, "name of a file": str(file)}
    report = m3search.evaluate(asked, queries, dict.fromkeys(queries, judged))
    for run in report.run.values():
        assert [document for document, _ in run] == [document for document, _ in report.run["id"]]
        assert not same & {document for document, _ in run}
    assert report.qrels["file"] == {others[0]: 1}
    assert report["AP"].items == len(items) - len(same)


def test_a_file_that_is_not_indexed_is_kept_from_its_patients_items(
    asked: Engine, phantoms: Phantoms, tmp_path: Path
) -> None:
    import pydicom

    query = next(item for item in items_of(asked) if item["modality"] == "xray" and item["uri"].endswith(".dcm"))
    dataset = pydicom.dcmread(phantoms[0] / query["uri"])
    dataset.SeriesDescription = "the same patient, other bytes"
    dataset.save_as(tmp_path / "other.dcm")
    others = [item["item_id"] for item in items_of(asked) if item["patient_key"] != query["patient_key"]]
    report = m3search.evaluate(asked, {"q": tmp_path / "other.dcm"}, {"q": {others[0]: 1}})
    assert {document for document, _ in report.run["q"]} == set(others)


def test_hits_below_the_depth_count_as_missed(asked: Engine) -> None:
    words = "chest x-ray"
    last = asked.search(words, k=100)[-1].item_id
    assert m3search.evaluate(asked, {"q": words}, {"q": {last: 1}})["AP"].value > 0
    assert m3search.evaluate(asked, {"q": words}, {"q": {last: 1}}, depth=5)["AP"].value == 0


def test_an_encoder_is_judged_on_files(phantoms: Phantoms, tmp_path: Path) -> None:
    folder, examinations = phantoms
    files = {p.path: folder / p.path for p in examinations if not (folder / p.path).is_dir() and p.modality != "ct"}
    retina = {p.path: 1 for p in examinations if p.modality == "retina"}
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    described = {name: {"path": path, "modality": name.split("/")[0]} for name, path in files.items()}
    described["broken"] = {"path": tmp_path / "broken.png", "modality": "retina"}
    report = m3search.evaluate(
        FakeEncoder(), {"q": "fundus photograph"}, {"q": {**retina, "broken": 1}}, ["AP", "R@10"], corpus=described
    )
    assert report["R@10"].value == pytest.approx(len(retina) / (len(retina) + 1))
    assert report.by_modality["retina"]["AP"].items == len(retina)
    assert any("broken.png" in note for note in report.notes)


def test_an_encoder_needs_a_corpus_and_an_engine_has_one(asked: Engine) -> None:
    with pytest.raises(UsageError, match="give corpus="):
        m3search.evaluate(FakeEncoder(), {"q": "x"}, {"q": {"a": 1}})
    with pytest.raises(UsageError, match="a corpus is for an encoder"):
        m3search.evaluate(asked, {"q": "x"}, {"q": {"a": 1}}, corpus={"a": "a.png"})
    with pytest.raises(DataError, match=r"corpus\['a'\] has no 'path'"):
        m3search.evaluate(FakeEncoder(), {"q": "x"}, {"q": {"a": 1}}, corpus={"a": {"modality": "ct"}})


def test_a_beir_folder_and_a_corpus_give_the_same(phantoms: Phantoms, tmp_path: Path) -> None:
    from m3search.evaluation import beir

    rows = [row for row in open_dataset(phantoms[0], "all").rows if row.modality in ("xray", "retina")]
    questions = {"q": Question(text="chest x-ray"), "r": Question(document=rows[0].name)}
    qrels = {"q": {rows[0].name: 1, rows[-1].name: 0}, "r": {rows[1].name: 2}}
    beir.write(tmp_path, rows, questions, qrels)
    data = open_dataset(tmp_path)
    encoder = FakeEncoder()
    items = embed(data.rows, encoder, tmp_path / "cache", workers=1)
    one = judge(CorpusBackend(items, data.rows, encoder), data.queries, data.qrels)
    described = {row.name: {"path": row.path, "modality": row.modality, "group": row.group} for row in rows}
    other = m3search.evaluate(encoder, questions, qrels, corpus=described)
    assert one.run == other.run
    assert one.overall == other.overall
