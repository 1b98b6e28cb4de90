"""`m3search bench`: one set of options for all benches; what they ask is in `m3search.evaluation.benches`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3search.errors import M3SearchError, UsageError

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder

app = typer.Typer(
    help="How good an encoder is, measured on labelled items that it was not trained on.", no_args_is_help=True
)

DATA = Path("../shared/data/train")  # beside a developer's checkout
CONFIGURATION = "configs/m3bind-small.toml"  # of the trainer: what untrained towers are built from

BENCHES = {
    "retrieval": "Label names, items and their own texts as queries; and the queries of a BEIR-style folder.",
    "zeroshot": "Labels told apart by prompts alone: balanced accuracy and AUROC.",
    "fewshot": "Labels told apart by a linear probe on 1, 2, 4, 8 and 16 examples of each.",
    "crossmodal": "Items of one modality as queries for items of another that share a concept.",
    "negation": 'Findings claimed and denied: does "no effusion" ask for something else than "effusion"?',
}

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A manifest (.csv), a folder with manifest.csv or */manifest.csv, or a BEIR-style folder (corpus, "
        f"queries, qrels). Default: {DATA}.",
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="Encoder to judge, by name or folder.")]
BesideOption = Annotated[
    list[str] | None,
    typer.Option("--beside", help="Another encoder, by name or folder, measured on the same items; may be repeated."),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        help="Which items: validation (held out of training) or all; of a BEIR-style folder the name of a file in "
        "qrels/. Default: validation; all of qrels/.",
    ),
]
UntrainedOption = Annotated[
    bool, typer.Option("--untrained/--no-untrained", help="Measure towers as training finds them, too (needs torch).")
]
LegacyOption = Annotated[
    bool, typer.Option("--legacy", help="Flawed protocols that others report, each beside the honest figure.")
]
TrecOption = Annotated[
    Path | None, typer.Option("--trec", help="Write runs and judgements for trec_eval to this folder.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for decoded inputs, which show patients. Default: the user's cache."),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Reading processes.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _add(name: str, about: str) -> None:
    @app.command(name, help=about)
    def run(
        data: DataOption = None,
        model: ModelOption = "m3bind-small",
        beside: BesideOption = None,
        split: SplitOption = "",
        untrained: UntrainedOption = True,
        legacy: LegacyOption = False,
        trec: TrecOption = None,
        cache: CacheOption = None,
        workers: WorkersOption = 2,
        as_json: JsonOption = False,
    ) -> None:
        from m3search.encoders import load_encoder
        from m3search.encoders.bundle import user_folder
        from m3search.evaluation.benches import Options
        from m3search.evaluation.comparison import compare
        from m3search.evaluation.dataset import open_dataset

        dataset = open_dataset(_data(data), split)
        encoders = [load_encoder(chosen) for chosen in [model, *(beside or [])]]
        baselines, notes = _untrained() if untrained else ([], [])
        options = Options(cache or user_folder("cache") / "inputs", workers, legacy=legacy)
        found = compare(name, dataset, encoders, options, baselines=baselines, say=_say)
        if trec:
            _say(f"{len(found.write_trec(trec))} files written to {trec}")
        for note in notes:
            _say(note)
        typer.echo(found.to_json() if as_json else found.to_text())


for _name, _about in BENCHES.items():
    _add(_name, _about)


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _data(given: Path | None) -> Path:
    if given is None and not DATA.is_dir():
        raise UsageError("say what to judge on: --data with a manifest, a folder of manifests, or a BEIR-style folder")
    return given or DATA


def _untrained() -> tuple[list[Encoder], list[str]]:
    """The untrained towers, or a line that says why they cannot be measured here."""
    try:
        import m3search.trainer
        from m3search.trainer.untrained import UntrainedEncoder

        return [UntrainedEncoder(Path(m3search.trainer.__file__).parent / CONFIGURATION)], []
    except (ImportError, M3SearchError) as error:
        return [], [f"untrained towers are not measured here: {error}"]
