"""What an item is known not to show. Labels say what was found, and only sometimes what was looked for.

The absence of a label is known where

1. the item's own text denies it ("no pleural effusion"), or
2. its source lists the label among those it looked for in every item (LOOKED_FOR), or
3. a label of the item says that all is normal ("No Finding", "normal ECG") and thereby excludes it,

and nothing that the item does show often comes with it unsaid (`Finding.may_show`: a film labelled "Pneumonia" may well
have a consolidation) or may be of that very kind ("Pneumonia" may be a bacterial one). An item without labels says
nothing. A source that is not listed here counts by rules 1 and 3 alone, so that nobody's "not mentioned" becomes "no".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from m3search.vocabulary import FINDINGS, GROUPS, denials_in, kinds_of, meaning, region_of

if TYPE_CHECKING:
    from m3search.datasets import Row

_DIAGNOSES_AND_RHYTHMS = (  # statements of form ("ST depression", "low amplitude T waves") are made less strictly
    "myocardial infarction", "ischaemia", "conduction disorder", "hypertrophy", "atrial fibrillation", "atrial flutter",
    "supraventricular tachycardia", "sinus tachycardia", "sinus bradycardia", "ectopic beats", "pacemaker",
    "prolonged QT interval", "digitalis effect",
)  # fmt: skip

# Part of a manifest's `source` -> words for what it looked for in each of its items.
LOOKED_FOR: dict[str, tuple[str, ...]] = {
    # Fourteen findings were mined from each report (Wang et al., CVPR 2017): noisy, yet all fourteen every time.
    "NIH ChestX-ray": (
        "Atelectasis", "Cardiomegaly", "Consolidation", "Emphysema", "Hiatal hernia", "Infiltration", "Lung mass",
        "Lung nodule", "Pleural effusion", "Pleural thickening", "Pneumonia", "Pneumothorax", "Pulmonary edema",
        "Pulmonary fibrosis",
    ),
    "PTB-XL": _DIAGNOSES_AND_RHYTHMS,
    "CinC 2021": _DIAGNOSES_AND_RHYTHMS,
    # One class each, exclusive and exhaustive.
    "IQ-OTH/NCCD": ("Lung cancer", "Benign lung tumour"),
    "Head CT - hemorrhage": ("Intracranial haemorrhage",),
    "DR-image-dataset": ("diabetic retinopathy",),  # a grade, and maculopathy yes or no
    "Histopathologic Oral Cancer": ("Oral squamous cell carcinoma",),
    "LC25000": ("colorectal cancer", "lung cancer"),
    "CRC-VAL-HE": ("colorectal cancer",),
    "Osteosarcoma-Tumor-Assessment": ("osteosarcoma",),
    "BreakHis": ("breast tumour",),
    # Synthetic patients have nothing but what was drawn.
    "m3search phantom": tuple(label for label, finding in FINDINGS.items() if finding.kind == "abnormal"),
}  # fmt: skip

# Sources whose "normal" says only that none of what they looked for was found.
NORMAL_OF_LIST_ONLY = ("NIH ChestX-ray", "CRC-VAL-HE")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What is known of an item."""

    labels: frozenset[str]
    absent: frozenset[str]  # known not to be there
    doubtful: frozenset[str]  # perhaps there, though no label says so
    region: str  # part of the body

    def lacks(self, denied: frozenset[str]) -> bool:
        """The denial of these labels (of one finding, all its kinds) is known to be true."""
        return (
            denied.isdisjoint(self.labels) and denied.isdisjoint(self.doubtful) and not denied.isdisjoint(self.absent)
        )


def absence_is_known(row: Row, label: str) -> bool:
    """It is known that the item does not show what the label names."""
    return facts(row).lacks(meaning(label))


@lru_cache(maxsize=1 << 16)
def facts(row: Row) -> Facts:
    """What the labels, the text and the source of an item say of it."""
    labels = frozenset(row.labels)
    region = region_of(row.modality, row.caption, *row.labels)
    stated = (denials_in(row.text) | denials_in(row.caption)) - labels
    doubtful: set[str] = set()
    for label in row.labels:
        doubtful |= kinds_of(label)
        for word in FINDINGS[label].may_show if label in FINDINGS else ():
            doubtful |= meaning(word)
    doubtful -= labels | stated
    absent = _looked_for(row, region) - labels - doubtful if row.labels else frozenset()
    normal = {group.opposite for group in GROUPS if group.opposite and not labels.isdisjoint(meaning(group.words[0]))}
    return Facts(labels, frozenset(absent | stated | normal - labels), frozenset(doubtful), region)


def _looked_for(row: Row, region: str) -> set[str]:
    """Labels whose absence is told by not being listed, of the item's modality and part of the body."""
    words = [word for part, listed in LOOKED_FOR.items() if part in row.source for word in listed]
    if not any(part in row.source for part in NORMAL_OF_LIST_ONLY):
        own = [FINDINGS[label] for label in row.labels if label in FINDINGS]
        words += [finding.opposite for finding in own if finding.kind == "normal" and finding.opposite]
    found = set[str]().union(*(meaning(word) for word in words))
    return {
        label
        for label in found
        if label in FINDINGS
        and row.modality in FINDINGS[label].on
        and (not region or FINDINGS[label].region in ("", region))
    }
