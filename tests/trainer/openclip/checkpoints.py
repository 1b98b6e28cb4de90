"""Small checkpoints in open_clip's layouts, made here, and what open_clip itself computes with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m3search.encoders.base import normalise
from m3search.trainer.torchvision_shim import ensure_torchvision

ensure_torchvision()
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'm3search[train]'")

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


@torch.no_grad()
def by_open_clip(folder: Path, model: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of TEXTS and images, with nothing of m3search between."""
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(list(TEXTS))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    scaled = (torch.from_numpy(images).float() / 255 - mean) / std
    return normalise(model.encode_text(ids).numpy()), normalise(model.encode_image(scaled).numpy())
