"""The judge: how good an encoder is at what this project promises, and how sure that is.

    dataset.py beir.py        what is judged on: manifests or a BEIR-style folder; items embedded as an index run would
    protocols.py trials.py    retrieval: label names, items and their own texts as queries, each put to a gallery
    zeroshot.py fewshot.py    labels told apart by prompts.py or by probe.py: classification.py
    concepts.py crossmodal.py what modalities have in common, and retrieval between them
    negation.py legacy.py     findings denied; flawed protocols that others report
    figures.py tables.py      means, intervals, chance; paired ratios of two encoders
    benches.py comparison.py  `m3search bench`: several encoders side by side, as text, JSON and trec.py files
    judged.py backends.py report.py  `m3search.evaluate`: one's own queries and judgements

In all of it groups and patients are never shared between a query and its gallery, equal texts are never misses, equal
scores are ranked by id, and intervals draw whole patients.
"""

from m3search.evaluation.figures import Figure, QueryScore, summarise
from m3search.evaluation.items import MIN_RELEVANT, Label, LabelledItems, Scope
from m3search.evaluation.judged import MEASURES, evaluate
from m3search.evaluation.protocols import image_to_image, text_to_image
from m3search.evaluation.report import Report

__all__ = [
    "MEASURES",
    "MIN_RELEVANT",
    "Figure",
    "Label",
    "LabelledItems",
    "QueryScore",
    "Report",
    "Scope",
    "evaluate",
    "image_to_image",
    "summarise",
    "text_to_image",
]
