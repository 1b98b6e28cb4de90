"""The commands of `m3search`. Each imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from m3search.cli import upkeep
from m3search.cli.bench import app as bench_app
from m3search.cli.options import (
    CaFileOption,
    IndexOption,
    JsonOption,
    MemoryLimitOption,
    ModelOption,
    TimeLimitOption,
    TokenFileOption,
    WorkersOption,
    allowance,
)
from m3search.cli.query import query
from m3search.cli.serve import serve
from m3search.errors import MissingExtra

app = typer.Typer(
    name="m3search",
    help="One search over chest X-rays, CT, fundus photographs, ECGs and pathology slides. "
    "A research tool, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich's takes twice as long to import as everything else
)
model_app = typer.Typer(help="The encoders that are installed here.", no_args_is_help=True)
app.add_typer(model_app, name="model")
app.add_typer(bench_app, name="bench")
for command in upkeep.COMMANDS:
    app.command()(command)

BurnedIn = Literal["mask", "quarantine", "keep"]
Runner = Literal["local", "ray"]
ImportPrecision = Literal["fp16", "fp32"]
ItemArgument = Annotated[str, typer.Argument(help="Item id, or a beginning that only it has.")]


def _version(wanted: bool) -> None:
    if wanted:
        from m3search import __version__

        typer.echo(f"m3search {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def index(
    archive: Annotated[
        str,
        typer.Argument(
            help="A folder of medical files, a zip or tar file of them, or a manifest (.csv) that lists them; a PACS "
            "(https://host/dicom-web), or other storage (s3://bucket/prefix)."
        ),
    ],
    index: IndexOption = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="What files show whose own header does not say (PNG, JPEG, TIFF).")
    ] = None,
    model: ModelOption = None,
    workers: WorkersOption = None,
    time_limit: TimeLimitOption = None,
    memory_limit: MemoryLimitOption = None,
    burned_in: Annotated[
        BurnedIn,
        typer.Option(
            "--burned-in",
            help="What looks like text in pixels: painted over, the file left out and named as a failure, or kept.",
        ),
    ] = "mask",
    mpp: Annotated[
        float | None,
        typer.Option(
            "--mpp",
            min=0.05,
            max=20,
            help="Of slides: micrometres per pixel of the tiles. Default: what the encoder was trained on.",
        ),
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove items whose files are gone from the archive.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 if any file could not be read.")] = False,
    only: Annotated[
        str | None, typer.Option("--only", help="Of a PACS: ask for these modalities alone, joined by commas.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Of a PACS: folder in which fetched files stay. Default: none stays.")
    ] = None,
    refetch: Annotated[
        bool,
        typer.Option("--refetch", help="Of a PACS: fetch again what is stored, and replace what was edited there."),
    ] = False,
    ca_file: CaFileOption = None,
    token_file: TokenFileOption = None,
    runner: Annotated[
        Runner, typer.Option("--runner", help="Where files are read and embedded: on this machine, or by Ray on many.")
    ] = "local",
    ray_address: Annotated[
        str, typer.Option("--ray-address", help="HOST:PORT of Ray. Default: $RAY_ADDRESS, else it is started here.")
    ] = "",
    job_limit: Annotated[
        float | None, typer.Option("--job-limit", min=1, help="Seconds a run on Ray may take. Default: no limit.")
    ] = None,
    shard_size: Annotated[
        int, typer.Option("--shard-size", min=1, help="Items of one commit, at most: what a killed run can lose.")
    ] = 512,
    as_json: JsonOption = False,
) -> None:
    """Read an archive into the index. What is stored already is not read again."""
    from m3search import modalities
    from m3search.cli import printing
    from m3search.indexer import Cluster, Options, Pacs
    from m3search.indexer import index as run_index

    if modality:
        modalities.get(modality)
    limits = allowance(time_limit, memory_limit)
    pacs = Pacs(
        only=tuple(word.strip() for word in (only or "").split(",") if word.strip()),
        keep=keep, ca_file=ca_file, token_file=token_file, refetch=refetch, any_kind=bool(modality),
    )  # fmt: skip
    cluster = Cluster(ray_address, job_s=job_limit) if runner == "ray" else None
    options = Options(modality or "", workers, burned_in, prune, shard_size, limits, cluster, pacs, mpp)
    with printing.progress() as progress:
        report = run_index(archive, index, model=model, options=options, progress=progress)
    printing.report(report, as_json)
    if strict and report.failed:
        raise typer.Exit(4)


app.command()(query)
app.command()(serve)


@app.command()
def show(
    item: ItemArgument,
    index: IndexOption = None,
    thumbnail: Annotated[
        Path | None, typer.Option("--thumbnail", help="Write the item's thumbnail to this file.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Print the address of its study on the PACS it came from, and no more.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show all that is stored of one item. That includes how its pixels became a vector."""
    from m3search.cli import printing
    from m3search.search import Engine

    engine = Engine.open(index)
    if link:
        typer.echo(engine.link(item) or "it came from no PACS")
        return
    row = engine.show(item)
    if thumbnail:
        thumbnail.write_bytes(engine.thumbnail(row["item_id"]))
    printing.item(row, as_json)


@app.command()
def status(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """What the index holds and what it was built with."""
    from m3search.cli import printing
    from m3search.search import Engine

    printing.status(Engine.open(index).status(), as_json)


@app.command()
def failures(
    index: IndexOption = None,
    retry: Annotated[bool, typer.Option("--retry", help="First read them again, and nothing else.")] = False,
    workers: WorkersOption = None,
    time_limit: TimeLimitOption = None,
    memory_limit: MemoryLimitOption = None,
    ca_file: CaFileOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Files that could not be read, each with its reason. They are tried again by the next index run."""
    from m3search.cli import printing
    from m3search.search import Engine

    if retry:
        from m3search.indexer import Options, Pacs, retry_failures

        pacs = Pacs(ca_file=ca_file, token_file=token_file)
        options = Options(workers=workers, allowance=allowance(time_limit, memory_limit), pacs=pacs)
        with printing.progress() as progress:
            reports = retry_failures(index, options=options, progress=progress)
        if not as_json:
            printing.retried(reports)
    printing.failures(Engine.open(index).failures(), as_json)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (.toml).")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the bundle. Default: runs/<name of the configuration>.")
    ] = None,
    image_tower: Annotated[
        str, typer.Option("--image-tower", help="open_clip model that image towers start from: hf-hub:…, local-dir:…")
    ] = "",
    text_tower: Annotated[
        str, typer.Option("--text-tower", help="open_clip model that the specialists' text encoders start from.")
    ] = "",
) -> None:
    """Train encoders and write them as a bundle. A run that was killed goes on where it was."""
    from m3search.trainer.train import train as run_training

    out = out or Path("runs") / config.stem
    run_training(config, out, image_tower=image_tower, text_tower=text_tower, say=typer.echo)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the synthetic archive, its index and the sheet.")
    ] = Path("demo"),
    patients: Annotated[int, typer.Option("--patients", min=1, help="How many synthetic patients.")] = 8,
) -> None:
    """Try it all on synthetic patients. Writes them, indexes them, searches them and draws a contact sheet."""
    from m3search.cli.demo import run_demo

    run_demo(out, patients)


@app.command()
def doctor(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """What this machine can do for m3search. Names what each missing piece costs and how to get it.

    Exits with 1 if something that m3search needs is missing or wrong: a decoder, a broken model, a key others can read.
    """
    from m3search.cli import printing
    from m3search.doctor import examine, is_whole

    found = examine(index)
    printing.doctor(found, as_json)
    if not is_whole(found):
        raise typer.Exit(1)


@model_app.command("list")
def model_list(as_json: JsonOption = False) -> None:
    """The bundles found here."""
    from m3search.cli import printing
    from m3search.encoders.bundle import list_bundles

    printing.models(list_bundles(), as_json)


@model_app.command("show")
def model_show(name: Annotated[str, typer.Argument(help="Bundle, by name or folder.")]) -> None:
    """A bundle's model card: data, licences, figures, limits."""
    from m3search.encoders.bundle import Bundle, find_bundle

    typer.echo(Bundle.open(find_bundle(name)).path("MODEL_CARD.md").read_text(encoding="utf-8"))


@model_app.command("verify")
def model_verify(
    name: Annotated[str, typer.Argument(help="Bundle, by name or folder.")], as_json: JsonOption = False
) -> None:
    """Check every byte of a bundle against its seal."""
    from m3search.encoders.bundle import Bundle, find_bundle

    bundle = Bundle.open(find_bundle(name))
    bundle.verify()
    result = {"name": bundle.name, "fingerprint": bundle.fingerprint, "intact": True}
    typer.echo(
        json.dumps(result) if as_json else f"{bundle.name}@{bundle.fingerprint[:8]}: every file matches its seal"
    )


@model_app.command("import")
def model_import(
    source: Annotated[
        str,
        typer.Argument(
            help="hf-hub:ORGANISATION/NAME, local-dir:FOLDER (open_clip_config.json, weights, tokenizer files), a file "
            "of weights beside an open_clip_config.json, or ARCHITECTURE@FILE."
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the new model. Default: as the source is called.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Its folder. Default: among your models, to be found by name.")
    ] = None,
    modality: Annotated[
        str, typer.Option("--modality", help="What the image tower is to see, joined by commas.")
    ] = "xray,ct,retina,pathology",
    precision: Annotated[
        ImportPrecision, typer.Option("--precision", help="Of the stored weights: half or single.")
    ] = "fp16",
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of an open_clip model (CLIP, SigLIP, BiomedCLIP and their kin). Needs the train extra."""
    from m3search.cli import printing

    try:
        from m3search.trainer.importing import import_model
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is needed to import a model: pip install 'm3search[train]'") from error

    modalities = [word.strip() for word in modality.split(",") if word.strip()]
    made = import_model(
        source, out, name=name or "", modalities=modalities, precision=precision,
        say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    printing.imported(made, as_json)
