"""Towers to ONNX graphs whose weights lie once in `.safetensors` files, checked against torch.

A safetensors file is a JSON header followed by raw little-endian tensors, and an ONNX tensor may be "external data" at
an offset of any file beside the graph: so one copy of the weights serves OpenVINO, ONNX Runtime (through the graph) and
torch (by name). Weights are stored in one of three precisions:

    int8  matrices and pointwise convolutions as int8 rows with one scale each; all else that is large as float16
    fp16  matrices as float16; vectors (norms, biases), and what float16 cannot hold, as float32
    fp32  as they are

The graphs turn all of it into float32 before use, so every runtime computes with the same numbers.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from m3search.encoders.base import normalise
from m3search.errors import TrainingError

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

Precision = Literal["int8", "fp16", "fp32"]

LEAST_COSINE = 0.9999  # between the exported graph and torch with the same rounded weights
INLINE_ELEMENTS = 64  # smaller tensors stay in the graph, float32
INT8_ROW = 64  # rows at least this long are kept in 8 bits: one scale for fewer numbers saves little
OPSET = 18
OUTPUT = "m3_output"  # a name that no operator's value has; renamed afterwards
ROWS, SCALES = ".int8", ".scale"  # suffixes of a matrix kept as int8 rows
LENGTHS = (1, 4096)  # of texts in tokens, where nothing else is said
LARGEST_HALF = float(np.finfo(np.float16).max)


class Place(NamedTuple):
    """Where a tensor lies in a safetensors file."""

    offset: int  # bytes from the file's beginning
    length: int  # bytes
    dtype: str  # in safetensors' words: "I8", "F16", "F32"


def export_network(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    file: Path,
    weights: Path,
    precision: Precision = "int8",
    lengths: tuple[int, int] = LENGTHS,
) -> None:
    """Graph and weights of one network, whose weights are rounded in place to what is stored.

    Args:
        inputs: an example, by the graph's input names; the first axis is a batch, of at least two.
        lengths: least and most tokens of a text; the same twice where all texts have one length.

    Raises:
        TrainingError: the graph does not compute what the network does.
    """
    network.eval().requires_grad_(False)
    packed = pack(network.state_dict(), precision)
    save_file(packed, weights)
    weights.chmod(0o644)  # safetensors makes its files private
    network.load_state_dict(unpack(packed), strict=False)
    export_graph(network, inputs, file, weights, lengths=lengths)


def export_graph(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    file: Path,
    weights: Path,
    output: str = "embedding",
    *,
    prefix: str = "",
    lengths: tuple[int, int] = LENGTHS,
) -> None:
    """The graph of a network whose weights lie in `weights` already, checked against torch. See `export_network`."""
    import onnx

    texts = {"input_ids", "attention_mask"} if lengths[0] < lengths[1] else set()
    free = [{0: (1, 4096), 1: lengths} if name in texts else {0: (1, 4096)} for name in inputs]
    model = graph(network, inputs, free, output)
    share_weights(model, weights, prefix)
    onnx.save(model, file)
    with torch.no_grad():
        expected = network(*inputs.values()).numpy()
    cosine = parity(file, {name: tensor.numpy() for name, tensor in inputs.items()}, expected)
    if not cosine >= LEAST_COSINE:  # NaN is no agreement either
        raise TrainingError(f"{file.name} does not compute what the network does: cosine {cosine:.5f} to torch")


def parity(file: Path, inputs: Mapping[str, npt.NDArray[Any]], expected: npt.NDArray[Any]) -> float:
    """Least cosine between the graph's output in ONNX Runtime and what torch gave for the same inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    got = session.run(None, dict(inputs))[0]
    return float((normalise(got) * normalise(expected)).sum(1).min())


def quantise_rows(matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """float32 (R, ...) to int8 (R, ...) and float16 scales (R, 1, ...), symmetric: `matrix ~ rows * scales`."""
    scales = (np.abs(matrix).max(axis=tuple(range(1, matrix.ndim)), keepdims=True) / 127.0).astype(np.float16)
    step = np.where(scales == 0, 1, scales).astype(np.float32)
    return np.clip(np.rint(matrix / step), -127, 127).astype(np.int8), scales


def pack(state: Mapping[str, torch.Tensor], precision: Precision = "int8") -> dict[str, npt.NDArray[Any]]:
    """What goes into the safetensors file: see the top of this module. What is tiny is always float32."""
    packed: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        array = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
        if array.size < INLINE_ELEMENTS or precision == "fp32":
            packed[name] = array
        elif precision == "fp16":
            fits = array.ndim >= 2 and np.abs(array).max() <= LARGEST_HALF
            packed[name] = array.astype(np.float16) if fits else array
        elif array.ndim >= 2 and array[0].size >= INT8_ROW:
            packed[name + ROWS], packed[name + SCALES] = quantise_rows(array)
        else:
            packed[name] = array.astype(np.float16)
    return packed


def unpack(packed: Mapping[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
    """The float32 tensors that `pack` stands for, by their torch names."""
    state: dict[str, torch.Tensor] = {}
    for name, array in packed.items():
        if name.endswith(ROWS):
            scale = packed[name.removesuffix(ROWS) + SCALES]
            state[name.removesuffix(ROWS)] = torch.from_numpy(array.astype(np.float32) * scale.astype(np.float32))
        elif not name.endswith(SCALES):
            state[name] = torch.from_numpy(array.astype(np.float32))
    return state


def places(path: Path) -> dict[str, Place]:
    """Where each tensor of a safetensors file lies."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    start = 8 + length
    return {
        name: Place(
            start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0], entry["dtype"]
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def graph(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    free: Sequence[Mapping[int, tuple[int, int]]],
    output: str,
) -> onnx.ModelProto:
    """The network as an ONNX model with float32 weights inside. `free`: the range of each free axis of each input."""
    names = ("batch", "length")
    shapes = tuple(
        {axis: torch.export.Dim(names[axis], min=least, max=most) for axis, (least, most) in axes.items()}
        for axes in free
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    for node in model.graph.node:  # stack traces: most of the file, and paths of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    _rename(model, {output: output + ".inner", OUTPUT: output})
    return model


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Renames values of the graph, in place."""
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)


def _external(tensor: onnx.TensorProto, location: str, place: Place) -> None:
    """Points a tensor at bytes of another file."""
    import onnx

    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))


def _stored(name: str, shape: Sequence[int], dtype: int, location: str, place: Place) -> onnx.TensorProto:
    import onnx

    tensor = onnx.TensorProto(name=name, dims=list(shape), data_type=dtype)
    _external(tensor, location, place)
    return tensor


def share_weights(model: onnx.ModelProto, weights: Path, prefix: str = "") -> None:
    """Replaces, in place, every weight that `weights` holds by a reference into it and the arithmetic to float32.

    Args:
        model: a graph whose initializers carry torch's names.
        weights: the safetensors file; it must end up beside the graph.
        prefix: what torch's names in the graph have before the names in the file ("tower." for the router).
    """
    from onnx import TensorProto, helper

    held = places(weights)
    kept: list[onnx.TensorProto] = []
    stored: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(prefix)
        if int(np.prod(tensor.dims)) < INLINE_ELEMENTS:
            kept.append(tensor)
        elif name in held and held[name].dtype == "F32":
            stored.append(_stored(tensor.name, tensor.dims, TensorProto.FLOAT, weights.name, held[name]))
        elif name in held:
            stored.append(_stored(name + ".f16", tensor.dims, TensorProto.FLOAT16, weights.name, held[name]))
            nodes.append(helper.make_node("Cast", [name + ".f16"], [tensor.name], to=TensorProto.FLOAT))
        elif name + ROWS in held:
            rows, scale = name + ROWS, name + SCALES
            stored.append(_stored(rows, tensor.dims, TensorProto.INT8, weights.name, held[rows]))
            stored.append(
                _stored(
                    scale,
                    [tensor.dims[0]] + [1] * (len(tensor.dims) - 1),
                    TensorProto.FLOAT16,
                    weights.name,
                    held[scale],
                )
            )
            nodes += _dequantise(model, tensor.name, rows, scale)
        else:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept + stored)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + rest)


def _dequantise(model: onnx.ModelProto, name: str, rows: str, scale: str) -> list[onnx.NodeProto]:
    """Nodes that give the float32 matrix `name`. A matrix that is only looked up is multiplied after the look-up."""
    from onnx import TensorProto, helper

    users = [node for node in model.graph.node if name in node.input]
    if users and all(node.op_type == "Gather" and node.input[0] == name for node in users):
        for node in users:
            out, at = node.output[0], list(model.graph.node).index(node)
            picked, factor = f"{out}.rows", f"{out}.scales"
            new = [
                helper.make_node("Gather", [rows, node.input[1]], [picked], axis=0),
                helper.make_node("Gather", [scale, node.input[1]], [factor], axis=0),
                helper.make_node("Cast", [picked], [picked + ".f32"], to=TensorProto.FLOAT),
                helper.make_node("Cast", [factor], [factor + ".f32"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [picked + ".f32", factor + ".f32"], [out]),
            ]
            model.graph.node.remove(node)
            for i, node in enumerate(new):
                model.graph.node.insert(at + i, node)
        return []
    return [
        helper.make_node("Cast", [rows], [rows + ".f32"], to=TensorProto.FLOAT),
        helper.make_node("Cast", [scale], [scale + ".f32"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [rows + ".f32", scale + ".f32"], [name]),
    ]
