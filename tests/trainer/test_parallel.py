"""Chunks and processes change memory and speed, not gradients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from m3search.errors import TrainingError
from m3search.trainer import losses, parallel

TWO_PROCESSES = """
import torch
from m3search.trainer import losses, parallel
from tests_parallel_case import gradients

with parallel.processes():
    found = gradients()
    if parallel.is_first():
        torch.save(found, "gradients.pt")
"""

CASE = """
import torch
from torch import nn
from m3search.trainer import losses, parallel

def gradients():
    torch.manual_seed(0)
    model = nn.ModuleDict({"tower": nn.Linear(6, 4), "text": nn.Linear(5, 4)})
    inputs, words = torch.randn(8, 6), torch.randn(8, 5)
    items = parallel.embed(model["tower"], inputs, chunk=3)
    loss = losses.info_nce(items, model["text"](words), 5.0)
    loss.backward()
    parallel.average_gradients(model)
    return {name: p.grad for name, p in model.named_parameters()} | {"loss": loss.detach()}
"""


def tower() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))


def gradients_in_chunks(chunk: int) -> list[torch.Tensor]:
    network = tower()
    inputs = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    texts = torch.randn(10, 4, generator=torch.Generator().manual_seed(2))
    network.eval()
    losses.info_nce(parallel.embed(network, inputs, chunk), texts, 5.0).backward()
    return [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("chunk", [1, 3, 10, 100])
def test_chunks_give_the_gradients_of_the_whole_batch(chunk: int) -> None:
    for got, expected in zip(gradients_in_chunks(chunk), gradients_in_chunks(0), strict=True):
        torch.testing.assert_close(got, expected)


def test_a_chunk_is_recomputed_with_the_dropout_it_had() -> None:
    network, inputs = tower().train(), torch.randn(8, 6)
    seen: list[torch.Tensor] = []
    network[2].register_forward_hook(lambda _m, _i, output: seen.append(output.detach().clone()))
    parallel.embed(network, inputs, chunk=4).sum().backward()
    first, again = seen[:2], seen[2:]
    assert len(again) == 2
    assert sorted(float(x.sum()) for x in first) == pytest.approx(sorted(float(x.sum()) for x in again))


def test_activations_of_one_chunk_at_a_time_are_held() -> None:
    """Tensors saved for the backward pass: with chunks only the inputs, not what the layers made of them."""
    network, inputs = tower(), torch.randn(64, 6)

    def saved(chunk: int) -> int:
        count = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel() if tensor.shape[:1] != () and not isinstance(tensor, nn.Parameter) else 0
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            parallel.embed(network, inputs, chunk)
        return count

    assert saved(8) < saved(0) / 2


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    (tmp_path / "tests_parallel_case.py").write_text(CASE)
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    workers = [
        subprocess.Popen(
            [sys.executable, "two.py"], cwd=tmp_path, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    assert [worker.wait(100) for worker in workers] == [0, 0]
    together = torch.load(tmp_path / "gradients.pt")
    namespace: dict[str, object] = {}
    exec(CASE, namespace)
    alone = namespace["gradients"]()  # type: ignore[operator]
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, msg=name)


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world", lambda: 2)
    with pytest.raises(TrainingError, match="a batch of 7 cannot be divided among 2 processes"):
        parallel.embed(nn.Linear(3, 2), torch.zeros(7, 3))
