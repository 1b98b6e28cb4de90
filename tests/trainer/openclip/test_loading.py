"""A model of open_clip's layouts is loaded from whatever its weights lie in: training starts from it, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from m3search.encoders.base import normalise
from m3search.errors import CheckpointError
from m3search.trainer import openclip_folder
from m3search.trainer.openclip import load_open_clip, short_name
from m3search.vocabulary import NAMES, SYNONYMS
from tests.trainer.openclip.checkpoints import LAYOUTS, MEAN, TEXTS, by_open_clip, open_clip

pytestmark = pytest.mark.xdist_group("importing")  # the bundles are made once


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
