"""`m3search query`: one query from options, or many from a file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3search.cli.options import IndexOption, JsonOption, ModelOption, StoreOption
from m3search.errors import UsageError

if TYPE_CHECKING:
    from m3search.search import Results


class ModeChoice(StrEnum):
    """What ranks: nearness of vectors, words of texts, or both."""

    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


class GroupChoice(StrEnum):
    """What there is one hit of."""

    STUDY = "study"
    PATIENT = "patient"


class CalibrationChoice(StrEnum):
    """How scores of different modalities are made comparable."""

    NONE = "none"
    MEAN = "mean"
    STANDARD = "standard"
    BOTH = "both"


def query(
    text: Annotated[
        str | None, typer.Argument(help='What to look for, in plain words: "cardiomegaly without effusion".')
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", help="An image, DICOM or ECG file to find similar items to; may be repeated."),
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="A stored item to find similar ones to; may be repeated.")
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option("--like", help="Hits should be more like this stored item; may be repeated.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", help="Hits should be less like this stored item; may be repeated.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            help="text=W, image=W, item=W, like=W, unlike=W, or not=W for what the text denies; W,W,… for several. "
            "Below 0 turns away.",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="Many queries: lines of text (with an id and a tab before it, or without), .jsonl with the options' "
            "names as keys, or .npy with vectors.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    modality: Annotated[str | None, typer.Option("--modality", help="Only these modalities, joined by commas.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="""Only items that match, e.g. "sex = 'F' and year >= 2015".""")
    ] = None,
    mode: Annotated[
        ModeChoice, typer.Option("--mode", help="Rank by vectors, by the words of the items' texts, or by both.")
    ] = ModeChoice.VECTOR,
    group: Annotated[
        GroupChoice | None, typer.Option("--group", help="One hit for each study or patient: its best item.")
    ] = None,
    calibration: Annotated[
        CalibrationChoice | None,
        typer.Option(
            "--calibration",
            help="How scores of different modalities are made comparable. Default: mean for queries with words, "
            "none among items.",
        ),
    ] = None,
    hubness: Annotated[bool, typer.Option("--hubness", help="Lower items that are near to whatever is asked.")] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Order the first 100 anew by their slices, tiles and windows.")
    ] = False,
    index: IndexOption = None,
    model: ModelOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet with thumbnails.")] = None,
    trec: Annotated[Path | None, typer.Option("--trec", help="Write a run file for trec_eval.")] = None,
) -> None:
    """Search the index by words, files and stored items, or by any mixture of them."""
    from m3search.cli import printing
    from m3search.search import Engine, Query
    from m3search.search.batch import read_queries
    from m3search.search.query import HowAsked
    from m3search.search.sheet import render

    if as_json and as_csv:
        raise UsageError("choose one of --json and --csv")
    how: HowAsked = {
        "k": k,
        "modality": None if modality is None else [name.strip() for name in modality.split(",")],
        "where": where,
        "mode": mode.value,
        "group": group.value if group else None,
        "calibration": calibration.value if calibration else None,
        "hubness": hubness,
        "rerank": rerank,
    }
    engine = Engine.open(index, model, store=store)
    if queries is None:
        one = Query.of(text, image, item, like or (), unlike or (), _weights(weight or []))
        found, names = [engine.search_many([one], **how)[0]], ["1"]
    elif text or image or item or like or unlike or weight:
        raise UsageError("--queries holds the whole queries; give nothing else to search for")
    else:
        asked = read_queries(queries)
        found, names = engine.search_many(asked.queries, **how), list(asked.names)
    if trec:
        _write_trec(trec, names, found, engine.index.manifest.encoder)
    if html:
        html.write_text(render(found), encoding="utf-8")
    form: printing.Form = "json" if as_json else "csv" if as_csv else "table"
    if queries is None:
        printing.results(found[0], form, html)
    else:
        printing.batch(names, found, form, html)


def _write_trec(path: Path, names: Sequence[str], found: Sequence[Results], tag: str) -> None:
    from m3search.evaluation.trec import write_run

    run = {name: [(hit.item_id, hit.score) for hit in hits] for name, hits in zip(names, found, strict=True)}
    write_run(path, run, tag)


def _weights(given: Sequence[str]) -> dict[str, float | list[float]]:
    weights: dict[str, float | list[float]] = {}
    for one in given:
        kind, _, values = one.partition("=")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            raise UsageError(f"--weight {one}: write KIND=NUMBER, such as text=2 or image=1,-0.5") from None
        weights[kind.strip()] = numbers[0] if len(numbers) == 1 else numbers
    return weights
