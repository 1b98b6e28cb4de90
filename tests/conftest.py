"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real medical data that lies beside a developer's checkout; a user's clone has none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of random linear towers for all five modalities: a few hundred kilobytes. Do not change it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    _write_tiny_bundle(folder)
    return folder


def _write_tiny_bundle(folder: Path) -> None:
    import json

    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    from m3search.encoders.bundle import describe_input, seal
    from m3search.types import InputSpec

    dim, size, rate_hz, seconds = 16, 32, 50.0, 2.0
    random = np.random.RandomState(7)

    def save(name: str, nodes: list[onnx.NodeProto], inputs: dict[str, tuple], output: str, **weights: object) -> None:
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", None])],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        external = name == "text"  # weights in a file of their own, as trained bundles have them
        onnx.save(
            model,
            str(folder / f"{name}.onnx"),
            save_as_external_data=external,
            location="text.safetensors",
            size_threshold=256,
        )

    def linear(features: int, width: int) -> np.ndarray:
        return random.standard_normal((features, width)).astype(np.float32)

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "chest", "x-ray", "of", "pneumonia", "ecg", "normal", "tissue", "ct", "retina"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    node = helper.make_node
    save(
        "text",
        [
            node("Gather", ["table", "input_ids"], ["words"]),
            node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["mask", "last"], ["mask3"]),
            node("Mul", ["words", "mask3"], ["masked"]),
            node("ReduceSum", ["masked", "length"], ["embedding"], keepdims=0),
        ],
        {"input_ids": (TensorProto.INT64, ["B", "L"]), "attention_mask": (TensorProto.INT64, ["B", "L"])},
        "embedding",
        table=linear(len(words), dim),
        last=np.array([2]),
        length=np.array([1]),
    )
    for name, width in (("xray", dim), ("ct", dim), ("retina", dim), ("pathology", dim), ("router", 4)):
        flatten = [node("Cast", ["inputs"], ["float"], to=TensorProto.FLOAT), node("Flatten", ["float"], ["flat"])]
        output = "logits" if name == "router" else "embedding"
        inputs = {"inputs": (TensorProto.UINT8, ["B", 3, size, size])}
        save(
            name,
            [*flatten, node("MatMul", ["flat", "w"], [output])],
            inputs,
            output,
            w=linear(3 * size * size, width) / 1e4,
        )
    save(
        "ecg",
        [
            node("IsNaN", ["inputs"], ["absent"]),
            node("Where", ["absent", "zero", "inputs"], ["present"]),
            node("Flatten", ["present"], ["flat"]),
            node("MatMul", ["flat", "w"], ["embedding"]),
        ],
        {"inputs": (TensorProto.FLOAT, ["B", 12, round(rate_hz * seconds)])},
        "embedding",
        w=linear(12 * round(rate_hz * seconds), dim),
        zero=np.float32(0),
    )
    specs = {name: InputSpec("image", size=size, max_parts=4) for name in ("xray", "ct", "retina", "pathology")}
    specs["ct"] = InputSpec("image", size=size, max_parts=4, windows=((-600.0, 1500.0), (40.0, 400.0), (500.0, 2000.0)))
    specs["ecg"] = InputSpec("signal", rate_hz=rate_hz, seconds=seconds, max_parts=4)
    description = {
        "format": 1,
        "preprocessing": 1,
        "name": "tiny",
        "dim": dim,
        "text": {"file": "text.onnx", "weights": ["text.safetensors"], "max_tokens": 8, "vocabulary": len(words)},
        "modalities": {name: {"file": f"{name}.onnx", "input": describe_input(spec)} for name, spec in specs.items()},
        "router": {"file": "router.onnx", "size": size, "modalities": ["xray", "ct", "retina", "pathology"]},
    }
    (folder / "bundle.json").write_text(json.dumps(description))
    seal(folder)
