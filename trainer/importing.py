"""`m3search model import`: an open_clip model to a bundle. One image tower serves all image modalities.

Nothing is trained and nothing is measured: the bundle computes what open_clip computes, which is checked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from m3search import modalities as known_modalities
from m3search.encoders.base import normalise
from m3search.encoders.bundle import (
    BUNDLE_FORMAT,
    PREPROCESSING,
    Bundle,
    describe_input,
    list_bundles,
    seal,
    user_folder,
)
from m3search.encoders.runtime import BundleEncoder
from m3search.errors import CheckpointError, M3SearchError, UsageError
from m3search.trainer.graph import LEAST_COSINE, Precision, export_network
from m3search.trainer.openclip import OpenClip, load_open_clip, short_name
from m3search.trainer.openclip_tokenizer import CHECK_TEXTS
from m3search.types import Batch, InputSpec

if TYPE_CHECKING:
    from m3search.types import Float32, UInt8

CHECK_IMAGES = 4
# What is read of an examination; the size is the model's own.
INPUTS = {
    "xray": InputSpec("image", max_parts=1),
    "ct": InputSpec("image", windows=((-500.0, 1500.0),), max_parts=16),
    "retina": InputSpec("image", max_parts=1),
    "pathology": InputSpec("image", max_parts=16, tile_mpp=0.5),
}

CARD = """# {name}

A single image tower and a text tower that embed into one space of {dim} dimensions, imported from `{source}` with
`m3search model import`. The same tower sees {modalities}, at {size} x {size} pixels.

**Not a medical device.** Not for diagnosis, triage or any decision about a patient. Ranked lists are suggestions of
where to look; they miss findings and show false ones.

## Licence of the weights
{licence}. m3search states what the checkpoint states; whoever uses or passes on the weights checks their terms.

## What was done
The weights were stored in {precision} and are otherwise as they were. When the bundle was made, its embeddings of
{texts} texts and {images} images had a cosine of at least {least} to open_clip's own.
m3search prepares images itself (windows, field of view, padding to a square), not as open_clip does.

## Figures
None were measured. How well this model finds anything in medical images is not known here; measure it on your own data.

## Limits
- No calibration: scores are not comparable between modalities, and a list over several of them is not fair.
- No router: whoever indexes images that do not say what they show (PNG, JPEG, TIFF) states their modality.
- It has no tower for ECGs.
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made."""

    name: str
    folder: Path
    fingerprint: str  # SHA-256, hex
    dim: int
    modalities: tuple[str, ...]
    licence: str
    text_cosine: float  # least cosine between the bundle's embeddings and open_clip's
    image_cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Inputs, and what open_clip itself makes of them before anything is changed."""

    images: UInt8  # (B, 3, S, S)
    image_vectors: Float32  # (B, D), unit length
    text_vectors: Float32  # (T, D), of CHECK_TEXTS


def import_model(
    source: str,
    out: Path | None = None,
    *,
    name: str = "",
    modalities: Sequence[str] = tuple(INPUTS),
    precision: Precision = "fp16",
    say: Callable[[str], None] = lambda _: None,
) -> Imported:
    """A bundle of an open_clip model, whole or not at all.

    Args:
        source: see `m3search.trainer.openclip`.
        out: the bundle's folder; by default one of the user's models, found by its name from then on.
        name: of the bundle; by default what the source is called.
        modalities: which the image tower is to serve.
        precision: of the stored weights, "fp16" or "fp32".

    Raises:
        CheckpointError: the source cannot be loaded, or the bundle does not compute what open_clip does.
        UsageError: modalities without images, or a name that is taken.
    """
    _check_modalities(modalities)
    name = name or (out.name if out else short_name(source))
    folder = _free_folder(out, name)
    say(f"loading {source}")
    model = load_open_clip(source)
    reference = _reference(model)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        say(f"writing the towers in {precision}")
        _write_towers(model, reference, partial, precision)
        _write_description(model, name, modalities, precision, partial)
        fingerprint = seal(partial)
        text_cosine, image_cosine = _agreement(partial, modalities, reference)
        for kind, cosine in (("text", text_cosine), ("image", image_cosine)):
            say(f"{kind} tower: cosine {cosine:.6f} to open_clip")
            if not cosine >= LEAST_COSINE:
                raise CheckpointError(_disagreement(source, kind, cosine, precision))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Imported(name, folder, fingerprint, model.dim, tuple(modalities), model.licence, text_cosine, image_cosine)


def _check_modalities(modalities: Sequence[str]) -> None:
    for modality in modalities:
        known_modalities.get(modality)
        if modality not in INPUTS:
            raise UsageError(f"an image tower cannot see {modality}; choose from {', '.join(INPUTS)}")
    if not modalities or len(set(modalities)) < len(modalities):
        raise UsageError(f"name each modality once: some of {', '.join(INPUTS)}")


def _free_folder(out: Path | None, name: str) -> Path:
    """Where the bundle goes, which nothing occupies yet."""
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for a model; give another with --name")
    if out is None:
        if name == "fake" or any(found.name == name for found in list_bundles()):
            raise UsageError(
                f"there is a model {name!r} already; give another name with --name, or a folder with --out"
            )
        out = user_folder("data") / "models" / name
    if out.exists():
        raise UsageError(f"{out} exists already; give another folder with --out, or remove it")
    return out.absolute()


@torch.no_grad()
def _reference(model: OpenClip) -> _Reference:
    """open_clip's own preprocessing arithmetic, tokenizer and encoders, on noise, shapes and texts."""
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (CHECK_IMAGES, 3, model.size, model.size)).astype(np.uint8)
    ramp = np.linspace(0, 255, model.size).astype(np.uint8)
    images[1] = ramp[None, :, None]
    images[2, :, model.size // 4 : model.size // 2] = 230
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    scaled = (torch.from_numpy(images).float() / 255 - mean) / std
    return _Reference(
        images,
        normalise(model.model.encode_image(scaled).numpy()),
        normalise(model.model.encode_text(model.tokenize(list(CHECK_TEXTS))).numpy()),
    )


def _write_towers(model: OpenClip, reference: _Reference, folder: Path, precision: Precision) -> None:
    """Graphs, weights and tokenizer.json; the model's weights are rounded in place on the way."""
    tokens = dict(zip(("input_ids", "attention_mask"), model.tokens(CHECK_TEXTS[:4]), strict=True))
    lengths = (model.max_tokens if model.text.fixed_length else 1, model.max_tokens)
    try:
        export_network(
            model.image,
            {"inputs": torch.from_numpy(reference.images)},
            folder / "image.onnx",
            folder / "image.safetensors",
            precision,
        )
        export_network(
            model.text,
            {name: tokens[name] for name in model.text.inputs},
            folder / "text.onnx",
            folder / "text.safetensors",
            precision,
            lengths,
        )
    except M3SearchError:
        raise
    except Exception as error:  # torch's exporter has its own kinds
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"torch cannot export {model.source} to ONNX: {line}") from error
    model.tokenizer.save(str(folder / "tokenizer.json"))


def _write_description(
    model: OpenClip, name: str, modalities: Sequence[str], precision: Precision, folder: Path
) -> None:
    """bundle.json and the model card."""
    tower = {"file": "image.onnx", "weights": ["image.safetensors"]}
    description: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "dim": model.dim,
        "preprocessing": PREPROCESSING,
        "text": {
            "file": "text.onnx", "weights": ["text.safetensors"], "inputs": list(model.text.inputs),
            "max_tokens": model.max_tokens, "fixed_length": model.text.fixed_length,
            "vocabulary": model.tokenizer.get_vocab_size(),
        },
        "modalities": {
            modality: {**tower, "input": describe_input(replace(INPUTS[modality], size=model.size))}
            for modality in modalities
        },
        "router": {},
        "licence": model.licence,
        "imported": {"source": model.source, "precision": precision, "scale": round(model.scale, 4)},
        "figures": {},
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    card = CARD.format(
        name=name,
        dim=model.dim,
        source=model.source,
        modalities=", ".join(modalities),
        size=model.size,
        licence=model.licence[0].upper() + model.licence[1:],
        precision={"fp16": "half precision", "fp32": "single precision"}.get(precision, precision),
        texts=len(CHECK_TEXTS),
        images=CHECK_IMAGES,
        least=LEAST_COSINE,
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def _agreement(folder: Path, modalities: Sequence[str], reference: _Reference) -> tuple[float, float]:
    """Least cosines of the bundle, as queries and index runs use it, to open_clip: of texts, of images."""
    encoder = BundleEncoder(Bundle.open(folder), cache=False)
    texts = encoder.encode_text(CHECK_TEXTS)
    images = encoder.encode(Batch(modalities[0], reference.images))
    return (
        float((texts * reference.text_vectors).sum(1).min()),
        float((images * reference.image_vectors).sum(1).min()),
    )


def _disagreement(source: str, kind: str, cosine: float, precision: Precision) -> str:
    remedy = "try --precision fp32" if precision == "fp16" else "please report this"
    return (
        f"the {kind} tower made from {source} does not compute what open_clip does: cosine {cosine:.5f}, at least "
        f"{LEAST_COSINE} is needed; {remedy}"
    )
