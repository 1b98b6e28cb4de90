"""Whole benches on synthetic patients with the fake encoder: tables, JSON, TREC files, recorded baselines, commands."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
from typer.testing import CliRunner

from m3search.cli.bench import BENCHES as COMMANDS
from m3search.cli.commands import app
from m3search.encoders.bundle import Bundle
from m3search.encoders.fake import FakeEncoder
from m3search.encoders.runtime import BundleEncoder
from m3search.errors import UsageError
from m3search.evaluation import beir
from m3search.evaluation.benches import BENCHES, Options, bench
from m3search.evaluation.comparison import Comparison, compare, recorded_baselines
from m3search.evaluation.dataset import EvaluationSet, open_dataset
from m3search.phantoms import write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """X-rays, retinas and tissue of 12 synthetic patients."""
    folder = tmp_path_factory.mktemp("judged") / "archive"
    write_archive(folder, patients=12, seed=3, modalities=("xray", "retina", "pathology"))
    return folder


@pytest.fixture(scope="module")
def data(archive: Path) -> EvaluationSet:
    return open_dataset(archive, "all")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return Options(tmp_path_factory.mktemp("cache"), workers=1, min_relevant=2, legacy=True)


@pytest.fixture(scope="module")
def retrieval(data: EvaluationSet, options: Options) -> Comparison:
    other = FakeEncoder(dim=32, name="smaller fake")
    return compare("retrieval", data, [FakeEncoder(), other], options, baselines=[FakeEncoder(128)], say=lambda _: None)


def test_the_commands_are_the_benches() -> None:
    assert list(COMMANDS) == list(BENCHES)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_figures_with_chance_beside_them(name: str, data: EvaluationSet, options: Options) -> None:
    outcome = bench(name, data, FakeEncoder(), options, say=lambda _: None)
    assert outcome.items == 36
    assert len({table.key for table in outcome.tables}) == len(outcome.tables) >= 3
    for table in outcome.tables:
        assert table.figures
        for part, figure in table.figures.items():
            assert 0 <= figure.value <= 1, (table.key, part)
            assert 0 < figure.chance <= 1, (table.key, part)
            if figure.low is not None and figure.high is not None:
                assert figure.low - 1e-9 <= figure.high


def test_another_bench_is_refused(data: EvaluationSet, options: Options) -> None:
    with pytest.raises(UsageError, match="no bench 'speed'; choose from retrieval, zeroshot"):
        bench("speed", data, FakeEncoder(), options)


def test_flawed_figures_stand_beside_honest_ones(retrieval: Comparison) -> None:
    tables = {table.key: table for table in retrieval.outcomes[0].tables}
    flawed = tables["legacy_query_left_in"]
    assert flawed.figures["xray"].value > tables[flawed.honest].figures["xray"].value
    text = retrieval.to_text()
    block = text[text.index("flawed: image to image, the query in its own gallery") :].splitlines()
    assert block[1].count("honest") == 3
    assert tables[flawed.honest].figures["xray"].text() in block[2]


def test_text_and_json_hold_the_same_figures(retrieval: Comparison) -> None:
    content, text = json.loads(retrieval.to_json()), retrieval.to_text()
    assert list(content["encoders"]) == list(retrieval.labels)
    assert retrieval.labels[1] == "smaller fake"
    assert retrieval.labels[0] != retrieval.labels[2], "two encoders of one name are told apart"
    assert (content["key"], content["split"]) == (retrieval.data.key, "all")
    figures = content["encoders"]["smaller fake"]["tables"]["image_to_image"]["figures"]
    assert set(figures) == {"xray", "retina", "pathology", "mean"}
    assert f"{figures['retina']['value']:7.3f}" in text
    assert set(content["relative_to"]) == {"smaller fake"}, "baselines are not divided by"
    mean = content["relative_to"]["smaller fake"]["image_to_image"]["mean"]
    assert mean["low"] <= mean["ratio"] <= mean["high"]
    assert f"{mean['ratio']:.3f} [{mean['low']:.3f}" in text


def test_trec_eval_finds_the_tables_values_in_the_files(retrieval: Comparison, tmp_path: Path) -> None:
    written = retrieval.write_trec(tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    for key, name in (("image_to_image", "AP"), ("text_to_image", "AP"), ("image_to_own_text_1", "R@10")):
        table = next(t for t in retrieval.outcomes[1].tables if t.title == _title(retrieval, key) and t.measure == name)
        found = ir_measures.iter_calc(
            [ir_measures.parse_measure(name)],
            list(ir_measures.read_trec_qrels(str(tmp_path / f"{key}.qrels"))),
            list(ir_measures.read_trec_run(str(tmp_path / f"smaller fake.{key}.run"))),
        )
        theirs: dict[str, list[float]] = {}
        for metric in found:
            theirs.setdefault(metric.query_id.split("/")[0], []).append(metric.value)
        for modality, values in theirs.items():
            assert len(values) == table.figures[modality].queries
            assert sum(values) / len(values) == pytest.approx(table.figures[modality].value, abs=1e-9)


def _title(comparison: Comparison, key: str) -> str:
    return next(table.title for table in comparison.outcomes[0].tables if table.key == key)


def test_queries_of_a_beir_folder_are_asked_too(data: EvaluationSet, options: Options, tmp_path: Path) -> None:
    retina = [row for row in data.rows if row.modality == "retina"]
    beir.write(tmp_path, data.rows, {"q": beir.Question(text="fundus")}, {"q": {row.name: 1 for row in retina}})
    found = compare("retrieval", open_dataset(tmp_path), [FakeEncoder()], options, say=lambda _: None)
    tables = {table.key: table for table in found.outcomes[0].tables}
    assert tables["queries_AP"].figures["all"].value == 1
    assert tables["queries_R@10"].figures["retina"].value == pytest.approx(10 / len(retina))
    written = {path.name for path in found.write_trec(tmp_path / "trec")}
    assert {"queries.qrels", "fake.queries.run"} <= written


def bundle_with(tmp_path: Path, tiny_bundle: Path, key: str) -> BundleEncoder:
    import shutil

    from m3search.encoders.bundle import seal

    folder = tmp_path / "recorded"
    shutil.copytree(tiny_bundle, folder)
    description = json.loads((folder / "bundle.json").read_text())
    description["training"] = {"validation_key": key}
    found = {"items": 12, "text_to_image": 0.25, "image_to_image": 0.75}
    description["baselines"] = {"specialists": {"xray": found, "retina": {**found, "image_to_image": 0.25}}}
    (folder / "bundle.json").write_text(json.dumps(description))
    seal(folder)
    return BundleEncoder(Bundle.open(folder))


def test_baselines_recorded_on_the_same_items_are_printed(
    data: EvaluationSet, options: Options, tmp_path: Path, tiny_bundle: Path
) -> None:
    encoder = bundle_with(tmp_path, tiny_bundle, data.key)
    recorded, note = recorded_baselines(encoder, data)
    assert note == ""
    assert recorded["specialists"]["image_to_image"] == {"xray": 0.75, "retina": 0.25, "mean": 0.5}
    text = compare("retrieval", data, [encoder], options, say=lambda _: None).to_text()
    table = text[text.index("image to image, gallery of one modality: AP") :].splitlines()
    assert table[1].endswith("specialists*")
    assert next(line for line in table if line.startswith("xray")).endswith("0.750")
    assert "* recorded while" in text


def test_baselines_recorded_on_other_items_are_not(data: EvaluationSet, tmp_path: Path, tiny_bundle: Path) -> None:
    recorded, note = recorded_baselines(bundle_with(tmp_path, tiny_bundle, "0" * 16), data)
    assert recorded == {}
    assert "measured on other items" in note
    assert recorded_baselines(FakeEncoder(), data) == ({}, "")


def run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_the_command_prints_tables_or_json_and_writes_trec_files(
    archive: Path, options: Options, tmp_path: Path
) -> None:
    common = ("--data", archive, "--model", "fake", "--split", "all", "--no-untrained", "--cache", options.cache)
    text = run("crossmodal", *common)
    assert text.exit_code == 0, text.output
    assert "image to image between modalities" in text.stdout
    found = run("retrieval", *common, "--json", "--legacy", "--beside", "fake", "--trec", tmp_path / "trec")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert content["bench"] == "retrieval"
    one, other = content["encoders"]
    assert other == f"{one} (2)", "the same encoder twice"
    assert content["relative_to"][other]["image_to_image"]["xray"]["ratio"] == 1
    assert (tmp_path / "trec" / "image_to_image.qrels").is_file()


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("retrieval", "--model", "fake")
    assert isinstance(result.exception, UsageError)
    assert "--data" in str(result.exception)


def test_untrained_towers_that_cannot_be_built_are_a_line_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from m3search.cli import bench as command

    monkeypatch.setitem(sys.modules, "m3search.trainer.untrained", None)
    encoders, notes = command._untrained()
    assert encoders == []
    assert notes[0].startswith("untrained towers are not measured here:")
