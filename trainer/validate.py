"""Retrieval on held-out items: the figures a run reports while it trains, by the protocols of `m3search.evaluation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.encoders.base import normalise
from m3search.evaluation import Label, LabelledItems, image_to_image, text_to_image
from m3search.evaluation.figures import Part, figure_of, stratify

if TYPE_CHECKING:
    from m3search.datasets import Inputs, Row
    from m3search.types import Float32


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean average precision on one modality's held-out items, and what a random order reaches."""

    items: int
    labels: int  # that were asked for
    text_to_image: float  # label names as queries, items of all modalities as the gallery
    text_to_image_within: float  # the same, gallery of this modality only
    text_chance: float
    image_to_image: float  # within the modality, the query's own group left out; relevant is what shares a label
    image_chance: float


def item_vectors(inputs: Inputs, embed: Callable[[np.ndarray], Float32], batch: int = 32) -> Float32:
    """(R, D) unit vectors: the mean of each item's part vectors."""
    parts = np.concatenate([normalise(embed(inputs.parts[i : i + batch])) for i in range(0, len(inputs.parts), batch)])
    return normalise(np.add.reduceat(parts, inputs.first[:-1], axis=0))


def evaluate(
    rows: Mapping[str, Sequence[Row]], vectors: Mapping[str, Float32], names: Mapping[str, Float32]
) -> tuple[dict[str, Figures], dict[str, tuple[Part, ...]]]:
    """Figures per modality, and what those within the modality are computed from: text to image, image to image.

    Args:
        rows: held-out items by modality.
        vectors: their unit vectors, (R, D).
        names: unit vector (D,) of each label's name.
    """
    items = labelled(rows, vectors)

    def encode(texts: Sequence[str]) -> Float32:
        return np.stack([names[text] for text in texts])

    scored = (text_to_image(items, encode, "all"), text_to_image(items, encode, "modality"), image_to_image(items))
    whole, within, images = (
        {name: Part.of(scores) for name, scores in stratify(question).items()} for question in scored
    )
    asked = [modality for modality in vectors if modality in whole and modality in images]
    figures = {
        modality: Figures(
            items=len(rows[modality]),
            labels=whole[modality].queries,
            text_to_image=figure_of([whole[modality]]).value,
            text_to_image_within=figure_of([within[modality]]).value,
            text_chance=whole[modality].chance,
            image_to_image=figure_of([images[modality]]).value,
            image_chance=images[modality].chance,
        )
        for modality in asked
    }
    return figures, {modality: (within[modality], images[modality]) for modality in asked}


def labelled(rows: Mapping[str, Sequence[Row]], vectors: Mapping[str, Float32]) -> LabelledItems:
    """Rows and their unit vectors (R, D), by modality, as the protocols take them."""
    labels = [
        Label(str(row.path), row.modality, frozenset(row.labels), row.text, row.group, row.source)
        for modality in vectors
        for row in rows[modality]
    ]
    return LabelledItems(tuple(labels), np.concatenate(list(vectors.values())))


def table(figures: Mapping[str, Figures]) -> str:
    """Figures as lines for a terminal."""
    lines = ["  modality   items  text→image   within  (chance)   image→image (chance)"]
    lines += [
        f"  {name:10s} {f.items:5d}  {f.text_to_image:10.3f} {f.text_to_image_within:8.3f} {f.text_chance:9.3f} "
        f"{f.image_to_image:12.3f} {f.image_chance:8.3f}"
        for name, f in figures.items()
    ]
    return "\n".join(lines)


def as_dict(figures: Mapping[str, Figures]) -> dict[str, dict[str, Any]]:
    """Figures as they stand in bundle.json."""
    return {name: {k: round(v, 4) for k, v in asdict(f).items()} for name, f in figures.items()}
