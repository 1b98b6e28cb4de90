"""Writes a complete bundle of random linear towers: everything a trained one has, in a few hundred kilobytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from m3search.encoders.bundle import describe_input, seal
from m3search.types import InputSpec

DIM, SIZE, SAMPLES = 16, 32, 100
IMAGES = ("xray", "ct", "retina", "pathology")
WORDS = ("[PAD]", "[UNK]", "chest", "x-ray", "of", "pneumonia", "ecg", "normal", "tissue", "ct", "retina")


def write_tiny_bundle(folder: Path) -> None:
    """The bundle "tiny" with towers for all five modalities and a router. Always the same bytes."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(7)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_text(folder, _draw(random, len(WORDS), DIM))
    for name in (*IMAGES, "router"):
        _write_image(folder, name, _draw(random, 3 * SIZE * SIZE, 4 if name == "router" else DIM) / 1e4)
    _write_signal(folder, _draw(random, 12 * SAMPLES, DIM))
    (folder / "bundle.json").write_text(json.dumps(_description()))
    seal(folder)


def _description() -> dict[str, Any]:
    windows = ((-600.0, 1500.0), (40.0, 400.0), (500.0, 2000.0))
    specs = {name: InputSpec("image", size=SIZE, max_parts=4) for name in IMAGES}
    specs["ct"] = InputSpec("image", size=SIZE, max_parts=4, windows=windows)
    specs["ecg"] = InputSpec("signal", rate_hz=50.0, seconds=SAMPLES / 50, max_parts=4)
    return {
        "format": 1,
        "preprocessing": 1,
        "name": "tiny",
        "dim": DIM,
        "text": {"file": "text.onnx", "weights": ["text.safetensors"], "max_tokens": 8, "vocabulary": len(WORDS)},
        "modalities": {name: {"file": f"{name}.onnx", "input": describe_input(spec)} for name, spec in specs.items()},
        "router": {"file": "router.onnx", "size": SIZE, "modalities": list(IMAGES)},
    }


def _write_text(folder: Path, table: np.ndarray) -> None:
    """The sum of the word vectors; weights in a file of their own, as trained bundles have them."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["words", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "length"], ["embedding"], keepdims=0),
    ]
    tokens = (TensorProto.INT64, ["B", "L"])
    weights = {"table": table, "last": np.array([2]), "length": np.array([1])}
    model = _model(nodes, {"input_ids": tokens, "attention_mask": tokens}, "embedding", weights)
    beside = {"save_as_external_data": True, "location": "text.safetensors", "size_threshold": 256}
    onnx.save(model, str(folder / "text.onnx"), **beside)


def _write_image(folder: Path, name: str, weights: np.ndarray) -> None:
    """Pixels times a matrix."""
    output = "logits" if name == "router" else "embedding"
    nodes = [
        helper.make_node("Cast", ["inputs"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [output]),
    ]
    inputs = {"inputs": (TensorProto.UINT8, ["B", 3, SIZE, SIZE])}
    onnx.save(_model(nodes, inputs, output, {"w": weights}), str(folder / f"{name}.onnx"))


def _write_signal(folder: Path, weights: np.ndarray) -> None:
    """Samples times a matrix, a missing sample counting as zero."""
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "inputs"], ["present"]),
        helper.make_node("Flatten", ["present"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["embedding"]),
    ]
    inputs = {"inputs": (TensorProto.FLOAT, ["B", 12, SAMPLES])}
    model = _model(nodes, inputs, "embedding", {"w": weights, "zero": np.array(0, dtype=np.float32)})
    onnx.save(model, str(folder / "ecg.onnx"))


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    output: str,
    weights: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _draw(random: np.random.RandomState, features: int, width: int) -> np.ndarray:
    return random.standard_normal((features, width)).astype(np.float32)
