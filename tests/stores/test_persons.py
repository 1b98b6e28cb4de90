"""What an index says of itself about persons."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import m3search
from m3search.privacy import Pseudonyms
from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.persons import NOT_GUARANTEED, WHAT, report


def made(path: Path) -> IndexFolder:
    index = IndexFolder.create(path / "i", Manifest(encoder="fake", fingerprint="f0" * 32, dim=4))
    key = Pseudonyms.load(index.key_file)
    people = [("a", "F", "30-39"), ("b", "F", "30-39"), ("c", "M", "90+"), ("a", "F", "30-39"), ("", "M", "90+")]
    rows = [
        {
            "item_id": f"item-{number}", "modality": "xray", "vector": np.eye(4)[0], "sex": sex,
            "patient_key": key.of(patient) or None, "age_band": band, "year": 2020, "body_part": "CHEST",
            "uri": f"{number}.dcm",
            "text": "Seen on 3 March 2019 by Dr. Smith" if number == 1 else "effusion",
            "provenance": '{"burned_in": "painted over"}' if number == 2 else "{}",
        }
        for number, (patient, sex, band) in enumerate(people)
    ]  # fmt: skip
    index.record().write(rows)
    return index


def test_persons_are_counted_by_what_they_share(tmp_path: Path) -> None:
    found = report(made(tmp_path))
    assert found.items == 5
    alike = found.alike
    assert (alike.persons, alike.combinations, alike.smallest, alike.alone, alike.few) == (4, 2, 2, 0, 4)


def test_columns_say_what_they_hold_and_what_to_look_at(tmp_path: Path) -> None:
    found = {column.name: column for column in report(made(tmp_path)).columns}
    assert set(WHAT) < set(found)
    assert (found["patient_key"].filled, found["patient_key"].distinct) == (4, 3)
    assert found["text"].leads == {"date": 1, "name": 1}
    assert found["uri"].leads == {}
    assert found["vector"].filled == 5


def test_modes_key_audit_and_promises_are_told(tmp_path: Path) -> None:
    index = made(tmp_path)
    good = report(index)
    assert all(state.ok for state in good.states)
    assert any("painted over in 1 items" in state.found for state in good.states)
    index.path.chmod(0o755)
    index.key_file.unlink()
    m3search.switch_audit(index.path, on=False)
    bad = {state.what for state in m3search.privacy_report(index.path).states if not state.ok}
    assert bad == {"index folder", "pseudonym key", "audit"}
    assert "anonymisation" in NOT_GUARANTEED[0]
