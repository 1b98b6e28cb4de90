"""The index from afar: items in the plane in which their vectors differ most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.stores import schema

if TYPE_CHECKING:
    from m3search.stores.reader import Reader
    from m3search.types import Float32


def projection(store: Reader, most: int) -> dict[str, Any]:
    """Principal components of at most so many items, evenly drawn; [-1, 1] on each axis."""
    rows = store.rows(store.spread(most), ["item_id", "modality", "vector"])
    plane, explained = _components(schema.matrix(rows["vector"]))
    points = [
        {"item_id": item_id, "modality": modality, "x": round(x, 4), "y": round(y, 4)}
        for item_id, modality, (x, y) in zip(
            rows["item_id"].to_pylist(), rows["modality"].to_pylist(), plane.tolist(), strict=True
        )
    ]
    return {"points": points, "explained": [round(share, 4) for share in explained], "items": store.count()}


def _components(vectors: Float32) -> tuple[Float32, list[float]]:
    """(N, 2) coordinates, and the share of the variance along each."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), dtype=np.float32), [0.0, 0.0]
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # the same side up, whatever LAPACK chose
    plane = centred @ axes
    plane = plane / np.maximum(np.abs(plane).max(axis=0), 1e-9)
    total = float(values.sum()) or 1.0
    return plane.astype(np.float32), [float(value) / total for value in values[::-1][:2]]
