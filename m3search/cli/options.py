"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index", help="Index folder. Default: $M3SEARCH_INDEX, else the nearest .m3search upwards, else here."
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Encoder, by name or folder. Default: the index's own, else m3bind-small.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
