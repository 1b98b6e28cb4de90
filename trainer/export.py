"""Trained towers to a bundle: graphs, weights, tokenizer, calibration, card; checked against torch, then sealed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from m3search.encoders.base import normalise
from m3search.encoders.bundle import BUNDLE_FORMAT, PREPROCESSING, describe_input, seal
from m3search.encoders.towers import ImageTower, fold_norms
from m3search.errors import TrainingError
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer.card import WEIGHTS_LICENCE, model_card, sources
from m3search.trainer.graph import graph, pack, share_weights, unpack
from m3search.trainer.model import FrozenText, Towers, embed_texts, minilm_folder
from m3search.trainer.router import ROUTER_SIZE, train_router

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig
    from m3search.trainer.pretrain import Corpus
    from m3search.trainer.validate import Figures
    from m3search.types import InputSpec

CALIBRATION_ITEMS = 200  # of each modality
LEAST_COSINE = 0.9999  # between the exported graph and torch with the same rounded weights


def write_bundle(
    towers: Towers,
    frozen: FrozenText,
    corpus: Corpus,
    config: TrainConfig,
    figures: Mapping[str, Figures],
    out: Path,
    *,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """The bundle of these towers in the folder `out`; the towers are folded and rounded in place on the way.

    Raises:
        TrainingError: an exported graph does not compute what its network does.
    """
    from m3search.trainer.pretrain import as_dict, validate

    out.mkdir(parents=True, exist_ok=True)
    modalities = {}
    for name, modality in config.modalities.items():
        tower = towers.items[name]
        export_network(tower, {"inputs": example(modality.input)}, out / f"{name}.onnx", out / f"{name}.safetensors")
        modalities[name] = {
            "file": f"{name}.onnx", "weights": [f"{name}.safetensors"], "input": describe_input(modality.input)
        }  # fmt: skip
    ids, mask = frozen.tokens(["chest X-ray of a patient with pneumonia", "ECG"])
    inputs = {"input_ids": ids, "attention_mask": mask}
    export_network(towers.text, inputs, out / "text.onnx", out / "text.safetensors")
    shutil.copyfile(minilm_folder() / "tokenizer.json", out / "tokenizer.json")

    images = [name for name, tower in towers.items.items() if isinstance(tower, ImageTower)]
    router: dict[str, Any] = {}
    if "xray" in images and len(images) > 1:
        router = export_router(towers, corpus, images, config.run.seed, out)
        say(f"router: {router['accuracy']}")
    rounded = validate(towers, frozen, corpus.validation)  # what the stored weights retrieve
    description = {
        "format": BUNDLE_FORMAT,
        "name": config.name,
        "dim": config.dim,
        "preprocessing": PREPROCESSING,
        "text": {
            "file": "text.onnx", "weights": ["text.safetensors"], "max_tokens": config.text.max_tokens,
            "vocabulary": towers.text.words.num_embeddings,
        },
        "modalities": modalities,
        "router": router,
        "licence": WEIGHTS_LICENCE,
        "training": {
            "seed": config.run.seed, "steps": config.run.steps, "seconds": round(seconds),
            "validation_share_of_groups": 0.2, "sources": sources(corpus.rows("training")),
        },
        "figures": as_dict(rounded),
    }  # fmt: skip
    _write_json(out / "bundle.json", description)
    _write_json(out / "calibration.json", calibration(towers, frozen, corpus, config))
    (out / "MODEL_CARD.md").write_text(model_card(description, config, figures), encoding="utf-8")
    say(f"{out}: {sum(f.stat().st_size for f in out.iterdir()) / 1e6:.1f} MB, fingerprint {seal(out)[:12]}")


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


def export_network(
    network: nn.Module, inputs: Mapping[str, torch.Tensor], file: Path, weights: Path, output: str = "embedding"
) -> None:
    """Graph and weights of one network, whose weights are rounded in place to what is stored."""
    fold_norms(network)
    packed = pack(network.state_dict())
    save_file(packed, weights)
    weights.chmod(0o644)  # safetensors makes its files private
    network.load_state_dict(unpack(packed), strict=False)
    _export_graph(network, inputs, file, weights, output)


def _export_graph(
    network: nn.Module, inputs: Mapping[str, torch.Tensor], file: Path, weights: Path, output: str, prefix: str = ""
) -> None:
    import onnx

    axes = [[0, 1] if name in ("input_ids", "attention_mask") else [0] for name in inputs]
    model = graph(network, inputs, axes, output)
    share_weights(model, weights, prefix)
    onnx.save(model, file)
    with torch.no_grad():
        expected = network(*inputs.values()).numpy()
    cosine = parity(file, {name: tensor.numpy() for name, tensor in inputs.items()}, expected)
    if cosine < LEAST_COSINE:
        raise TrainingError(f"{file.name} does not compute what the network does: cosine {cosine:.5f} to torch")


def parity(file: Path, inputs: Mapping[str, np.ndarray], expected: np.ndarray) -> float:
    """Least cosine between the graph's output in ONNX Runtime and what torch gave for the same inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    got = session.run(None, dict(inputs))[0]
    return float((normalise(got) * normalise(expected)).sum(1).min())


def export_router(towers: Towers, corpus: Corpus, images: list[str], seed: int, out: Path) -> dict[str, Any]:
    """The router's graph, on the weights of the X-ray tower, and what bundle.json says of it."""
    tower = towers.items["xray"]
    assert isinstance(tower, ImageTower)
    training = {name: corpus.training[name].rows for name in images}
    held_out = {name: corpus.validation[name].rows for name in images}
    router, accuracy = train_router(tower, training, held_out, seed)
    inputs = {"inputs": torch.zeros(2, 3, ROUTER_SIZE, ROUTER_SIZE, dtype=torch.uint8)}
    inputs["inputs"][1, :, 40:120, 40:120] = 180
    _export_graph(router, inputs, out / "router.onnx", out / "xray.safetensors", "logits", prefix="tower.")
    return {
        "file": "router.onnx", "weights": ["xray.safetensors"], "size": ROUTER_SIZE, "modalities": images,
        "accuracy": {name: round(value, 4) for name, value in accuracy.items()},
    }  # fmt: skip


@torch.no_grad()
def calibration(towers: Towers, frozen: FrozenText, corpus: Corpus, config: TrainConfig) -> dict[str, Any]:
    """Statistics of unit vectors on training data, per modality: means of both sides and of the scores between them.

    Label names and everyday phrases of the modality are its texts; scores are inner products of these with its items.
    """
    from m3search.trainer.pretrain import embed_items

    statistics: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for name, everything in corpus.training.items():
        inputs = everything.spread(CALIBRATION_ITEMS)
        words = sorted(
            {corpus.phrasebook.draw(inputs.rows[int(i)], rng).words for i in rng.integers(len(inputs), size=256)}
        )
        texts = normalise(embed_texts(towers, frozen, words)[0].numpy())
        items = embed_items(towers, name, inputs, config.modalities[name].input.size)
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
