"""What can be wrong with the source of a model is named, with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tests.trainer.openclip.checkpoints  # noqa: F401 - skips where open_clip is missing
from m3search.errors import CheckpointError
from m3search.trainer.openclip import load_open_clip

pytestmark = pytest.mark.xdist_group("importing")  # the bundles are made once


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
