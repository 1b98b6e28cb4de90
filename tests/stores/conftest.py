"""A small index without an encoder: 12 items of 4 patients, some with parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3search.privacy import Pseudonyms
from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.place import ObjectPath, Place, place_of

DIM = 8
IDS = [f"item-{number:02}" for number in range(12)]


def unit(seed: int) -> Any:
    """(DIM,), unit length."""
    vector = np.random.default_rng(seed).normal(size=DIM)
    return vector / np.linalg.norm(vector)


def files_of(place: Place) -> dict[str, bytes]:
    """What lies below a place."""
    if isinstance(place, ObjectPath):
        return {name: (place / name).read_bytes() for name, _, _ in place.files()}
    return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}


def unfinished_segment(index: IndexFolder, name: str) -> None:
    """What a killed build leaves."""
    if isinstance(folder := index.segment / name, Path):
        folder.mkdir()
    (folder / "items.arrow").write_bytes(b"")


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.cluster)])
def chest(request: pytest.FixtureRequest, tmp_path: Path) -> IndexFolder:
    """Items 0, 4 and 8 are patient P-ANNA-0's, and so on; every third item has two parts. A segment is published."""
    place = place_of(request.getfixturevalue("on_s3")) if request.param == "s3" else tmp_path
    index = IndexFolder.create(place / "chest", Manifest(encoder="fake", fingerprint="f0" * 32, dim=DIM))
    key = Pseudonyms.load(index.key_file)
    items = [
        {
            "item_id": item_id,
            "modality": "xray" if number % 3 else "ct",
            "vector": unit(number),
            "uri": f"{number}.dcm",
            "text": f"zebra{number}",
            "text_vector": None if number % 2 else unit(number),
            "thumbnail": f"picture of {item_id}".encode(),
            "parts": 1 if number % 3 else 2,
            "patient_key": key.of(f"P-ANNA-{number % 4}"),
            "series_key": key.of(f"series {number}"),
        }
        for number, item_id in enumerate(IDS)
    ]
    parts = [
        {"part_id": f"{item_id}/{place}", "item_id": item_id, "index": place, "vector": unit(100 + place)}
        for item_id in IDS[::3]
        for place in range(2)
    ]
    record = index.record()
    record.write(items[:6], [part for part in parts if part["item_id"] in IDS[:6]])
    record.write(items[6:], [part for part in parts if part["item_id"] in IDS[6:]])
    index.reader().publish()
    return index
