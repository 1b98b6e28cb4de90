"""Where an index may lie, as it is typed; storage itself is in tests/cluster/test_s3.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3search.errors import UsageError
from m3search.stores.folder import locate
from m3search.stores.place import ObjectPath, beside, place_of


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://key:sesame@bucket/index", "AWS_SECRET_ACCESS_KEY"),
        ("s3://bucket/index?secret=sesame", "AWS_SECRET_ACCESS_KEY"),
        ("gs://bucket/index", "s3://BUCKET/PREFIX"),
        ("s3:///index", "s3://BUCKET/PREFIX"),
    ],
)
def test_addresses(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        place_of(address)
    assert "sesame" not in str(raised.value)


def test_nothing_is_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.hospital.example")
    with pytest.raises(UsageError, match="https"):
        place_of("s3://bucket/index").exists()


def test_an_address_is_told_from_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of("chest") == Path("chest")
    assert str(place_of("s3://bucket/scans/")) == "s3://bucket/scans"
    monkeypatch.setenv("M3SEARCH_INDEX", "s3://bucket/scans")
    found = locate()
    assert isinstance(found, ObjectPath)
    assert (found.name, found.parent, str(found / "tables")) == (
        "scans",
        ObjectPath("bucket"),
        "s3://bucket/scans/tables",
    )


def test_what_a_machine_keeps_beside_an_address_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M3SEARCH_STATE", str(tmp_path / "state"))
    one, other = (beside(place_of(f"s3://bucket/{name}")) for name in ("one", "other"))
    assert one != other
    assert one.stat().st_mode & 0o777 == 0o700
    assert beside(tmp_path) == tmp_path
