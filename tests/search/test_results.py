"""Results as other programs and notebooks take them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from m3search.search.results import COLUMNS, Results
from m3search.search.sheet import MOST_IN_NOTEBOOK
from m3search.types import Hit

PNG = b"\x89PNG\r\n\x1a\n and so on"
HOSTILE = '<script>alert("x")</script> & "quotes" \'too\''


def results(hits: Sequence[Hit], query: str = "effusion") -> Results:
    return Results(query, "exact", 1.5, tuple(hits), lambda ids: dict.fromkeys(ids, PNG))


def hit(rank: int = 1, **fields: object) -> Hit:
    known: dict[str, object] = {"item_id": f"{rank:08x}ffff", "modality": "xray", "score": 0.5, "uri": "a.dcm"}
    return Hit(rank=rank, **(known | fields))  # type: ignore[arg-type]


class Elements(HTMLParser):
    """The tags of a fragment with their attributes, and its text; fails where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("count", [0, 1, 2])
def test_arrow_has_the_same_columns_and_types_for_any_number_of_hits(count: int) -> None:
    table = results([hit(rank, labels=("Effusion",)) for rank in range(1, count + 1)]).to_arrow()
    assert table.num_rows == count
    assert table.column_names == list(COLUMNS)
    assert table.schema.field("labels").type == pa.list_(pa.string())
    assert table.schema.field("score").type == pa.float64()


def test_pandas_has_a_row_for_each_hit() -> None:
    frame = results([hit(1, text="a"), hit(2, text="b")]).to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["text"]) == ["a", "b"]
    assert results([]).to_pandas().empty


def test_a_notebook_shows_each_hit_with_its_thumbnail_and_fetches_nothing() -> None:
    html = results([hit(1, text="Large effusion"), hit(2, modality="ecg", labels=("AF",))])._repr_html_()
    seen = Elements(html)
    images = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert [base64.b64decode(str(image["src"]).partition(",")[2]) for image in images] == [PNG, PNG]
    assert [image["alt"] for image in images] == ["xray, rank 1", "ecg, rank 2"]
    assert "Large effusion" in seen.text
    assert "AF" in seen.text
    assert not re.search(r"https?:|url\(|<script|<style", html)


def test_nothing_of_a_query_or_a_hit_is_taken_for_markup_in_a_notebook() -> None:
    hostile = hit(1, text=HOSTILE, modality=HOSTILE, best_part=HOSTILE, item_id=HOSTILE)
    seen = Elements(results([hostile], query=HOSTILE)._repr_html_())
    assert {tag for tag, _ in seen.tags} <= {"div", "strong", "span", "img", "br"}
    assert HOSTILE in seen.text


def test_a_notebook_is_not_filled_by_a_long_list_and_says_so() -> None:
    html = results([hit(rank) for rank in range(1, MOST_IN_NOTEBOOK + 11)])._repr_html_()
    assert html.count("<img ") == MOST_IN_NOTEBOOK
    assert f"{MOST_IN_NOTEBOOK + 10} hits" in html
    assert f"the first {MOST_IN_NOTEBOOK} are shown" in html


def test_a_hit_without_a_thumbnail_is_shown_by_its_words() -> None:
    bare = Results("q", "exact", 1.0, (hit(1, text="x" * 500),))
    html = bare._repr_html_()
    assert "<img" not in html
    assert "x" * 80 in html
    assert "…" in html
