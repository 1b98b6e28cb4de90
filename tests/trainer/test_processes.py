"""Training shared by two processes under torchrun is the training of one with the same batches."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

STEPS = 20

RUN = """
import json, sys
from pathlib import Path
from m3search.trainer import loop, parallel
from m3search.trainer.config import load_config
from m3search.trainer.train import prepare, run_stages

losses = {}
loop.LOG_EVERY = 1
loop._board = lambda *_: lambda name, value, step: losses.setdefault(name, []).append(value)
with parallel.processes():
    run_stages(prepare(load_config(Path(sys.argv[1])), lambda _: None))
    if parallel.is_first():
        Path(sys.argv[2]).write_text(json.dumps(losses))
"""


@pytest.fixture(scope="module")
def alone(toy: Path, warm_starts: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process, with its checkpoints and losses."""
    folder = prepared(toy, tmp_path_factory.mktemp("alone") / "one")
    losses_of(folder)
    return folder


def prepared(toy: Path, folder: Path) -> Path:
    """A folder to train in: of every stage STEPS steps, without dropout, whose masks each process draws for itself."""
    shutil.copytree(toy, folder)
    config = re.sub(r"steps = \d", f"steps = {STEPS}", (folder / "toy.toml").read_text())
    config = config.replace("batch = 3", "batch = 4").replace("lr = 1e-2", "lr = 1e-3\ndropout = 0.0")
    config = config.replace("frozen_blocks", "dropout = 0.0\nfrozen_blocks")
    (folder / "toy.toml").write_text(config)
    (folder / "run.py").write_text(RUN)
    return folder


def losses_of(folder: Path, *launcher: str) -> dict[str, list[float]]:
    """Every term of every step that is trained: finished stages are not."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *launcher, folder / "run.py", folder / "toy.toml", folder / "losses.json"]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "losses.json").read_text())


@pytest.mark.parametrize("stage", ["pretrain-xray", "bind"])
def test_two_processes_train_as_one(alone: Path, tmp_path: Path, stage: str) -> None:
    """Of each stage by itself, from the checkpoints of those before: rounding grows from stage to stage."""
    folder = Path(shutil.copytree(alone, tmp_path / "two"))
    for checkpoint in (folder / "cache" / "runs" / "toy").glob(f"{stage}-*.pt"):
        checkpoint.unlink()
    together = losses_of(folder, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    expected = json.loads((alone / "losses.json").read_text())
    assert {name.partition("/")[0] for name in together} == {stage}
    for name, values in together.items():
        assert len(values) == STEPS
        assert values == pytest.approx(expected[name], abs=1e-5), name
