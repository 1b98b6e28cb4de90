"""Ranked hits of one query, and the forms they leave in."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, overload

from m3search.types import Hit

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from m3search.search.ranking import Scored

Mode = Literal["exact", "ann", "filtered-exact", "filtered-ann"]

COLUMNS = (
    "rank", "item_id", "modality", "score", "uri", "text", "labels", "study_key", "patient_key", "best_part",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Results(Sequence[Hit]):
    """Hits of one query, best first, ties by item_id."""

    query: str  # as a person would say it: the text, the file's name, the item's id
    mode: Mode
    took_ms: float  # milliseconds from the call to the hits, in a first query with the opening of encoder and index
    hits: tuple[Hit, ...]
    fetch_thumbnails: Callable[[Sequence[str]], Mapping[str, bytes]] = field(
        default=lambda _: {}, repr=False, compare=False
    )  # by item id, JPEG or PNG; asked only when pictures are drawn
    scored: Scored = "cosine"

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per hit, without thumbnails."""
        return [{column: getattr(hit, column) for column in COLUMNS} for hit in self.hits]

    def to_dict(self) -> dict[str, Any]:
        """The object that `m3search query --json` prints."""
        head = {"query": self.query, "mode": self.mode, "took_ms": round(self.took_ms, 2)}
        return head | {"hits": self.rows()}

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def write_csv(self, file: TextIO) -> None:
        """A header line and one line per hit; labels joined by "|" as in a manifest."""
        write_csv(file, [self])

    def to_arrow(self) -> pa.Table:
        """A pyarrow.Table, one row per hit; its columns and their types are the same where there is none."""
        import pyarrow as pa

        kinds = {"rank": pa.int64(), "score": pa.float64(), "labels": pa.list_(pa.string())}
        schema = pa.schema([(column, kinds.get(column, pa.string())) for column in COLUMNS])
        return pa.Table.from_pylist(self.rows(), schema=schema)

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame, one row per hit."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=list(COLUMNS))

    def save_html(self, path: Path | str) -> Path:
        """Write a contact sheet with thumbnails: one file, no scripts, nothing fetched. Returns its path."""
        from m3search.search.sheet import render

        path = Path(path)
        path.write_text(render([self]), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        """Thumbnails, as Jupyter shows this value; `save_html` has all hits."""
        from m3search.search.sheet import fragment

        return fragment(self)


def write_csv(file: TextIO, found: Sequence[Results], names: Sequence[str] = ()) -> None:
    """`Results.write_csv` for several queries; with `names`, a first column "query" tells whose hit a line is."""
    writer = csv.DictWriter(file, ("query", *COLUMNS) if names else COLUMNS)
    writer.writeheader()
    for name, results in zip(names or [""] * len(found), found, strict=True):
        for row in results.rows():
            writer.writerow(row | {"labels": "|".join(row["labels"])} | ({"query": name} if names else {}))
