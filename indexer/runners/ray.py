"""Reading and embedding on the nodes of a Ray cluster, that see the archive under the same path.

Each file is read by a task, in a guarded process as on one machine (`process.Worker`), so that limits and failures are
the same. Batches go to actors that hold the encoder. Ray repeats what was lost with a worker or a node; the run, which
alone writes, takes each answer once. Ray core suffices for that: the run is no chain of transformations of a data set,
and its shards are committed here, so Ray Data would only stand between.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from m3search.encoders.base import Encoder
from m3search.errors import ClusterUnreachable, MissingExtra, Reason, UnreadableFile
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.base import AHEAD, IndexRunner, Task
from m3search.indexer.runners.cluster import SHARE, Cluster, Share
from m3search.indexer.runners.process import Usage, Worker
from m3search.types import Batch

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import UInt8

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 5  # of a task whose worker or node is gone, by Ray
RESTARTS = 20  # of an actor, by Ray, on whatever node has room
BATCHES = 2  # in flight per encoder
WAIT_S = 1.0  # between two looks at the clock


class RayRunner(IndexRunner):
    """Tasks and actors of one run, in a share of the cluster that the loss of a node leaves standing."""

    def __init__(self, cluster: Cluster, allowance: Allowance, model: str) -> None:
        """
        Args:
            model: the encoder, by a name or folder that every node knows.
        """
        self._cluster = cluster
        self._allowance = allowance
        self._model = model
        self.usage = Usage()
        self._aside = ExitStack()
        self._own = False  # whether Ray was connected to here
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            MissingExtra: Ray is not installed.
            ClusterUnreachable: nothing answers there.
        """
        ray = _ray()
        self._aside.enter_context(redirect_stdout(sys.stderr))  # Ray prints what befalls its workers
        self._own = not ray.is_initialized()
        if self._own:
            _connect(self._cluster.address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._share = Share.of([node.get("CPU", 0.0) for node in nodes], sum(node.get("GPU", 0.0) for node in nodes))
        self.in_flight = BATCHES * self._share.encoders
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            _ray().shutdown()
        self._aside.close()

    def lend(self, encoder: Encoder) -> Encoder:
        """See `IndexRunner`: towers run in actors, all else here."""
        return _Lent(encoder, self._model, self._share, self._cluster.stalled_s)

    def _answers(
        self, call: Callable[..., R], tasks: Iterable[Task[T]], *, alone: bool
    ) -> Iterator[tuple[Task[T], R | UnreadableFile]]:
        ray = _ray()
        ask = ray.remote(_ask).options(num_cpus=SHARE, max_retries=RETRIES, scheduling_strategy="SPREAD")
        shared, allowance = ray.put(call), ray.put(self._allowance)
        most = 1 if alone else self._share.readers * AHEAD
        waiting, exhausted = iter(tasks), False
        flying: dict[Any, Task[T]] = {}
        last = time.monotonic()
        while flying or not exhausted:
            while not exhausted and len(flying) < most:
                if (task := next(waiting, None)) is None:
                    exhausted = True
                else:
                    flying[ask.remote(shared, task.path, task.arguments, allowance, alone)] = task
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=WAIT_S) if flying else ([], [])
            self._check_clock(last if not ready and flying else time.monotonic())
            for one in ready:
                task = flying.pop(one)
                yield task, self._result(one, task.path)
                last = time.monotonic()

    def _result(self, one: Any, path: Path) -> Any:
        ray = _ray()
        try:
            result, seconds, peak = ray.get(one)
        except ray.exceptions.RayError as error:
            reason = Reason.MEMORY if isinstance(error, ray.exceptions.OutOfMemoryError) else Reason.CRASHED
            message = f"was lost with its Ray worker {RETRIES} times; index it by itself, without --runner ray"
            return UnreadableFile(path, reason, message)
        self.usage.note(result, seconds, peak)
        return result

    def _check_clock(self, last: float) -> None:
        """Raises ClusterUnreachable where no answer came for too long, or the run takes too long."""
        now = time.monotonic()
        if now - last > self._cluster.stalled_s:
            alive = sum(node["Alive"] for node in _ray().nodes())
            raise ClusterUnreachable(
                f"no answer from Ray for {self._cluster.stalled_s:g} seconds, with {alive} nodes alive; "
                f'see "ray status". What was stored stays, run again to continue'
            )
        if self._cluster.job_s is not None and now - self._started > self._cluster.job_s:
            raise ClusterUnreachable(
                f"the run was given {self._cluster.job_s:g} seconds, which are over. What was stored stays, "
                f"run again to continue"
            )


class _Lent(Encoder):
    """An encoder whose towers run in actors. Texts, which are few, and guesses stay with the one that is lent."""

    def __init__(self, encoder: Encoder, model: str, share: Share, patience_s: float) -> None:
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.dim, self.inputs = encoder.dim, encoder.inputs
        self._here = encoder
        self._patience_s = patience_s
        options = {"num_cpus": SHARE, "num_gpus": share.gpus, "max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        towers = _ray().remote(_Towers).options(scheduling_strategy="SPREAD", **options)
        self._actors = [towers.remote(model, encoder.fingerprint) for _ in range(share.encoders)]
        self._busy: Counter[int] = Counter()
        self._lock = threading.Lock()

    def _embed_text(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        return self._here.encode_text(texts)

    def guess_modality(self, image: UInt8) -> tuple[str, float]:
        return self._here.guess_modality(image)

    def _embed(self, batch: Batch) -> npt.NDArray[Any]:
        ray = _ray()
        with self._lock:
            number = min(range(len(self._actors)), key=lambda one: (self._busy[one], one))
            self._busy[number] += 1
        try:
            found: npt.NDArray[Any] = ray.get(
                self._actors[number].encode.remote(batch.modality, batch.inputs), timeout=self._patience_s
            )
        except ray.exceptions.RayError as error:
            raise ClusterUnreachable(
                f"the encoder does not answer on the cluster: {_reason(error)}. What was stored stays, "
                f"run again to continue"
            ) from error
        else:
            return found
        finally:
            with self._lock:
                self._busy[number] -= 1


# On the nodes -------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class _Here:
    """The guarded process of a Ray worker, kept for its next task."""

    worker: Worker | None = None


_here = _Here()


def _ask(
    call: Callable[..., Any], path: Path, arguments: tuple[Any, ...], allowance: Allowance, alone: bool
) -> tuple[Any, float, int]:
    """The call's result or an UnreadableFile, its seconds, and the peak memory of its process in bytes."""
    if _here.worker is None:
        _here.worker = Worker(Usage())
    memory = allowance.whole() if alone else allowance.share(os.cpu_count() or 1)
    usage = _here.worker.usage = Usage()
    result = _here.worker.ask(call, path, arguments, allowance.seconds, memory)
    return result, usage.longest_s, usage.peak_bytes


class _Towers:
    """An actor that holds an encoder."""

    def __init__(self, model: str, fingerprint: str) -> None:
        from m3search.encoders import load_encoder

        self._encoder = load_encoder(model)
        if self._encoder.fingerprint != fingerprint:
            raise ValueError(f"this node's {self._encoder.name} is another one than the index's")

    def encode(self, modality: str, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Float32 (B, D), unit length."""
        return self._encoder.encode(Batch(modality, inputs))


# Ray ----------------------------------------------------------------------------------------------------------------
def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("Ray is not installed: pip install 'm3search[cluster]', on every node") from error
    return ray


def _connect(address: str) -> None:
    """Raises ClusterUnreachable."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address or os.environ.get("RAY_ADDRESS"):
        how["address"] = address or None
    else:  # of this machine alone: nothing listens on the network
        how |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        with warnings.catch_warnings():  # lancedb warns of any fork; Ray's are followed by another program at once
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            _ray().init(**how)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterUnreachable(f"no Ray cluster answers at {address or 'this machine'}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
