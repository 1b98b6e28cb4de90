"""Trained towers to a bundle: graphs, weights, tokenizer, calibration, card; checked against torch, then sealed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from m3search.datasets import VALIDATION_SHARE, names_key
from m3search.encoders.base import normalise
from m3search.encoders.bundle import BUNDLE_FORMAT, PREPROCESSING, describe_input, seal
from m3search.encoders.towers import ImageTower, TextTower, fold_norms
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer.card import WEIGHTS_LICENCE, model_card, sources
from m3search.trainer.graph import export_graph, export_network
from m3search.trainer.measure import Measured, measure_shared
from m3search.trainer.model import item_embeddings
from m3search.trainer.router import ROUTER_SIZE, train_router
from m3search.trainer.starts import minilm_folder
from m3search.trainer.text_encoder import FrozenText
from m3search.trainer.validate import as_dict, table

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig
    from m3search.trainer.corpus import Corpus
    from m3search.trainer.train import Run, Trained
    from m3search.types import Float32, InputSpec

CALIBRATION_ITEMS = 200  # of each modality


def write_bundle(trained: Trained, run: Run, out: Path, *, seconds: float) -> None:
    """The bundle of these towers in the folder `out`; the towers are folded and rounded in place on the way.

    Raises:
        TrainingError: an exported graph does not compute what its network does.
    """
    config, corpus, frozen, say = run.config, run.corpus, run.frozen, run.say
    out.mkdir(parents=True, exist_ok=True)
    modalities = {}
    towers = {name: tower.cpu() for name, tower in trained.shared.towers.items()}
    for name, modality in config.modalities.items():
        inputs = {"inputs": example(modality.input)}
        export_network(fold_norms(towers[name]), inputs, out / f"{name}.onnx", out / f"{name}.safetensors")
        modalities[name] = {
            "file": f"{name}.onnx", "weights": [f"{name}.safetensors"], "input": describe_input(modality.input)
        }  # fmt: skip
    ids, mask = frozen.tokens(["chest X-ray of a patient with pneumonia", "ECG"])
    inputs = {"input_ids": ids, "attention_mask": mask}
    text = trained.shared.text.cpu().whole(frozen)
    export_network(text, inputs, out / "text.onnx", out / "text.safetensors")
    shutil.copyfile(minilm_folder() / "tokenizer.json", out / "tokenizer.json")

    images = [name for name, tower in towers.items() if isinstance(tower, ImageTower)]
    router: dict[str, Any] = {}
    if "xray" in images and len(images) > 1:
        router = export_router(towers["xray"], corpus, images, config.run.seed, out)
        say(f"router: {router['accuracy']}")
    encode = partial(encode_whole, text, frozen)
    measured = measure_shared(towers, encode, corpus)  # what the stored weights retrieve
    say(table(measured.figures))
    description = {
        "format": BUNDLE_FORMAT,
        "name": config.name,
        "dim": config.dim,
        "preprocessing": PREPROCESSING,
        "text": {
            "file": "text.onnx", "weights": ["text.safetensors"], "max_tokens": config.text.max_tokens,
            "vocabulary": text.words.num_embeddings,
        },
        "modalities": modalities,
        "router": router,
        "licence": WEIGHTS_LICENCE,
        "training": {
            "seed": config.run.seed, "seconds": round(seconds), "stages": stages(config),
            "alignment": {stage: round(value, 6) for stage, value in trained.alignment.items()},
            "validation_share_of_groups": VALIDATION_SHARE,
            "validation_key": names_key(corpus.rows("validation")),
            "sources": sources(corpus.rows("training")),
        },
        "figures": _told(measured),
        "baselines": {name: _told(found) for name, found in trained.baselines.items()},
    }  # fmt: skip
    _write_json(out / "bundle.json", description)
    _write_json(out / "calibration.json", calibration(towers, encode, corpus, config))
    (out / "MODEL_CARD.md").write_text(model_card(description, config, trained.measured), encoding="utf-8")
    say(f"{out}: {sum(f.stat().st_size for f in out.iterdir()) / 1e6:.1f} MB, fingerprint {seal(out)[:12]}")


def _told(measured: Measured) -> dict[str, dict[str, Any]]:
    """As bundle.json says it: by modality, and by pair of modalities; names as `m3search bench` has them."""
    return as_dict(measured.figures) | {pair: {"crossmodal": round(v, 4)} for pair, v in measured.crossmodal.items()}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def example(spec: InputSpec) -> torch.Tensor:
    """Two inputs as the specification describes them, for tracing and for the comparison."""
    generator = torch.Generator().manual_seed(0)
    if spec.kind == "image":
        return torch.randint(0, 256, (2, 3, spec.size, spec.size), generator=generator, dtype=torch.uint8)
    signal = torch.randn(2, 12, layout_of(spec).columns, generator=generator)
    signal[1, 3] = torch.nan
    return signal


def export_router(tower: nn.Module, corpus: Corpus, images: list[str], seed: int, out: Path) -> dict[str, Any]:
    """The router's graph, on the weights of the X-ray tower, and what bundle.json says of it."""
    assert isinstance(tower, ImageTower)
    training = {name: corpus.training[name].rows for name in images}
    held_out = {name: corpus.validation[name].rows for name in images}
    router, accuracy = train_router(tower, training, held_out, seed)
    inputs = {"inputs": torch.zeros(2, 3, ROUTER_SIZE, ROUTER_SIZE, dtype=torch.uint8)}
    inputs["inputs"][1, :, 40:120, 40:120] = 180
    export_graph(router, inputs, out / "router.onnx", out / "xray.safetensors", "logits", prefix="tower.")
    return {
        "file": "router.onnx", "weights": ["xray.safetensors"], "size": ROUTER_SIZE, "modalities": images,
        "accuracy": {name: round(value, 4) for name, value in accuracy.items()},
    }  # fmt: skip


@torch.no_grad()
def encode_whole(text: TextTower, frozen: FrozenText, texts: Sequence[str], chunk: int = 64) -> Float32:
    """(B, D) unit vectors by a complete text tower."""
    parts = [text(*frozen.tokens(texts[i : i + chunk])).numpy() for i in range(0, len(texts), chunk)]
    return normalise(np.concatenate(parts))


def calibration(
    towers: Mapping[str, nn.Module],
    encode: Callable[[Sequence[str]], Float32],
    corpus: Corpus,
    config: TrainConfig,
) -> dict[str, Any]:
    """Statistics of unit vectors on training data, per modality: means of both sides and of the scores between them.

    Label names and everyday phrases of the modality are its texts; scores are inner products of these with its items.
    """
    statistics: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for name, everything in corpus.training.items():
        inputs, book = everything.spread(CALIBRATION_ITEMS), corpus.phrasebook(name)
        words = sorted({book.draw(inputs.rows[int(i)], rng).words for i in rng.integers(len(inputs), size=256)})
        texts = encode(words)
        items = item_embeddings(towers[name], inputs, config.modalities[name].input.size)
        scores = texts @ items.T
        statistics[name] = {
            "image_mean": np.round(items.mean(0), 6).tolist(),
            "text_mean": np.round(texts.mean(0), 6).tolist(),
            "score_mean": round(float(scores.mean()), 6),
            "score_std": round(float(scores.std()), 6),
            "items": len(items),
            "texts": len(words),
        }
    return {"modalities": statistics}


def stages(config: TrainConfig) -> dict[str, Any]:
    """Steps of every stage, as bundle.json tells them."""
    return {
        "pretrain": {name: modality.steps for name, modality in config.modalities.items()},
        "bind": {"steps": config.bind.steps, "align": config.bind.align, "lambda": config.bind.weight},
        "distil": config.distil.steps,
        "tune": config.tune.steps if config.tune else 0,
    }
