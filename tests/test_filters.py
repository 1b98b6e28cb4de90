"""The filter language: what it means, what it refuses, and that LanceDB and plain Python agree on every row."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3search import filters
from m3search.errors import FilterError, UsageError
from m3search.filters.conditions import AllOf, AnyOf, Compare, Contains, IsNull, Not, OneOf, StartsWith
from m3search.filters.milvus import to_milvus
from m3search.stores import schema
from m3search.stores.lance import LanceStore
from m3search.stores.milvus import Address, MilvusStore

ROWS = [
    {"item_id": "a1", "modality": "xray", "sex": "F", "year": 2019, "labels": ["Pneumonia"], "text": "Left effusion."},
    {"item_id": "a2", "modality": "ct", "sex": "M", "year": 2010, "labels": ["No finding", "Old"], "text": ""},
    {"item_id": "b1", "modality": "ecg", "sex": None, "year": None, "labels": [], "text": None, "age_band": "60-69"},
    {"item_id": "b2", "modality": "xray", "sex": "", "year": 2021, "labels": None, "text": "it's 100% \\ EFFUSION"},
]
NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
TABLE = schema.conform([row | {"vector": np.ones(2), "indexed_at": NOON} for row in ROWS], schema.items(2))


def matching(expression: str) -> str:
    found = filters.mask(filters.parse(expression), TABLE)
    return " ".join(row["item_id"] for row, match in zip(ROWS, found, strict=True) if match)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("modality = 'xray'", "a1 b2"),
        ("modality == xray", "a1 b2"),
        ('MODALITY <> "xray"', "a2 b1"),
        ("year >= 2019", "a1 b2"),
        ("year between 2010 and 2019", "a1 a2"),
        ("year between 2010 and 2019 and sex = F", "a1"),
        ("modality in (ct, 'ecg')", "a2 b1"),
        ("modality not in (ct, 'ecg')", "a1 b2"),
        ("labels contains pneumonia", "a1"),
        ("labels contains pneumon", ""),
        ("labels contains 'No finding'", "a2"),
        ("not labels contains pneumonia", "a2 b1"),
        ("text contains effusion", "a1 b2"),
        ("text contains 'it''s 100% \\ e'", "b2"),
        ('text contains "it\'s"', "b2"),
        ("age_band = 60-69", "b1"),
        ("age_band >= '50-59'", "b1"),
        ("item_id starts with b", "b1 b2"),
        ("sex != F", "a2 b2"),  # null is not "not F"; "" is
        ("not sex = F", "a2 b2"),
        ("sex is null", "b1"),
        ("year is not null and not (modality = ct or year > 2020)", "a1"),
        ("modality = ct or modality = ecg and year = 1900", "a2"),
        ("sex = F or year is null", "a1 b1"),
        ("indexed_at > 2024-05-31", "a1 a2 b1 b2"),
        ("indexed_at < '2024-05-31T14:00:00+02:00'", ""),
        ("indexed_at = '2024-05-31T14:00:00+02:00'", "a1 a2 b1 b2"),
    ],
)
def test_what_expressions_mean(expression, expected):
    assert matching(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message", "at"),
    [
        ("modalty = ct", "did you mean modality?", "modalty"),
        ("sex = F and zzz = 3", "choose from item_id, modality", "zzz"),
        ("year = soon", "year takes a whole number up to 32767, not 'soon'", "soon"),
        ("year < 32768", "up to 32767, not '32768'", "32768"),
        ("indexed_at > yesterday", "such as 2024-05-31", "yesterday"),
        ("labels = Mass", "labels contains 'Mass'", "Mass"),
        ("year contains 20", "year cannot contain '20'", "contains"),
        ("labels starts with P", "not text", "starts"),
        ("text contains ''", "give some text", "contains"),
        ("year = 'abc", "a quote is not closed", "'abc"),
        ("(year = 3", "expected ')'", None),
        ("year", "expected one of =", None),
        ("year 3", "expected one of =", "3"),
        ("", "expected the name of a column", None),
        ("year = 3 sex = F", "expected 'and', 'or' or the end", "sex"),
        ("year in ()", "expected a value", ")"),
        ("year = and", "expected a value", "and"),
        ("year between 3", "expected 'and'", None),
        ("year ! 3", "not understood", "!"),
        ("(" * 60 + "year = 3" + ")" * 60, "more than 50 nested", None),
    ],
)
def test_errors_show_the_place_and_the_remedy(expression, message, at):
    with pytest.raises(FilterError) as caught:
        filters.parse(expression)
    text, shown, caret = str(caught.value).split("\n")
    assert message in text
    assert shown == "  " + expression
    if message.startswith("more"):
        return
    assert caret.index("^") - 2 == (len(expression) if at is None else expression.rindex(at))
    assert isinstance(caught.value, UsageError)


def test_conditions_made_by_programs():
    assert filters.parse("sex = F") == filters.equals("sex", "F")
    assert filters.parse("year in (1, 2)") == filters.one_of("year", [1, "2"])
    both = filters.all_of([filters.equals("sex", "F"), filters.contains("labels", "Mass")])
    assert both == filters.parse("sex = F and labels contains Mass")
    assert filters.any_of([filters.equals("sex", "F")]) == filters.equals("sex", "F")
    assert filters.columns_of(filters.parse("not (sex = F or year = 3) and labels contains x")) == [
        "labels",
        "sex",
        "year",
    ]
    with pytest.raises(FilterError, match="did you mean modality"):
        filters.one_of("modalities", ["ct"])


def test_every_filterable_column_is_stored():
    assert set(filters.COLUMNS) <= set(schema.items(4).names)


def test_no_value_escapes_its_literal():
    hostile = "x' OR '1'='1"
    assert filters.to_sql(filters.equals("sex", hostile)) == "`sex` = 'x'' OR ''1''=''1'"
    assert not filters.mask(filters.equals("sex", hostile), TABLE).any()
    with pytest.raises(FilterError):
        filters.equals("sex = 'F' OR sex", "M")


# ---------------------------------------------------------------------------------------------------------------------
WORDS = st.one_of(
    st.sampled_from(["F", "f", "xray", "É", "é", "", "a'b", 'a"b', "a\\b", "a%b", "a_b", "F F", "null", "ß", "Σ", "`"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1f"), max_size=4),
)
SOME_WORDS = WORDS.filter(bool)
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
CELLS = {
    "sex": st.none() | WORDS,
    "text": st.none() | WORDS,
    "labels": st.none() | st.lists(st.none() | SOME_WORDS, max_size=3),
    "year": st.none() | st.integers(-5, 5),
    "indexed_at": st.none() | TIMES,
}
YEARS = st.integers(-6, 6) | st.sampled_from([-32767, 32767])
LEAVES = st.one_of(
    st.builds(Compare, st.sampled_from(["sex", "text"]), st.sampled_from(list(filters.conditions.OPERATORS)), WORDS),
    st.builds(
        Compare,
        st.just("year"),
        st.sampled_from(list(filters.conditions.OPERATORS)),
        YEARS,
    ),
    st.builds(Compare, st.just("indexed_at"), st.sampled_from(list(filters.conditions.OPERATORS)), TIMES),
    st.builds(OneOf, st.just("sex"), st.lists(WORDS, max_size=3).map(tuple)),
    st.builds(OneOf, st.just("year"), st.lists(st.integers(-5, 5), max_size=3).map(tuple)),
    st.builds(Contains, st.sampled_from(["text", "labels"]), SOME_WORDS),
    st.builds(StartsWith, st.sampled_from(["sex", "text"]), WORDS),
    st.builds(IsNull, st.sampled_from(list(CELLS))),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return LanceStore.create(tmp_path_factory.mktemp("lance") / "tables", 2)


def fill(store: LanceStore, rows: list[dict]) -> pa.Table:
    store.delete(store.matching())
    table = schema.conform(
        [row | {"item_id": f"{n}", "modality": "ct", "vector": np.ones(2)} for n, row in enumerate(rows)],
        schema.items(2),
    )
    store.upsert(table)
    return table


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=6), st.lists(CONDITIONS, min_size=5, max_size=10))
def test_lancedb_and_python_agree(store, rows, conditions):
    table = fill(store, rows)
    for condition in conditions:
        expected = [str(row) for row in np.flatnonzero(filters.mask(condition, table))]
        assert store.matching(condition) == sorted(expected), filters.to_sql(condition)
        assert store.count(condition) == len(expected)


def test_null_is_not_found_by_a_negation(store):
    fill(store, [{"sex": None}, {"sex": "M"}])
    for expression in ("not (sex in (F) and sex in (X))", "not (sex = F and sex = X)", "sex != F or sex != X"):
        assert store.matching(filters.parse(expression)) == ["1"]


@pytest.mark.parametrize("value", ["İ", "ΑΣ", "ẞ", "ǅ", "K"])  # where lower case is not one letter for one
def test_case_is_ignored_alike_in_both(store, value):
    table = fill(store, [{"text": value, "labels": [value]}, {"text": value.lower(), "labels": [value.lower()]}])
    for column in ("text", "labels"):
        condition = filters.contains(column, value)
        assert filters.mask(condition, table).all()
        assert store.count(condition) == 2


# Milvus --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.cluster)])
def in_milvus(request, tmp_path_factory):
    if request.param == "lite":
        pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
        address = Address(str(tmp_path_factory.mktemp("milvus") / "some.db"), "filtered")
    else:
        address = Address.of(f"{request.getfixturevalue('milvus_server')}/filtered")
    store = MilvusStore(address, 2)
    store.ensure()
    return store


def sayable(condition) -> bool:
    """Whether a condition can be asked of Milvus."""
    try:
        return bool(to_milvus(condition))
    except FilterError:
        return False


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=6),
    st.lists(CONDITIONS.filter(sayable), min_size=5, max_size=10),
)
def test_milvus_and_python_agree(in_milvus, rows, conditions):
    in_milvus.delete([f"{n}" for n in range(10)])
    table = schema.conform(
        [row | {"item_id": f"{n}", "modality": "ct", "vector": [1, 0]} for n, row in enumerate(rows)], schema.items(2)
    )
    in_milvus.upsert(table)
    for condition in conditions:
        expected = [str(row) for row in np.flatnonzero(filters.mask(condition, table))]
        (found,) = in_milvus.search(np.array([[1, 0]], np.float32), 10, condition)
        assert list(found.ids) == sorted(expected), to_milvus(condition)
        assert in_milvus.count(condition) == len(expected)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("text contains effusion", "text is not kept in Milvus"),
        ("sex = F or not uri starts with a", "uri is not kept in Milvus"),
        ("body_part contains ches", "cannot look for text within body_part"),
    ],
)
def test_what_milvus_cannot_be_asked_is_refused(expression, why):
    with pytest.raises(FilterError, match=why):
        to_milvus(filters.parse(expression))


def test_no_value_escapes_its_literal_in_milvus():
    hostile = 'x" or item_id != "'
    assert to_milvus(filters.equals("sex", hostile)) == '(sex != "") and (sex == "=x\\" or item_id != \\"")'
