"""A bundle's networks in OpenVINO on the CPU: loaded when first used, never through torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from m3search.encoders.base import Encoder
from m3search.encoders.bundle import TEXT_INPUTS, Bundle, TowerFiles, user_folder
from m3search.encoders.routing import router_input
from m3search.encoders.text import TextTokenizer
from m3search.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from m3search.types import Batch, Float32, UInt8

Precision = Literal["auto", "f32", "bf16"]

IMAGE_BATCH = 8  # inputs per call of a tower: larger batches were no faster on 1 or 2 threads and need more memory
TEXT_BATCH = 32  # texts per call, of similar length, so that little is spent on padding


class BundleEncoder(Encoder):
    """The encoder of a bundle. Safe to use from several threads; one tower serves one of them at a time."""

    def __init__(
        self, bundle: Bundle, precision: Precision = "f32", threads: int | None = None, cache: bool = True
    ) -> None:
        """
        Args:
            precision: of the towers; texts are always float32. "auto" runs image towers in bfloat16 where the CPU
                computes it natively: twice as fast, but single vectors of m3bind-small then had a cosine of only 0.973
                to float32 (0.997 or more on average), and texts found images a little worse (mean AP 0.585 for 0.592),
                so that is not the default.
            threads: of one tower; None leaves it to OpenVINO, which takes all cores.
            cache: keep compiled towers in this user's cache, so that the next process starts faster.
        """
        self.bundle = bundle
        self.name = bundle.name
        self.fingerprint = bundle.fingerprint
        self.dim = bundle.dim
        self.inputs = bundle.inputs
        self._precision = precision
        self._threads = threads
        self._cache = cache
        self._networks: dict[str, Network] = {}  # by file
        self._loading = Lock()

    def guess_modality(self, image: UInt8) -> tuple[str, float]:
        """By the bundle's router: a small classifier over the image modalities. uint8 (H, W) or (H, W, 3).

        Raises:
            BundleError: the bundle has no router, so a raster's modality must be stated.
        """
        router = self.bundle.router
        if not router:
            raise BundleError(f"bundle {self.name} cannot tell what an image shows; state its modality (--modality)")
        files = TowerFiles(str(router["file"]), tuple(router.get("weights", ())))
        network = self._network(files, "f32", "logits")
        logits = network({"inputs": router_input(image, int(router["size"]))[None]})[0].astype(np.float64)
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return str(router["modalities"][best]), float(odds[best] / odds.sum())

    def calibration(self) -> Mapping[str, Any]:
        """See `Encoder`."""
        return self.bundle.calibration()

    def _embed_text(self, texts: Sequence[str]) -> Float32:
        network = self._network(self.bundle.text, "f32", "embedding")
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(texts), TEXT_BATCH):
            rows = by_length[start : start + TEXT_BATCH]
            tokens = dict(zip(TEXT_INPUTS, self._tokenizer([texts[row] for row in rows]), strict=True))
            vectors[rows] = network({name: tokens[name] for name in self.bundle.text_inputs})
        return vectors

    def _embed(self, batch: Batch) -> Float32:
        modality = batch.modality
        network = self._network(self.bundle.towers[modality], self._precision_of(modality), "embedding")
        vectors = np.empty((len(batch), self.dim), dtype=np.float32)
        for start in range(0, len(batch), IMAGE_BATCH):
            chunk = slice(start, start + IMAGE_BATCH)
            vectors[chunk] = network({"inputs": np.ascontiguousarray(batch.inputs[chunk])})
        return vectors

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        self.bundle.verify_files("tokenizer.json")
        bundle = self.bundle
        return TextTokenizer(bundle.path("tokenizer.json"), bundle.max_tokens, bundle.vocabulary, bundle.fixed_length)

    def _precision_of(self, modality: str) -> Literal["f32", "bf16"]:
        if self._precision != "auto":
            return self._precision
        native = self.inputs[modality].kind == "image" and "BF16" in cpu_capabilities()
        return "bf16" if native else "f32"

    def _network(self, files: TowerFiles, precision: Literal["f32", "bf16"], output: str) -> Network:
        """By file: modalities that share a tower share its memory."""
        with self._loading:
            if files.file not in self._networks:
                self.bundle.verify_files(files.file, *files.weights)
                graph = self.bundle.path(files.file)
                cache = _cache_folder(self.fingerprint) if self._cache else None
                self._networks[files.file] = Network(graph, precision, output, self._threads, cache)
            return self._networks[files.file]


class Network:
    """One compiled graph with one named output."""

    def __init__(
        self, graph: Path, precision: Literal["f32", "bf16"], output: str, threads: int | None, cache: Path | None
    ) -> None:
        """
        Raises:
            BundleError: OpenVINO cannot run the graph.
        """
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            # Else activations before 8-bit weights are cut to 8 bits too: cosine 0.9998 to torch instead of 1.0000.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        if cache is not None:
            settings["CACHE_DIR"] = str(cache)
        try:
            compiled = _core().compile_model(str(graph), "CPU", settings)
            self._output = compiled.output(output)
        except RuntimeError as error:
            raise BundleError(f"{graph} cannot be run by OpenVINO: {str(error).strip().splitlines()[-1]}") from error
        self._request = compiled.create_infer_request()
        self._busy = Lock()

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Float32:
        """float32, a copy; the first axis is the batch."""
        with self._busy:
            self._request.infer(dict(inputs))
            result: Float32 = np.array(self._request.get_tensor(self._output).data, dtype=np.float32)
        return result


def import_openvino() -> Any:
    """The openvino module, imported so that it sends nothing.

    Its `__init__` imports the model converter, and that reports to Google Analytics and writes a client id into the
    home folder. The converter is optional there (`except ImportError: pass`) and not needed here, so it is kept out
    while openvino is imported; that also halves the time.
    """
    converter = "openvino.tools.ovc"
    if "openvino" not in sys.modules:
        sys.modules[converter] = None  # type: ignore[assignment]  # makes importing it an ImportError
        try:
            import openvino  # noqa: F401
        finally:
            del sys.modules[converter]
    return sys.modules["openvino"]


def cpu_capabilities() -> tuple[str, ...]:
    """What OpenVINO finds this CPU computes natively: "FP32", "INT8", "BF16", ..."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


_core_of_this_process: Any = None


def _core() -> Any:
    global _core_of_this_process  # noqa: PLW0603  # one per process: it owns OpenVINO's plug-ins
    if _core_of_this_process is None:
        _core_of_this_process = import_openvino().Core()
    return _core_of_this_process


def _cache_folder(fingerprint: str) -> Path | None:
    """Where compiled graphs of one bundle are kept, None where nothing can be written.

    OpenVINO recognises a graph by path, size and time of the .onnx alone; a folder per fingerprint keeps new weights
    under an old graph from being missed.
    """
    folder = user_folder("cache") / "openvino" / fingerprint[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
