"""The OpenVINO runtime: right numbers, loaded lazily, nothing sent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from m3search.encoders.base import normalise
from m3search.encoders.bundle import Bundle, seal
from m3search.encoders.routing import router_input
from m3search.encoders.runtime import BundleEncoder
from m3search.errors import BundleError
from m3search.types import Batch


@pytest.fixture
def encoder(tiny_bundle: Path) -> BundleEncoder:
    return BundleEncoder(Bundle.open(tiny_bundle), precision="f32", threads=1)


def weights_of(folder: Path, network: str) -> dict[str, np.ndarray]:
    model = onnx.load(folder / f"{network}.onnx")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_image_tower_computes_what_the_graph_says(encoder: BundleEncoder) -> None:
    images = np.random.RandomState(0).randint(0, 256, (19, 3, 32, 32)).astype(np.uint8)
    expected = normalise(images.reshape(19, -1).astype(np.float64) @ weights_of(encoder.bundle.folder, "ct")["w"])
    np.testing.assert_allclose(encoder.encode(Batch("ct", images)), expected, atol=1e-4)


def test_text_order_is_kept_whatever_the_lengths(encoder: BundleEncoder) -> None:
    table = weights_of(encoder.bundle.folder, "text")["table"]
    texts = ["chest x-ray of pneumonia", "ecg", "normal tissue", "ct"] * 20
    ids = [[2, 3, 4, 5], [6], [7, 8], [9]] * 20
    expected = normalise(np.stack([table[row].sum(axis=0) for row in ids]))
    np.testing.assert_allclose(encoder.encode_text(texts), expected, atol=1e-5)


def test_missing_leads_reach_the_network_as_nan(encoder: BundleEncoder) -> None:
    signals = np.random.RandomState(0).standard_normal((2, 12, 100)).astype(np.float32)
    zeroed = signals.copy()
    zeroed[:, 5], signals[:, 5] = 0, np.nan
    np.testing.assert_array_equal(encoder.encode(Batch("ecg", signals)), encoder.encode(Batch("ecg", zeroed)))


def test_towers_load_when_first_used(encoder: BundleEncoder) -> None:
    assert not encoder._networks
    encoder.encode_text(["chest"])
    assert list(encoder._networks) == ["text.onnx"]


def test_bfloat16_is_close_to_float32(tiny_bundle: Path, encoder: BundleEncoder) -> None:
    images = np.random.RandomState(0).randint(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    half = BundleEncoder(Bundle.open(tiny_bundle), precision="bf16").encode(Batch("xray", images))
    assert (half * encoder.encode(Batch("xray", images))).sum(axis=1).min() > 0.999


def test_several_threads_may_share_an_encoder(encoder: BundleEncoder) -> None:
    images = np.random.RandomState(0).randint(0, 256, (24, 3, 32, 32)).astype(np.uint8)
    expected = encoder.encode(Batch("xray", images))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda row: encoder.encode(Batch("xray", images[row : row + 1])), range(24)))
    np.testing.assert_allclose(np.concatenate(results), expected, atol=1e-5)


def test_graph_that_cannot_run_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    (folder / "retina.onnx").write_bytes(b"not a graph")
    seal(folder)
    images = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    with pytest.raises(BundleError, match=r"retina\.onnx cannot be run by OpenVINO"):
        BundleEncoder(Bundle.open(folder)).encode(Batch("retina", images))


def test_unwritable_cache_does_no_harm(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert BundleEncoder(Bundle.open(tiny_bundle)).encode_text(["chest"]).shape == (1, 16)


def test_guess_is_the_routers(encoder: BundleEncoder) -> None:
    image = np.random.RandomState(3).randint(0, 256, (40, 64, 3)).astype(np.uint8)
    logits = (
        router_input(image, 32).reshape(1, -1).astype(np.float64) @ weights_of(encoder.bundle.folder, "router")["w"]
    )
    odds = np.exp(logits[0]) / np.exp(logits[0]).sum()
    modality, confidence = encoder.guess_modality(image)
    assert modality == ["xray", "ct", "retina", "pathology"][int(odds.argmax())]
    assert confidence == pytest.approx(odds.max(), abs=1e-4)


def test_router_sees_the_whole_image_undistorted() -> None:
    wide = np.full((50, 100), 200, dtype=np.uint8)
    square = router_input(wide, 32)
    assert square.shape == (3, 32, 32)
    assert (square[:, 8:24] == 200).all()
    assert (square[:, :8] == 0).all()
    assert (square[:, 24:] == 0).all()


WITHOUT_NETWORK = """
import os, socket, sys
def refuse(*args, **kwargs): raise SystemExit("something opened a connection")
socket.socket.connect = socket.create_connection = refuse
from m3search.encoders import load_encoder
vectors = load_encoder(sys.argv[1]).encode_text(["chest x-ray"])
assert vectors.shape == (1, 16)
loaded = set(sys.modules)
assert "openvino" in loaded
print(sorted(loaded & {"torch", "onnx", "onnxruntime", "transformers", "openvino_telemetry", "openvino.tools.ovc"}))
print(sorted(path.name for path in __import__("pathlib").Path(os.environ["HOME"]).iterdir()))
"""


def test_text_query_loads_no_torch_and_reports_to_nobody(tiny_bundle: Path, tmp_path: Path) -> None:
    """OpenVINO's own import would report to Google Analytics and leave a client id in the home folder."""
    environment = {"HOME": str(tmp_path), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, str(tiny_bundle)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["[]", "['.cache']"]
