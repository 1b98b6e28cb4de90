"""The benches: questions that are put to every encoder in the same way. `m3search bench NAME`.

    retrieval    label names, items and their own texts as queries; and the queries of a BEIR-style folder
    zeroshot     labels told apart by prompts alone
    fewshot      labels told apart by a linear probe on a few examples
    crossmodal   items of one modality find items of another with the same concept
    negation     findings claimed and denied

`bench` runs one of them. Keys of tables are stable: what a training run records in its bundle is found by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from m3search.encoders.base import Encoder
from m3search.errors import UsageError
from m3search.evaluation import legacy, protocols
from m3search.evaluation.backends import CorpusBackend
from m3search.evaluation.classification import Classification
from m3search.evaluation.crossmodal import concept_trials, crossmodal_trials
from m3search.evaluation.dataset import EvaluationSet, Say, embed
from m3search.evaluation.fewshot import few_shot
from m3search.evaluation.figures import Part, stratum_name
from m3search.evaluation.items import MIN_RELEVANT, EncodeText, LabelledItems, Scope
from m3search.evaluation.judged import judge
from m3search.evaluation.negation import NegationSet, What, negation_sets
from m3search.evaluation.prompts import TYPED_DENIALS
from m3search.evaluation.report import Report
from m3search.evaluation.tables import Table, remembering, retrieval_table, table
from m3search.evaluation.zeroshot import zero_shot

SCOPES: tuple[Scope, ...] = ("all", "modality", "source")


@dataclass(frozen=True, slots=True)
class Options:
    """How a bench is run."""

    cache: Path  # for decoded inputs
    workers: int = 2  # that decode
    min_relevant: int = MIN_RELEVANT  # items a label needs to be asked for
    legacy: bool = False  # flawed protocols too


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a bench found of one encoder."""

    encoder: str
    fingerprint: str
    items: int
    tables: tuple[Table, ...]
    report: Report | None = None  # of the data set's own queries


def bench(name: str, data: EvaluationSet, encoder: Encoder, options: Options, say: Say = print) -> Outcome:
    """Embed the items of a data set and put one bench's questions.

    Raises:
        UsageError: no such bench, or the data set has nothing that it could ask.
        DataError: nothing of the data set can be read by this encoder.
    """
    if name not in BENCHES:
        raise UsageError(f"there is no bench {name!r}; choose from {', '.join(BENCHES)}")
    items = embed(data.rows, encoder, options.cache, workers=options.workers, say=say)
    tables = [made for made in BENCHES[name](items, remembering(encoder.encode_text), options) if made.figures]
    report = None
    if name == "retrieval" and data.qrels:
        report = judge(CorpusBackend(items, data.rows, encoder), data.queries, data.qrels)
        tables += _of_report(report)
    if not tables:
        raise UsageError(
            f"{data.name}: nothing to ask of {len(items)} items; {name} needs "
            + ("labels or texts" if name == "retrieval" else f"labels that {options.min_relevant} or more items carry")
        )
    return Outcome(encoder.name, encoder.fingerprint, len(items), tuple(tables), report)


def _retrieval(items: LabelledItems, encode_text: EncodeText, options: Options) -> list[Table]:
    whole, within, sources = (
        protocols.text_to_image_trials(items, encode_text, scope, options.min_relevant) for scope in SCOPES
    )
    own = protocols.image_to_text_trials(items, encode_text)
    tables = [
        retrieval_table("text_to_image", "text to image, gallery of all modalities", whole),
        retrieval_table("text_to_image_within", "text to image, gallery of one modality", within),
        retrieval_table("text_to_image_source", "text to image, gallery of one source", sources, by="source"),
        retrieval_table(
            "image_to_image", "image to image, gallery of one modality", protocols.image_to_image_trials(items)
        ),
        retrieval_table(
            "image_to_image_source",
            "image to image, gallery of one source",
            protocols.image_to_image_trials(items, "source"),
            by="source",
        ),
        retrieval_table("image_to_own_text_1", "image to own text, distinct texts of one modality", own, "R@1"),
        retrieval_table("image_to_own_text_10", "image to own text, distinct texts of one modality", own, "R@10"),
        retrieval_table(
            "image_to_own_text_1_source",
            "image to own text, distinct texts of one source",
            protocols.image_to_text_trials(items, encode_text, "source"),
            "R@1",
            by="source",
        ),
        retrieval_table(
            "text_to_own_image",
            "text to the images that have it, gallery of one modality",
            protocols.text_to_own_image_trials(items, encode_text),
        ),
    ]
    return tables + (_legacy(items, encode_text) if options.legacy else [])


def _legacy(items: LabelledItems, encode_text: EncodeText) -> list[Table]:
    query, case = legacy.query_left_in(items), legacy.case_left_in(items)
    duplicates = legacy.duplicates_are_misses(items, encode_text)
    return [
        retrieval_table(
            "legacy_query_left_in", "image to image, the query in its own gallery", query, honest="image_to_image"
        ),
        retrieval_table("legacy_case_left_in", "image to image, own case left in", case, honest="image_to_image"),
        retrieval_table(
            "legacy_duplicates",
            "image to own text, equal texts are misses",
            duplicates,
            "R@10",
            honest="image_to_own_text_10",
        ),
    ]


def _zeroshot(items: LabelledItems, encode_text: EncodeText, options: Options) -> list[Table]:
    whole = zero_shot(items, encode_text, min_relevant=options.min_relevant)
    sources = zero_shot(items, encode_text, by_source=True, min_relevant=options.min_relevant)
    labels = {f"{task.modality}: {name}": part for task in whole for name, part in task.by_label().items()}
    return [
        *_classified("zeroshot", "zero-shot", _named(whole)),
        *_classified("zeroshot", "zero-shot", _named(sources), "source"),
        table("zeroshot_auroc_label", "zero-shot, each label", "AUROC", labels),
    ]


def _fewshot(items: LabelledItems, _encode_text: EncodeText, options: Options) -> list[Table]:
    tables = []
    for by in ("modality", "source"):
        by_shots = few_shot(items, by_source=by == "source", min_relevant=options.min_relevant)
        tasks = {count: _named(found) for count, found in by_shots.items()}
        order = [(count, name) for name in tasks[min(tasks)] for count in tasks]
        named = {f"{count}-shot {name}": tasks[count][name] for count, name in order}
        tables += _classified("fewshot", "linear probe", named, by)
    return tables


def _classified(key: str, title: str, tasks: Mapping[str, Classification], by: str = "modality") -> list[Table]:
    accuracy = {name: task.balanced_accuracy() for name, task in tasks.items()}
    auroc = {name: task.auroc() for name, task in tasks.items()}
    ending, mean = ("_source" if by == "source" else ""), by == "modality" and key == "zeroshot"
    return [
        table(f"{key}_accuracy{ending}", f"{title}, per {by}", "balanced accuracy", accuracy, mean),
        table(f"{key}_auroc{ending}", f"{title}, per {by}", "AUROC", auroc, mean),
    ]


def _crossmodal(items: LabelledItems, _encode_text: EncodeText, options: Options) -> list[Table]:
    pairs = crossmodal_trials(items, options.min_relevant)
    concepts = concept_trials(items, options.min_relevant)
    title = "image to image between modalities, by shared concepts"
    return [
        retrieval_table("crossmodal", title, pairs),
        retrieval_table("crossmodal_10", title, pairs, "R@10"),
        retrieval_table("crossmodal_first", title, pairs, "Success@1"),
        retrieval_table("crossmodal_source", f"{title}, by the query's source", pairs, by="source"),
        retrieval_table("crossmodal_concept", f"{title}, each concept", concepts),
    ]


def _negation(items: LabelledItems, encode_text: EncodeText, options: Options) -> list[Table]:
    least = options.min_relevant
    whole = _named(negation_sets(items, encode_text, min_relevant=least))
    sources = _named(negation_sets(items, encode_text, by_source=True, min_relevant=least))
    typed = _named(negation_sets(items, encode_text, denials=TYPED_DENIALS, min_relevant=least))
    labels = {f"{name}: {label}": part for name, one in whole.items() for label, part in one.by_label("pairs").items()}

    def parts(sets: Mapping[str, NegationSet], what: What) -> dict[str, Part]:
        return {name: one.part(what) for name, one in sets.items()}

    pairs, denied, as_typed = "pair accuracy", "a finding denied", '"no …", "… without …" as typed'
    return [
        table("negation_pairs", denied, pairs, parts(whole, "pairs"), mean=True),
        table("negation_denial", f"{denied}, items without it found", "AUROC", parts(whole, "denial"), mean=True),
        table("negation_claim", "a finding claimed, items with it found", "AUROC", parts(whole, "claim"), mean=True),
        table("negation_typed_pairs", as_typed, pairs, parts(typed, "pairs"), mean=True),
        table(
            "negation_typed_denial", f"{as_typed}, items without it found", "AUROC", parts(typed, "denial"), mean=True
        ),
        table("negation_pairs_source", f"{denied}, per source", pairs, parts(sources, "pairs")),
        table("negation_pairs_label", f"{denied}, each finding", pairs, labels),
    ]


_Of = TypeVar("_Of", Classification, NegationSet)


def _named(parts: Sequence[_Of]) -> dict[str, _Of]:
    return {stratum_name(one.modality, one.source): one for one in parts}


def _of_report(report: Report) -> list[Table]:
    """The data set's own queries; their run is the report's."""
    parts = {"all": report.overall, **report.by_modality, **report.by_source}
    figures = {measure: {part: found[measure] for part, found in parts.items()} for measure in report.overall}
    return [Table(f"queries_{name}", "the data set's queries", name, found, {}) for name, found in figures.items()]


BENCHES: dict[str, Callable[[LabelledItems, EncodeText, Options], list[Table]]] = {
    "retrieval": _retrieval,
    "zeroshot": _zeroshot,
    "fewshot": _fewshot,
    "crossmodal": _crossmodal,
    "negation": _negation,
}
