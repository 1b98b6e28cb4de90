"""What the judge says to an encoder. Phrases are its own: no text of training is worded so (a test compares them)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from m3search.encoders.base import normalise
from m3search.evaluation.items import EncodeText
from m3search.vocabulary import inside, names_for, words_for

if TYPE_CHECKING:
    from m3search.types import Float32

# Zero-shot classification: one vector per label, the mean of all its prompts.
TEMPLATES = (
    "A case of {label}.",
    "Impression: {label}.",
    "The appearance is consistent with {label}.",
    "This {name} demonstrates {label}.",
    "The diagnosis made on this {name} was {label}.",
)
NAMES_PER_MODALITY = 2  # of the names an examination goes by
WORDS_PER_LABEL = 4  # the label itself and other words for it

# Negation: the same claim made and denied.
DENIALS = (
    ("This {name} demonstrates {label}.", "This {name} fails to demonstrate {label}."),
    ("{label} is present.", "{label} is absent."),
    ("{label} was identified on the {name}.", "{label} was ruled out on the {name}."),
    ("I can see {label} here.", "I cannot see any {label} here."),
    ("The reader confirmed {label}.", "The reader excluded {label}."),
)
TYPED_DENIALS = (  # as people type them into a search box, and as training words them too
    ("{label}", "no {label}"),
    ("{name} with {label}", "{name} without {label}"),
)


def class_vectors(modality: str, labels: Sequence[str], encode_text: EncodeText) -> Float32:
    """One unit vector per label, (L, D): the mean over its names, the examination's names and the templates.

    A word that stands for several of these labels ("heart attack") tells them apart less well and is not used.
    """
    meant = Counter(word.lower() for label in labels for word in words_for(label)[1:])
    prompts: list[str] = []
    ends = []
    for label in labels:
        words = [label, *(word for word in words_for(label)[1:] if meant[word.lower()] == 1)][:WORDS_PER_LABEL]
        prompts += [prompt for word in words for prompt in fill(TEMPLATES, modality, word)]
        ends.append(len(prompts))
    vectors = encode_text(prompts)
    return normalise(np.stack([part.mean(axis=0) for part in np.split(vectors, ends[:-1])]))


def fill(templates: Sequence[str], modality: str, label: str) -> list[str]:
    """Each template with the label, and with every name of the examination where it has one."""
    names = names_for(modality, "")[:NAMES_PER_MODALITY]
    filled = (
        template.format(name=name, label=inside(label))
        for template in templates
        for name in (names if "{name}" in template else ("",))
    )
    return [text[:1].upper() + text[1:] if text.endswith(".") else text for text in filled]
