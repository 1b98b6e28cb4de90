"""Is the part that is shown the one with the finding?

    python -m benchmarks.places [--bundle NAME] [--items N] [--json]

Phantoms with a finding in a known place: a normal CT of which three neighbouring slices are replaced by those of the
same body with the finding, where it is largest; a slide of normal glands of which one tile is another tissue. The
finding's name is the query; the part nearest to it is what the engine shows. Beside the share of items with the right
part stands what choosing at random would reach.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from m3search.encoders import DEFAULT_ENCODER, load_encoder
from m3search.encoders.base import Encoder
from m3search.phantoms import ct, pathology
from m3search.phantoms.findings import Finding
from m3search.search.calibrate import Calibration
from m3search.search.compose import compose_texts
from m3search.types import Item, Part, Source

CT_FINDINGS = {  # by what else is normal
    "intracranial haemorrhage": "normal head",
    "pleural effusion": "normal chest",
    "lung nodule": "normal chest",
}
TISSUES = {"tumour": "colorectal adenocarcinoma", "adipose": "adipose tissue", "lymphocytes": "lymphocytes"}
SLICES, INSERTED, TILES = 20, 3, 12


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    query: str
    items: int
    right: float  # share of items
    chance: float


def measure(encoder: Encoder, items: int) -> list[Row]:
    """Every finding of the modalities that the encoder has."""
    rows = []
    for kind, normal in CT_FINDINGS.items() if "ct" in encoder.inputs else ():
        made = (series(kind, normal, seed) for seed in range(items))
        rows.append(Row(kind, items, _right(encoder, kind, made), INSERTED / SLICES))
    for kind, query in TISSUES.items() if "pathology" in encoder.inputs else ():
        made = (slide(kind, seed) for seed in range(items))
        rows.append(Row(query, items, _right(encoder, query, made), 1 / TILES))
    return rows


def series(kind: str, normal: str, seed: int) -> tuple[Item, frozenset[int]]:
    """A CT, and which of its slices show the finding."""
    finding = Finding(kind, side="left" if seed % 2 else "right", extent="large", place="lower")
    ill = ct.render(np.random.default_rng(seed), (finding,), slices=SLICES)
    well = ct.render(np.random.default_rng(seed), (Finding(normal),), slices=SLICES)
    changed = np.abs(ill.hu.astype(np.int32) - well.hu) > 4 * ct.NOISE_HU[ill.region]
    centre = int(np.clip(changed.sum(axis=(1, 2)).argmax(), 1, SLICES - 2))
    places = frozenset(range(centre - 1, centre + INSERTED - 1))
    parts = tuple(
        Part(f"slice={row}", (ill if row in places else well).hu[row].astype(np.float32), spacing_mm=ill.spacing_mm[1])
        for row in range(SLICES)
    )
    return Item(Source("ct", "dicom", ()), parts), places


def slide(kind: str, seed: int) -> tuple[Item, frozenset[int]]:
    """A slide as tiles, and which of them is of the other tissue."""
    rng = np.random.default_rng(seed)
    place = int(rng.integers(TILES))
    kinds = ["normal glands"] * TILES
    kinds[place] = kind
    parts = tuple(
        Part(f"tile={row}", pathology.render(rng, (Finding(name),)), spacing_mm=0.0007)
        for row, name in enumerate(kinds)
    )
    return Item(Source("pathology", "slide", ()), parts), frozenset({place})


def _right(encoder: Encoder, query: str, made: Iterator[tuple[Item, frozenset[int]]]) -> float:
    asked = compose_texts([query], encoder.encode_text, Calibration.of(encoder))[0].vector
    return float(np.mean([int((encoder.encode_item(item)[1] @ asked).argmax()) in places for item, places in made]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.places", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default=DEFAULT_ENCODER, help="bundle by name or folder")
    parser.add_argument("--items", type=int, default=10, help="phantoms per finding")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    rows = measure(load_encoder(options.bundle), options.items)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("| query | phantoms | right part | chance |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.query} | {row.items} | {row.right:.2f} | {row.chance:.2f} |")


if __name__ == "__main__":
    main()
