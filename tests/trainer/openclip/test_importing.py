"""Models of open_clip's layouts become bundles that compute the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import m3search
from m3search.cli.commands import app
from m3search.encoders import load_encoder
from m3search.encoders.bundle import Bundle, list_bundles
from m3search.errors import CheckpointError, UsageError
from m3search.indexer import Options
from m3search.phantoms import Phantom
from m3search.trainer import importing, openclip_folder
from m3search.trainer.graph import pack, unpack
from m3search.trainer.importing import import_model
from m3search.trainer.openclip import load_open_clip
from m3search.types import Batch
from tests.trainer.openclip.checkpoints import LAYOUTS, SIZES, TEXTS, by_open_clip

pytestmark = pytest.mark.xdist_group("importing")  # the bundles are made once


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_bundle_computes_what_open_clip_computes(layout: str, checkpoint: Any, imported: Any) -> None:
    folder, model = checkpoint(layout)
    encoder = load_encoder(imported(layout).folder)
    images = np.random.RandomState(1).randint(0, 256, (11, 3, SIZES[layout], SIZES[layout])).astype(np.uint8)
    images[:5] //= np.arange(2, 7, dtype=np.uint8)[:, None, None, None]
    texts, pictures = by_open_clip(folder, model, images)
    assert (encoder.encode_text(TEXTS) * texts).sum(1).min() >= 0.9999
    for modality in ("xray", "pathology"):
        assert (encoder.encode(Batch(modality, images)) * pictures).sum(1).min() >= 0.9999
    others = ~np.eye(len(TEXTS), dtype=bool)
    assert (texts @ texts.T)[others].max() < 0.99  # else the comparison above would say nothing


def test_one_image_tower_serves_all_image_modalities(imported: Any) -> None:
    bundle = Bundle.open(imported("clip").folder)
    assert set(bundle.towers) == {"xray", "ct", "retina", "pathology"}
    assert {tower.file for tower in bundle.towers.values()} == {"image.onnx"}
    assert {spec.size for spec in bundle.inputs.values()} == {48}
    bundle.verify()
    encoder = load_encoder(bundle.folder)
    for modality in bundle.towers:
        encoder.encode(Batch(modality, np.zeros((1, 3, 48, 48), dtype=np.uint8)))
    assert len(encoder._networks) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layout", "inputs", "fixed"),
    [
        ("clip", ["input_ids"], False),
        ("biomedclip", ["input_ids", "attention_mask"], False),
        ("siglip", ["input_ids"], True),
    ],
)
def test_the_bundle_says_what_its_text_tower_needs(layout: str, inputs: list[str], fixed: bool, imported: Any) -> None:
    bundle = Bundle.open(imported(layout).folder)
    assert list(bundle.text_inputs) == inputs
    assert bundle.fixed_length == fixed
    assert bundle.max_tokens == LAYOUTS[layout]["text_cfg"]["context_length"]


def test_clip_needs_no_padding_to_77_tokens(checkpoint: Any) -> None:
    model = load_open_clip(f"local-dir:{checkpoint('clip')[0]}")
    ids, _ = model.tokens(TEXTS[:5])
    padded = torch.zeros(5, 77, dtype=torch.int64)
    padded[:, : ids.shape[1]] = ids
    assert ids.shape[1] < 20
    with torch.no_grad():
        torch.testing.assert_close(model.text(ids), model.text(padded), rtol=1e-4, atol=1e-4)


def test_phantoms_are_indexed_and_found(phantoms: tuple[Path, list[Phantom]], imported: Any, tmp_path: Path) -> None:
    archive, written = phantoms
    report = m3search.index(archive, tmp_path / "index", model=imported("clip").folder, options=Options(workers=0))
    images = [phantom for phantom in written if phantom.modality != "ecg"]
    assert report.indexed == len(images)
    engine = m3search.open(tmp_path / "index")
    assert {failure["reason"] for failure in engine.failures()} == {"unsupported"}  # ECGs, each named
    hits = engine.search(image=next(archive / phantom.path for phantom in images if phantom.format == "raster"), k=3)
    assert hits[0].score > 0.999  # itself
    assert len(engine.search("pleural effusion", k=5)) == 5


def test_an_image_that_nobody_described_is_named_and_the_rest_is_indexed(
    phantoms: tuple[Path, list[Phantom]], imported: Any, tmp_path: Path
) -> None:
    archive, written = phantoms
    image = next(archive / phantom.path for phantom in written if phantom.format == "raster")
    for name in ("somewhere", "fundus"):
        (tmp_path / "archive" / name).mkdir(parents=True)
        shutil.copy(image, tmp_path / "archive" / name / "picture.png")
    (tmp_path / "archive" / "somewhere" / "picture.png").open("ab").write(b" ")  # else it is the same item
    model, options = imported("clip").folder, Options(workers=0)
    report = m3search.index(tmp_path / "archive", tmp_path / "index", model=model, options=options)
    assert (report.indexed, report.failed) == (1, 1)
    (failure,) = m3search.open(tmp_path / "index").failures()
    assert failure["uri"] == "somewhere/picture.png"
    assert "state its modality" in failure["message"]


def test_the_command_imports_under_a_name(checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, model = checkpoint("clip")
    words = ["model", "import", f"local-dir:{folder}", "--name", "tiny", "--modality", "xray,ct", "--precision", "fp32"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output or result.exception
    found = json.loads(result.stdout)
    assert (found["name"], found["modalities"], found["licence"]) == ("tiny", ["xray", "ct"], "not stated")
    assert not (tmp_path / "cache").exists()  # what was compiled for the check is of no use later
    assert any(bundle.name == "tiny" and not bundle.problem for bundle in list_bundles())
    encoder = load_encoder("tiny")
    assert encoder.fingerprint == found["fingerprint"]
    texts, _ = by_open_clip(folder, model, np.zeros((1, 3, 48, 48), dtype=np.uint8))
    np.testing.assert_allclose(encoder.encode_text(TEXTS), texts, atol=2e-5)  # single precision: no rounding at all
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, UsageError)
    assert "there is a model 'tiny' already" in str(again.exception)


def test_the_card_tells_origin_licence_and_that_nothing_was_measured(checkpoint: Any, imported: Any) -> None:
    card = (imported("clip").folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "local-dir:clip" in card
    assert str(checkpoint("clip")[0].parent) not in card  # a folder's name may tell who works here
    assert "Not stated." in card
    assert "None were measured" in card


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: mit\ntags: [x]", "mit"),
        ("tags: [license]\nlicense: other\nlicense_name: cc-by-nc-4.0 research", "cc-by-nc-4.0 research"),
        ("tags: []", ""),
    ],
)
def test_the_licence_field_is_read(head: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# Model\nlicense: of something else\n")
    assert openclip_folder.stated_licence(tmp_path / "README.md") == licence
    assert openclip_folder.stated_licence(tmp_path / "none.md") == ""


def test_an_import_that_fails_leaves_nothing(checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_write_towers", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_model(f"local-dir:{checkpoint('clip')[0]}", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_computes_something_else_is_refused(
    checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(packed: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return unpack({name: np.round(array, 1) for name, array in packed.items()})

    def rounded(state: dict[str, torch.Tensor], precision: Any) -> dict[str, np.ndarray]:
        return pack(spoil(pack(state, "fp32")), "fp32")

    monkeypatch.setattr("m3search.trainer.graph.pack", rounded)
    with pytest.raises(CheckpointError, match=r"text tower .* does not compute what open_clip does.*--precision fp32"):
        import_model(f"local-dir:{checkpoint('clip')[0]}", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("modalities", [["ecg"], ["xray", "xray"], ["mri"], []])
def test_modalities_without_images_are_refused(modalities: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        import_model("local-dir:anywhere", tmp_path / "out", modalities=modalities)


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        import_model("local-dir:anywhere", tmp_path)
