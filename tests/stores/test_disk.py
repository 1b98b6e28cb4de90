"""A disk that cannot be written, as deletions and compactions say it: in words, with the folder and a remedy."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from m3search import upkeep
from m3search.errors import IndexUnwritable
from m3search.stores import compact
from m3search.stores.folder import IndexFolder


def _compact(path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    monkeypatch.setattr(compact, "forget", full)
    monkeypatch.setattr(compact.time, "sleep", lambda _: None)
    upkeep.compact(str(path))


@pytest.mark.parametrize("chest", ["disk"], indirect=True)
@pytest.mark.parametrize(
    "act",
    [
        lambda path, _: upkeep.delete(path, items=["item-02"]),
        lambda path, _: upkeep.switch_audit(path, on=False),
        _compact,
    ],
    ids=["delete", "audit", "compact"],
)
def test_a_full_disk_names_the_folder(
    act: Callable[[object, pytest.MonkeyPatch], object], chest: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IndexUnwritable, match=f"index {chest.path} cannot be written, no space is left"):
        act(chest.path, monkeypatch)
    monkeypatch.undo()
    assert chest.record().count() == 12
    assert list(chest.path.glob("*.tmp")) == []
