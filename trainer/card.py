"""The model card: what a bundle was made from, what it can do, and what it must not be used for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3search.datasets import Row
    from m3search.trainer.config import TrainConfig
    from m3search.trainer.measure import Measured

WEIGHTS_LICENCE = "CC BY-NC-SA 4.0, research use only"

HEAD = """# {name}

One text tower and {count} towers ({modalities}) that embed into one space of {dim} dimensions, for
searching archives of medical images and signals by words or by example. Part of m3search.

**Not a medical device.** Not for diagnosis, triage or any decision about a patient. Ranked lists are suggestions of
where to look; they miss findings and show false ones.

## Licence of the weights
{licence}. The code is under Apache-2.0, the weights are not: some of the training items are licensed for
non-commercial use only and under share-alike terms (see the table below), and the weights were made from them.
Warm starts: all-MiniLM-L6-v2 (text, Apache-2.0) and EfficientNet-Lite0 trained on ImageNet (image trunks,
Apache-2.0). The ECG tower was trained from scratch.

## Intended use
Research on retrieval; searching one's own research archive; demonstrations; a starting point for further training.
Input is prepared by m3search itself (`bundle.json` holds each tower's input).

## How it was trained
M3Bind (Liu et al. 2025, arXiv 2506.18072), `m3search train trainer/configs/{name}.toml`, seed {seed}:
- stage 0, a specialist (tower and text encoder) per modality: {pretrain} steps; soft-target contrastive loss, sigmoid
  scores of label names, attraction within the modality, and a term that keeps the text encoder near its warm start;
- stage 1, binding: {bind} steps of low-rank adapters on all specialists at once, {align} alignment
  (weight {weight:g}) of their embeddings of centre texts. Mean squared distance between two encoders' unit embeddings
  of a centre text: {alignment};
- stage 2, one text encoder distilled from the five ({distil} steps), then tuned against the towers ({tune} steps).

{share:.0%} of the groups (patients, cases) were held out and never trained on.
Weights are stored in 8 bits (matrices, pointwise convolutions) and half precision (the rest).
"""

TABLE = """
## Held-out retrieval (mean average precision, with the stored weights)
Text→image: the names of labels that at least three held-out items carry as queries; "all" ranks the held-out items of
all modalities, "within" those of one. Image→image: within the modality, relevant is what shares a label; the query's
own case is left out. Chance in parentheses. `m3search bench retrieval` prints these with 95% intervals.
Nothing was trained on these items, but settings and stages were chosen while looking at them: expect a little less.

| modality | items | labels | text→image, all | text→image, within | image→image |
| --- | --- | --- | --- | --- | --- |
"""

LIMITS = """
## Limits
- Small public collections from few sites; nothing here is a whole hospital. Expect less on other scanners, sites,
  populations and findings. Age, sex and ethnicity are unevenly covered or unknown.
- Source and label are confounded in the training data (all head CT, for example, comes from one set): part of what
  looks like recognising a finding may be recognising a source.
- Labels of the NIH X-rays were mined from reports and are noisy. Fine grades of retinopathy and rare findings are
  poorly separated.
- CT is seen slice by slice in one window; small or low-contrast lesions are lost. Slides are seen as tiles.
- English only. Negation and quantity are hardly understood.
- Embeddings may allow guesses about a person: treat them as patient data.
"""


def sources(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Number of training items by modality, source, licence and use, as bundle.json and the card list them."""
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.modality, row.source, row.license, row.use] += 1
    return [
        {"modality": m, "source": source, "licence": licence, "use": use, "items": count}
        for (m, source, licence, use), count in sorted(counts.items())
    ]


def _beside(description: Mapping[str, Any]) -> str:
    """What the stages before and the baseline retrieve on the same items."""
    names = list(description["modalities"])
    card = "\nThe same items at the stages before, before rounding: text→image within the modality / image→image.\n\n"
    card += f"| | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}\n"
    for stage, found in description["baselines"].items():
        cells = (f"{found[n]['text_to_image_within']:.3f} / {found[n]['image_to_image']:.3f}" for n in names)
        card += f"| {stage} | {' | '.join(cells)} |\n"
    return card


def _between(description: Mapping[str, Any]) -> str:
    """Image→image between modalities, of the bundle and of the stages before."""
    stages = {**description["baselines"], "this bundle": description["figures"]}
    means = {
        stage: [values["crossmodal"] for values in found.values() if "crossmodal" in values]
        for stage, found in stages.items()
    }
    told = ", ".join(f"{stage} {sum(values) / len(values):.3f}" for stage, values in means.items() if values)
    return (
        "\nImage→image between modalities, relevant is what shares a concept (normal, malignant, haemorrhage, …), mean "
        f"over the pairs of modalities (`m3search bench crossmodal`): {told}.\n"
        if told
        else ""
    )


def model_card(description: Mapping[str, Any], config: TrainConfig, measured: Measured) -> str:
    """Markdown from what bundle.json says; `measured` is what the towers retrieved before rounding the weights."""
    training = description["training"]
    card = HEAD.format(
        name=description["name"],
        count=len(description["modalities"]),
        modalities=", ".join(description["modalities"]),
        dim=description["dim"],
        licence=description["licence"],
        seed=training["seed"],
        share=training["validation_share_of_groups"],
        pretrain=", ".join(f"{name} {steps}" for name, steps in training["stages"]["pretrain"].items()),
        bind=training["stages"]["bind"]["steps"],
        align=training["stages"]["bind"]["align"],
        weight=training["stages"]["bind"]["lambda"],
        alignment=", ".join(f"{stage} {value:.4f}" for stage, value in training["alignment"].items()),
        distil=training["stages"]["distil"],
        tune=training["stages"]["tune"],
    )
    card += TABLE
    for name in description["modalities"]:
        f = description["figures"][name]
        card += (
            f"| {name} | {f['items']} | {f['labels']} | {f['text_to_image']:.3f} ({f['text_chance']:.3f}) "
            f"| {f['text_to_image_within']:.3f} | {f['image_to_image']:.3f} ({f['image_chance']:.3f}) |\n"
        )
    if measured.figures:
        mean = sum(f.text_to_image for f in measured.figures.values()) / len(measured.figures)
        card += f"\nBefore rounding the weights, text→image over all modalities averaged {mean:.3f}.\n"
    card += _beside(description) + _between(description)
    if description["router"]:
        accuracy = ", ".join(f"{name} {value:.3f}" for name, value in description["router"]["accuracy"].items())
        card += f"Share of held-out pictures whose modality the router names correctly: {accuracy}.\n"
    card += "\n## Training data\n\n| modality | source | licence, as stated there | use | items |\n"
    card += "| --- | --- | --- | --- | --- |\n"
    for entry in training["sources"]:
        card += "| {modality} | {source} | {licence} | {use} | {items} |\n".format(**entry)
    if config.data.phantoms:
        card += f"\n{config.data.phantoms} synthetic patients (m3search.phantoms) are among the training items.\n"
    return card + LIMITS
