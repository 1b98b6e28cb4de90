"""`m3search demo`: the whole way from synthetic patients to a contact sheet, with what is happening said aloud."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from m3search.cli import printing

QUERIES = (
    "pleural effusion on a chest X-ray",
    "CT of the kidneys with a cyst",
    "fundus photograph with drusen",
    "atrial fibrillation",
    "tumour-rich tissue, H&E",
)


def run_demo(out: Path, patients: int) -> None:
    """Write `patients` synthetic patients to `out`/archive, index them into `out`/.m3search, search, draw a sheet."""
    from m3search.indexer import index
    from m3search.phantoms import write_archive
    from m3search.search import Engine
    from m3search.search.sheet import render

    console = Console()
    console.rule("1. synthetic patients")
    archive = out / "archive"
    phantoms = write_archive(archive, patients=patients, seed=0)
    console.print(
        f"wrote {len(phantoms)} examinations of {patients} synthetic patients to {escape(str(archive))}", soft_wrap=True
    )

    console.rule("2. index")
    with printing.progress() as progress:
        report = index(archive, out / ".m3search", progress=progress)
    printing.report(report, as_json=False)

    engine = Engine.open(out / ".m3search")
    pages = []
    console.rule("3. search by words")
    for words in QUERIES:
        console.print(f'\n[bold]m3search query "{words}" -k 3[/]')
        pages.append(engine.search(words, k=3))
        printing.results(pages[-1], "table", None)

    console.rule("4. search by file, in its own modality and across")
    for modality, across in (("xray", "xray"), ("ecg", "ecg,xray")):
        file = archive / next(phantom.path for phantom in phantoms if phantom.modality == modality)
        console.print(f"\n[bold]m3search query --image {escape(str(file))} --modality {across} -k 4[/]", soft_wrap=True)
        pages.append(engine.search(image=file, k=4, modality=across.split(",")))
        printing.results(pages[-1], "table", None)

    sheet = out / "sheet.html"
    sheet.write_text(render(pages), encoding="utf-8")
    console.rule("done")
    console.print(f"open {escape(str(sheet))} in a browser; {escape(str(out))} may be deleted", soft_wrap=True)
