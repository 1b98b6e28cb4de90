"""Models of open_clip's layouts become bundles that compute the same. The checkpoints are small and made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import m3search
from m3search.cli.commands import app
from m3search.encoders import load_encoder
from m3search.encoders.base import normalise
from m3search.encoders.bundle import Bundle, list_bundles
from m3search.errors import CheckpointError, UsageError
from m3search.indexer import Options
from m3search.phantoms import Phantom
from m3search.trainer import importing, openclip_folder
from m3search.trainer.graph import pack, unpack
from m3search.trainer.importing import Imported, import_model
from m3search.trainer.openclip import load_open_clip, short_name
from m3search.trainer.torchvision_shim import ensure_torchvision
from m3search.types import Batch
from m3search.vocabulary import NAMES, SYNONYMS

ensure_torchvision()
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'm3search[train]'")
pytestmark = pytest.mark.xdist_group("importing")  # the bundles are made once

TEXTS = (
    "pleural effusion", "No pleural effusion.", "H&E, poorly differentiated adenocarcinoma", "atrial fibrillation",
    "drusen of the left eye", "no effusion " * 60,
)  # fmt: skip
MEAN, STD = [0.481, 0.458, 0.408], [0.269, 0.261, 0.276]
CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
BERT_TEXT = {
    "hf_model_name": "someone/bert", "hf_tokenizer_name": "someone/bert", "context_length": 48, "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
}  # fmt: skip
SIGLIP_TEXT = {
    "context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True,
    "proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "someone/t5",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
VIT = {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
LAYOUTS: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": CLIP_TEXT},
    "biomedclip": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": BERT_TEXT,
    },
    "siglip": {
        "embed_dim": 24, "custom_text": True, "init_logit_bias": -10, "vision_cfg": VIT | {"pool_type": "avg"},
        "text_cfg": SIGLIP_TEXT,
    },
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "patch_size": None},
        "text_cfg": CLIP_TEXT,
    },
}  # fmt: skip
SIZES = {"clip": 48, "biomedclip": 160, "siglip": 48, "resnet": 64}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def write_bert(folder: Path) -> None:
    """A BERT of the smallest kind: its configuration, and a vocabulary of letters and some words."""
    from transformers import BertConfig

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    words += [*"!#%&'()*+,-./:;<>=?@[]^_{}~$", "effusion", "##oma", "no", "the"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    ).save_pretrained(folder)  # fmt: skip


def write_unigram(folder: Path) -> None:
    """A tokenizer as T5's: pieces of words, "</s>" at the end and as padding."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -3.0), *((letter, -4.0) for letter in LETTERS)]
    pieces += [("▁effusion", -1.0), ("▁no", -1.0), ("▁the", -1.0), ("oma", -2.0)]
    pieces += [(f"<extra_id_{n}>", -20.0) for n in range(64 - len(pieces))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "</s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_checkpoint(folder: Path, layout: str) -> Any:
    """A folder as a hub's repository of that layout, and the open_clip model whose weights lie in it."""
    from safetensors.torch import save_file

    folder.mkdir()
    description = {"model_cfg": LAYOUTS[layout], "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(description))
    if layout == "biomedclip":
        write_bert(folder)
    if layout == "siglip":
        write_unigram(folder)
    text = {**LAYOUTS[layout]["text_cfg"]}
    if "hf_model_name" in text:
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    torch.manual_seed(0)
    model = open_clip.create_model(
        f"local-dir:{folder}", load_weights=False, pretrained_text=False, text_cfg=text
    ).eval()
    with torch.no_grad():  # as a fresh model is, all texts look alike to it
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=2 * parameter[0].numel() ** -0.5)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Folder and model of a layout. Only to be read."""
    made: dict[str, tuple[Path, Any]] = {}

    def get(layout: str) -> tuple[Path, Any]:
        if layout not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / layout
            made[layout] = folder, write_checkpoint(folder, layout)
        return made[layout]

    return get


@pytest.fixture
def copy(checkpoint: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of a layout that may be changed."""
    return lambda layout: Path(shutil.copytree(checkpoint(layout)[0], tmp_path / layout))


@pytest.fixture(scope="module")
def imported(
    checkpoint: Callable[[str], tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Imported]:
    """The bundle of a layout. Only to be read."""
    made: dict[str, Imported] = {}

    def get(layout: str) -> Imported:
        if layout not in made:
            out = tmp_path_factory.mktemp("imported") / layout
            made[layout] = import_model(f"local-dir:{checkpoint(layout)[0]}", out)
        return made[layout]

    return get


@torch.no_grad()
def by_open_clip(folder: Path, model: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of TEXTS and images, with nothing of m3search between."""
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(list(TEXTS))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    scaled = (torch.from_numpy(images).float() / 255 - mean) / std
    return normalise(model.encode_text(ids).numpy()), normalise(model.encode_image(scaled).numpy())


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


# Loading: what training starts from too


def test_a_loaded_model_is_taken_apart(checkpoint: Any) -> None:
    folder, model = checkpoint("biomedclip")
    loaded = load_open_clip(f"local-dir:{folder}")
    assert (loaded.dim, loaded.size, loaded.max_tokens, loaded.name) == (24, 160, 48, "biomedclip")
    assert loaded.mean == pytest.approx(MEAN)
    assert loaded.scale == pytest.approx(1 / 0.07, rel=1e-4)
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    texts, pictures = by_open_clip(folder, model, images.numpy())
    np.testing.assert_allclose(normalise(loaded.image(images).detach().numpy()), pictures, atol=1e-5)
    np.testing.assert_allclose(normalise(loaded.text(*loaded.tokens(TEXTS)).detach().numpy()), texts, atol=1e-5)
    assert all(parameter.requires_grad for parameter in loaded.text.parameters())


@pytest.mark.parametrize("kind", ["bin", "training checkpoint"])
def test_weights_in_other_files(kind: str, copy: Any, checkpoint: Any) -> None:
    folder, model = copy("clip"), checkpoint("clip")[1]
    (folder / "open_clip_model.safetensors").unlink()
    if kind == "bin":
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
        source = f"local-dir:{folder}"
    else:
        state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state}, folder / "epoch_3.pt")
        source = str(folder / "epoch_3.pt")
    loaded = load_open_clip(source)
    torch.testing.assert_close(loaded.model.state_dict(), model.state_dict())


def test_weights_of_an_architecture_known_by_name(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = checkpoint("clip")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-16", LAYOUTS["clip"])
    weights = folder / "open_clip_model.safetensors"
    loaded = load_open_clip(f"Tiny-16@{weights}")
    torch.testing.assert_close(loaded.model.state_dict(), model.state_dict())
    assert loaded.source == "Tiny-16@open_clip_model.safetensors"
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-32", {**LAYOUTS["clip"], "embed_dim": 32})
    with pytest.raises(CheckpointError, match="does not hold the model that Tiny-32 describes"):
        load_open_clip(f"Tiny-32@{weights}")


def test_names_of_sources() -> None:
    assert short_name("hf-hub:someone/BiomedCLIP_256") == "BiomedCLIP_256"
    assert short_name("local-dir:models/plip/") == "plip"
    assert short_name("ViT-B-32@runs/epoch 9.pt") == "ViT-B-32-epoch-9"
    assert short_name("runs/epoch_9.pt") == "epoch_9"


def test_the_published_bert_sizes_need_no_configuration(copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy("biomedclip")
    (folder / "config.json").unlink()  # as BiomedCLIP is published
    with pytest.raises(CheckpointError, match=r"lacks the config\.json of its text model someone/bert"):
        load_open_clip(f"local-dir:{folder}")
    monkeypatch.setattr(openclip_folder, "BERT_HEADS", {(32, 2, 64): 2})
    assert load_open_clip(f"local-dir:{folder}").text.transformer.config.num_attention_heads == 2


def test_clip_tokens_are_open_clips(checkpoint: Any) -> None:
    folder, _ = checkpoint("clip")
    loaded = load_open_clip(f"local-dir:{folder}")
    texts = [word for group in (*NAMES.values(), *SYNONYMS.values()) for word in group] + list(SYNONYMS)
    ids, mask = loaded.tokens(texts)
    expected = open_clip.get_tokenizer("ViT-B-32")(texts)
    np.testing.assert_array_equal(ids, expected[:, : ids.shape[1]])
    assert (expected[:, ids.shape[1] :] == 0).all()
    np.testing.assert_array_equal(mask.sum(1), (expected != 0).sum(1))


# What can be wrong with a source


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "open_clip_config.json"
    description = json.loads(file.read_bytes())
    change(description["model_cfg"])
    file.write_text(json.dumps(description))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no folder"):
        load_open_clip(f"local-dir:{tmp_path / 'none'}")
    with pytest.raises(CheckpointError, match="give hf-hub:ORGANISATION/NAME, local-dir:FOLDER"):
        load_open_clip(str(tmp_path / "none.pt"))


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no open_clip_config\.json: copy it"):
        load_open_clip(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("content", ["not json", "[]", '{"architectures": []}', '{"model_cfg": {"embed_dim": 8}}'])
def test_a_configuration_of_something_else(content: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"not a configuration of open_clip|lacks text_cfg, vision_cfg"):
        load_open_clip(f"local-dir:{tmp_path}")


def test_a_folder_without_weights(copy: Any) -> None:
    folder = copy("clip")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights \(open_clip_model\.safetensors"):
        load_open_clip(f"local-dir:{folder}")


def test_a_pointer_instead_of_weights(copy: Any) -> None:
    folder = copy("clip")
    (folder / "open_clip_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        load_open_clip(f"local-dir:{folder}")


def test_weights_of_another_model(copy: Any) -> None:
    folder = copy("clip")
    rewrite(folder, lambda config: config["text_cfg"].update(layers=3))
    with pytest.raises(CheckpointError, match=r"does not hold the model that .* describes.*resblocks\.2"):
        load_open_clip(f"local-dir:{folder}")


def test_damaged_weights(copy: Any) -> None:
    folder = copy("clip")
    (folder / "open_clip_model.safetensors").write_bytes(b"0" * 1000)
    with pytest.raises(CheckpointError, match="damaged"):
        load_open_clip(f"local-dir:{folder}")


def test_an_architecture_nobody_knows(copy: Any) -> None:
    folder = copy("biomedclip")
    rewrite(folder, lambda config: config["vision_cfg"].update(timm_model_name="vit_of_tomorrow"))
    with pytest.raises(CheckpointError, match=r"open_clip cannot build .*vit_of_tomorrow"):
        load_open_clip(f"local-dir:{folder}")
    with pytest.raises(CheckpointError, match=r"knows no architecture 'ViT-B-33'; near are ViT-B-32"):
        load_open_clip("ViT-B-33@openai")
    with pytest.raises(CheckpointError, match=r"there is no file nonsense, .* open_clip knows openai"):
        load_open_clip("ViT-B-32@nonsense")


def test_a_text_tower_nobody_knows(copy: Any) -> None:
    folder = copy("clip")
    rewrite(folder, lambda config: config.update(custom_text=True))
    rewrite(folder, lambda config: config["text_cfg"].update(embed_cls=True))
    with pytest.raises(CheckpointError, match=r"does not hold the model|cannot be used here"):
        load_open_clip(f"local-dir:{folder}")


@pytest.mark.parametrize("left", [[], ["vocab.txt"], ["tokenizer_config.json"]])
def test_a_tokenizer_without_its_files(left: list[str], copy: Any) -> None:
    folder = copy("biomedclip")
    for name in {"vocab.txt", "tokenizer_config.json"} - set(left):
        (folder / name).unlink()
    if left == ["vocab.txt"]:  # with config.json enough
        assert load_open_clip(f"local-dir:{folder}").tokens(["effusion"])[0].shape == (1, 3)
        return
    with pytest.raises(CheckpointError, match=r"has no tokenizer: copy tokenizer\.json"):
        load_open_clip(f"local-dir:{folder}")


def test_a_tokenizer_of_another_model(copy: Any) -> None:
    folder = copy("biomedclip")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) + "\n")
    with pytest.raises(CheckpointError, match=r"vocabulary is missing|belong to another model"):
        load_open_clip(f"local-dir:{folder}")


def test_images_that_are_not_square(copy: Any) -> None:
    folder = copy("clip")
    rewrite(folder, lambda config: config["vision_cfg"].update(image_size=[48, 48]))
    assert load_open_clip(f"local-dir:{folder}").size == 48
    rewrite(folder, lambda config: config["vision_cfg"].update(image_size=[36, 64]))
    with pytest.raises(CheckpointError, match=r"36 x 64 pixels|does not hold the model"):
        load_open_clip(f"local-dir:{folder}")


@pytest.mark.parametrize("source", ["hf-hub:someone/something", "ViT-B-32@openai"])
def test_without_a_network_the_local_way_is_named(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    remedy = "local-dir:FOLDER" if source.startswith("hf-hub:") else "ARCHITECTURE@FILE"
    with pytest.raises(CheckpointError, match=f"needs the network.* copy its files .* give {remedy}"):
        load_open_clip(source)
