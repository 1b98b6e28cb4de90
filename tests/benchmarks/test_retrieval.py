"""The retrieval benchmark runs on any folder of manifests, without a trained bundle."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two modalities, two labels each: labels differ in brightness, and each group has two nearly equal pictures."""
    for modality, labels in (("retina", ("drusen", "normal eye")), ("pathology", ("tumour", "normal tissue"))):
        folder = tmp_path / "data" / modality
        folder.mkdir(parents=True)
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "modality", "group", "text", "labels", "source"])
            for number in range(80):
                label = labels[number % 4 // 2]
                random = np.random.RandomState(number // 2)
                level = 90 if label == labels[0] else 180
                pixels = random.randint(level - 60, level + 60, (16, 16, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
                Image.fromarray(pixels).save(folder / f"{number}.png")
                writer.writerow(
                    [f"{number}.png", modality, f"case {number // 2}", f"text {number}", label, "made here"]
                )
    return tmp_path / "data"


def test_prints_every_task_with_intervals_and_chance(data: Path, tmp_path: Path) -> None:
    command = ["--data", str(data), "--bundle", "fake", "--no-baseline", "--cache", str(tmp_path / "cache")]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", *command, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tables = json.loads(run.stdout)["encoders"]["fake"]["tables"]
    assert len(tables) == 6
    image = tables["image_to_image"]["figures"]
    assert set(image) == {"retina", "pathology", "mean"}
    easier = tables["legacy_case_left_in"]["figures"]
    assert easier["retina"]["items"] >= image["retina"]["items"]
    for figure in image.values():
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert 0.3 < figure["chance"] < 0.7
        assert figure["queries"] > 8
    # The fake encoder sees brightness: so the benchmark must see that it is better than chance.
    assert image["retina"]["value"] > image["retina"]["chance"] + 0.2
    assert set(tables["text_to_image_source"]["figures"]) == {"retina/made here", "pathology/made here"}

    table = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"{image['retina']['value']:.3f} [" in table.stdout
