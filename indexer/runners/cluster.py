"""What a cluster is asked for, and how much of it: plain values, so that nothing of Ray is imported for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 0.5  # of a CPU, for each reading task and each encoder: one reads while another embeds
GPU_SHARE = 0.25  # of a GPU, for each encoder


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster to read and embed on."""

    address: str = ""  # "host:6379"; "": what $RAY_ADDRESS says, else Ray is started on this machine for the run
    stalled_s: float = 900.0  # without any answer, after which the run gives up
    job_s: float | None = None  # the whole run; None: as long as it takes


@dataclass(frozen=True, slots=True)
class Share:
    """What a run uses of a cluster: never more than is left when its largest node is lost.

    A pool that fills every CPU waits for ever for the node that does not come back.
    """

    encoders: int  # actors
    readers: int  # tasks that run at a time
    gpus: float = 0.0  # of each encoder

    @classmethod
    def of(cls, cpus: Sequence[float], gpus: float = 0.0) -> Share:
        """From the CPUs of each node, and the GPUs of all: a GPU takes 1 / GPU_SHARE encoders."""
        left = sum(cpus) - (max(cpus) if len(cpus) > 1 else 0.0)
        slots = max(int(left / SHARE), 2)
        encoders = max(min(slots // 2, int(gpus / GPU_SHARE)), 1) if gpus else slots // 2
        return cls(encoders, slots - encoders, GPU_SHARE if gpus else 0.0)
