"""What is judged on: manifests split by group, BEIR-style folders there and back, items embedded as in an index run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3search.datasets import Row, names_key, read_manifests, split
from m3search.encoders.fake import FAKE_INPUTS, FakeEncoder
from m3search.errors import DataError
from m3search.evaluation import beir
from m3search.evaluation.beir import Question
from m3search.evaluation.dataset import embed, open_dataset
from m3search.phantoms import Phantom

Phantoms = tuple[Path, list[Phantom]]


def test_held_out_items_are_those_that_training_holds_out(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    lines = [f"{n}.png,ct,case {n // 2},text,{'ab'[n % 4 // 2]}\n" for n in range(60)]
    (tmp_path / "ct/manifest.csv").write_text("path,modality,group,text,labels\n" + "".join(lines))
    data = open_dataset(tmp_path)
    training, validation = split(read_manifests([tmp_path / "*/manifest.csv"]))
    assert list(data.rows) == validation
    assert not {row.group for row in data.rows} & {row.group for row in training}
    assert (data.split, data.key) == ("validation", names_key(validation))
    everything = open_dataset(tmp_path, "all")
    assert len(everything.rows) == 60
    assert everything.key != data.key


def test_a_series_of_slices_is_one_item(phantoms: Phantoms) -> None:
    assert len(open_dataset(phantoms[0], "all").rows) == len(phantoms[1])


def test_nothing_held_out_and_files_listed_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,modality,text,labels\na.png,ct,text,a\n")
    with pytest.raises(DataError, match="too few groups; judge all of them with --split all"):
        open_dataset(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,modality,text,labels\na.png,ct,text,a\na.png,ct,other,b\n")
    with pytest.raises(DataError, match=r"lists .*/a\.png 2 times"):
        open_dataset(tmp_path, "all")


def test_a_manifest_alone_is_a_data_set(phantoms: Phantoms) -> None:
    data = open_dataset(phantoms[0] / "ecg" / "manifest.csv", "all")
    assert {row.modality for row in data.rows} == {"ecg"}


def test_vectors_are_those_of_an_index_run(phantoms: Phantoms, indexed: Path, tmp_path: Path) -> None:
    from m3search.search import Engine
    from m3search.stores import schema

    data = open_dataset(phantoms[0], "all")
    items = embed(data.rows, FakeEncoder(), tmp_path, workers=1)
    store = Engine.open(indexed).store
    table = store.rows(store.matching(), ["uri", "vector", "labels"])
    stored = dict(zip(table["uri"].to_pylist(), schema.matrix(table["vector"]), strict=True))
    compared = 0
    for item, vector in zip(items.items, items.vectors, strict=True):
        if item.item_id in stored:
            np.testing.assert_allclose(vector, stored[item.item_id], atol=2e-3)
            compared += 1
    assert compared > 8


def test_modalities_without_a_tower_are_left_out_aloud(phantoms: Phantoms, tmp_path: Path) -> None:
    rows = open_dataset(phantoms[0], "all").rows
    said: list[str] = []
    encoder = FakeEncoder(inputs={"ecg": FAKE_INPUTS["ecg"]})
    items = embed(rows, encoder, tmp_path, workers=1, say=said.append)
    assert {item.modality for item in items.items} == {"ecg"}
    assert "ct, pathology, retina, xray" in said[-1]
    with pytest.raises(DataError, match="no tower for any of the"):
        embed([row for row in rows if row.modality == "ct"], encoder, tmp_path, workers=1, say=said.append)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "images").mkdir()
    corpus = [
        {"_id": "d1", "path": "images/1.png", "modality": "retina", "patient_id": "p1", "labels": ["D"], "text": "T"},
        {"_id": "d2", "metadata": {"path": "images/2.png", "source": "clinic"}, "title": "an eye"},
    ]  # fmt: skip
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in corpus))
    queries = [
        {"_id": "q1", "text": "drusen"},
        {"_id": "q2", "path": "q.png", "modality": "retina", "patient_id": "p1"},
    ]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    (tmp_path / "qrels/dev.tsv").write_text("q2\t0\td2\t1\n")
    return tmp_path


def test_a_beir_folder_is_read(folder: Path) -> None:
    data = open_dataset(folder)
    assert [row.name for row in data.rows] == ["d1", "d2"]
    assert (data.rows[0].group, data.rows[0].labels, data.rows[0].path) == ("p1", ("D",), folder / "images/1.png")
    assert (data.rows[1].source, data.rows[1].text, data.rows[1].modality) == ("clinic", "an eye", "")
    assert data.queries["q1"] == Question(text="drusen")
    assert data.queries["q2"] == Question(path=folder / "q.png", modality="retina", group="p1")
    assert data.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert open_dataset(folder, "dev").qrels == {"q2": {"d2": 1}}
    assert set(open_dataset(folder, "dev").queries) == {"q2"}


def test_a_corpus_may_be_a_table(folder: Path) -> None:
    expected = open_dataset(folder).rows[:1]
    (folder / "corpus.jsonl").unlink()
    (folder / "qrels/dev.tsv").unlink()
    (folder / "corpus.csv").write_text("_id,path,modality,patient_id,labels,text\nd1,images/1.png,retina,p1,D,T\n")
    assert open_dataset(folder).rows == expected


def test_there_and_back(phantoms: Phantoms, tmp_path: Path) -> None:
    rows = [
        replace(row, caption=row.text, license="", use="")
        for row in open_dataset(phantoms[0], "all").rows
        if not row.series
    ]
    questions = {"a": Question(text="x-ray"), "b": Question(path=rows[0].path, modality="xray", group="g")}
    questions["c"] = Question(document=rows[1].name)
    qrels = {query: {rows[2].name: 1} for query in questions}
    beir.write(tmp_path, rows, questions, qrels)
    data = open_dataset(tmp_path)
    assert [replace(row, path=row.path.resolve()) for row in data.rows] == [
        replace(row, path=row.path.resolve()) for row in rows
    ]
    assert {
        q: replace(asked, path=asked.path and asked.path.resolve()) for q, asked in data.queries.items()
    } == questions
    assert data.qrels == qrels


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1"}\n', r"corpus\.jsonl, line 1 has no 'path'"),
        ("corpus.jsonl", '{"path": "a.png"}\n', r"line 1 has no '_id'"),
        (
            "corpus.jsonl",
            '{"_id": "d", "path": "a"}\n{"_id": "d", "path": "b"}\n',
            "line 2: document 'd' is there twice",
        ),
        ("corpus.jsonl", '{"_id": "d", "path": "a", "modality": "mri"}\n', "no modality 'mri'"),
        ("queries.jsonl", "q1 drusen\n", r"queries\.jsonl, line 1 is not JSON"),
        ("queries.jsonl", "[1]\n", "line 1 is no object"),
        ("queries.jsonl", '{"_id": "q1"}\n', "a query needs a text, a path, or the id of a document"),
        ("qrels/test.tsv", "q9\td1\t1\n", r"test\.tsv, line 1: there is no query 'q9'"),
        ("qrels/test.tsv", "q1\td9\t1\n", "there is no document 'd9'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1 d1 1\n", "line 2 must be query, document and relevance"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


def test_other_folders_and_parts_are_refused(folder: Path, phantoms: Phantoms, tmp_path_factory) -> None:
    with pytest.raises(DataError, match=r"no train\.tsv; there: dev, test"):
        open_dataset(folder, "train")
    with pytest.raises(DataError, match="has no split 'test'; choose from validation, all"):
        open_dataset(phantoms[0], "test")
    with pytest.raises(DataError, match="there is no data set at"):
        open_dataset(tmp_path_factory.mktemp("empty"))


def test_a_file_without_a_stated_modality_is_recognised(phantoms: Phantoms, tmp_path: Path) -> None:
    rows = [row for row in open_dataset(phantoms[0], "all").rows if row.modality == "ecg"]
    blank = [replace(row, modality="") for row in rows]
    blank.append(Row(tmp_path / "gone.hea", "", "", "", "", ()))
    items = embed(blank, FakeEncoder(), tmp_path, workers=1)
    assert [item.modality for item in items.items] == ["ecg"] * len(rows)
