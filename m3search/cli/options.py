"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from m3search.indexer import Allowance

IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="Index folder, or s3://BUCKET/PREFIX. Default: $M3SEARCH_INDEX, else the nearest .m3search upwards, else "
        "here.",
        metavar="FOLDER",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Encoder, by name or folder. Default: the index's own, else m3bind-small.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", help='Search a copy made by "m3search publish": milvus://HOST:PORT/NAME.'),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=0, help="Reading processes. Default: one per core.")
]
TimeLimitOption = Annotated[
    float | None, typer.Option("--time-limit", min=1, help="Seconds one file may take to be read. Default: 300.")
]
MemoryLimitOption = Annotated[
    float | None,
    typer.Option("--memory-limit", min=0.25, help="GiB one reading process may take. Default: its share of 75%."),
]


CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", help="Of a PACS: certificates to trust. Default: $M3SEARCH_PACS_CA_FILE, the system's."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="Of a PACS: file with a bearer token. Default: $M3SEARCH_PACS_TOKEN_FILE."),
]


def allowance(seconds: float | None, gibibytes: float | None) -> Allowance:
    """The limits of reading processes, from what was typed."""
    from m3search.indexer import Allowance

    default = Allowance()
    return Allowance(seconds or default.seconds, int(gibibytes * 2**30) if gibibytes else default.memory_bytes)
