"""The judge: how good an encoder is at what this project promises, and how sure that is.

dataset.py      what is judged on: manifests or a BEIR-style folder, held-out items embedded
protocols.py    retrieval: label names, items and texts as queries; trials.py, figures.py: values and intervals
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
