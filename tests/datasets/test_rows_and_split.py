"""Manifests as rows, and the split that training and judging share."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3search.datasets import Row, join_series, names_key, read_manifests, split
from m3search.errors import DataError
from m3search.phantoms import Phantom


def row(group: str, *labels: str, modality: str = "xray", text: str = "A text.") -> Row:
    return Row(Path(f"{group}.png"), modality, group, text, text, labels)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["xray", "ct"]), st.sets(st.sampled_from("abcde"), max_size=3)),
        min_size=1,
        max_size=80,
    )
)
def test_a_group_is_never_on_both_sides_and_no_row_is_lost(drawn: list[tuple[int, str, set[str]]]) -> None:
    rows = [row(f"g{group}", *sorted(labels), modality=modality) for group, modality, labels in drawn]
    training, validation = split(rows)
    assert not {r.group for r in training} & {r.group for r in validation}
    assert Counter(training) + Counter(validation) == Counter(rows)


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    rows = [row(f"g{i}", "ab"[i % 2]) for i in range(50)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert set(split(rows)[1]) == set(split(shuffled)[1])


def test_a_fifth_is_held_out_and_rare_labels_are_on_both_sides() -> None:
    rows = [row(f"g{i}", "common") for i in range(100)] + [row("r1", "rare"), row("r2", "rare", "common")]
    training, validation = split(rows)
    assert 18 <= len(validation) <= 23
    for side in (training, validation):
        assert any("rare" in r.labels for r in side)


@pytest.mark.shared_data
def test_the_real_split(shared_data: Path) -> None:
    rows = read_manifests([shared_data / "train/*/manifest.csv"])
    training, validation = split(rows)
    assert not {r.group for r in training} & {r.group for r in validation}
    for modality in {r.modality for r in rows}:
        held_out = sum(r.modality == modality for r in validation) / sum(r.modality == modality for r in rows)
        assert 0.15 <= held_out <= 0.28, modality


def test_a_manifest_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,modality,text\na.png,xray,hello\n")
    with pytest.raises(DataError, match=r"manifest\.csv has no column 'labels'"):
        read_manifests([tmp_path / "manifest.csv"])
    with pytest.raises(DataError, match="no manifest matches"):
        read_manifests([tmp_path / "absent/*.csv"])
    (tmp_path / "manifest.csv").write_text("path,modality,text,labels\na.png,x-ray,hello,\n")
    with pytest.raises(DataError, match=r"manifest\.csv, line 2: no modality 'x-ray'; choose from"):
        read_manifests([tmp_path / "manifest.csv"])


def test_groups_of_one_patient_are_one_group(tmp_path: Path) -> None:
    lines = [
        "a.png,study 1,jane",
        "b.png,study 2,jane",
        "c.png,study 2,",
        "d.png,study 3,john",
        "e.png,,",
        "f.png,,john",
    ]
    text = "\n".join(f"{line},xray,text,label" for line in lines)
    (tmp_path / "manifest.csv").write_text(f"path,group,patient_id,modality,text,labels\n{text}\n")
    groups = [row.group for row in read_manifests([tmp_path / "manifest.csv"])]
    assert groups[:3] == ["study 1"] * 3, "study 1 and study 2 have a patient in common"
    assert groups[3] == groups[5]
    assert len(set(groups)) == 3


def test_the_key_names_a_set_of_items_on_any_machine(tmp_path: Path) -> None:
    rows = {}
    for place in ("here", "there"):
        (tmp_path / place / "ct").mkdir(parents=True)
        (tmp_path / place / "ct/manifest.csv").write_text("path,modality,text,labels\na.png,ct,t,l\nb.png,ct,t,l\n")
        rows[place] = read_manifests([tmp_path / place / "*/manifest.csv"])
    assert names_key(rows["here"]) == names_key(reversed(rows["there"]))
    assert names_key(rows["here"]) != names_key(rows["here"][:1])


def test_slices_of_a_series_are_one_item(phantoms: tuple[Path, list[Phantom]]) -> None:
    rows = read_manifests([phantoms[0] / "ct/manifest.csv"])
    joined = join_series(rows)
    assert len(joined) < len(rows)
    series = next(row for row in joined if row.series)
    assert list(series.series) == sorted(series.series)
    assert sum(len(row.series) or 1 for row in joined) == len(rows)


def test_a_file_that_cannot_be_read_stays_a_row(tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"nonsense")
    rows = [Row(tmp_path / name, "ct", name, "", "", ()) for name in ("broken.dcm", "absent.dcm")]
    assert join_series(rows) == rows
