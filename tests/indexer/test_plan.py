"""What a run decides to do, given the archive and what is stored: no files are decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from m3search.indexer.archives.base import FileStat
from m3search.indexer.archives.manifest import Row
from m3search.indexer.inspect import Digest, Inspected
from m3search.indexer.ledger import Ledger, Stored
from m3search.indexer.plan import Declared, Plan, Planner, compare
from m3search.privacy import PathMask, Pseudonyms

PSEUDONYMS = Pseudonyms(b"k" * 32)


class Archive:
    """A folder whose files are planned like a real run does, one run after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stored: dict[str, Stored] = {}
        self.rows: dict[Path, Row] = {}

    def put(self, name: str, content: str, mtime: int = 0) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        import os

        os.utime(path, ns=(mtime, mtime))

    def inspected(self, stats: Sequence[FileStat]) -> list[Inspected]:
        """A file of CT series s begins with "s:"; anything else stands alone."""
        found = []
        for stat in stats:
            text = stat.path.read_text()
            series, _, rest = text.partition(":")
            digest = Digest(stat, blake3(text.encode()).hexdigest())
            found.append(
                Inspected(
                    path=stat.path,
                    format="dicom",
                    modality="ct" if rest else "xray",
                    modality_from="header",
                    series=series if rest else "",
                    identifiers=(),
                    digests=(digest,),
                )
            )
        return found

    def plan(self, failing: Sequence[str] = ()) -> Plan:
        ledger = Ledger(self.stored.values())
        mask = PathMask(PSEUDONYMS, ledger.paths())
        paths = sorted(path for path in self.root.rglob("*") if path.is_file())
        declared = Declared(self.root, self.rows, PSEUDONYMS)
        known = compare([FileStat.of(path) for path in paths], ledger, declared, mask)
        failed = {self.root / name for name in failing}
        todo = [stat for stat in known.to_inspect(ledger) if stat.path not in failed]
        planner = Planner(ledger, known, declared, mask, PSEUDONYMS)
        return planner.plan(self.inspected(todo), failed)

    def run(self) -> Plan:
        """Plan, and store what the plan says."""
        plan = self.plan()
        for item_id in plan.superseded:
            del self.stored[item_id]
        for item_id, moved in plan.moved.items():
            self.stored[item_id] = replace(self.stored[item_id], uri=moved.uri, files=moved.files)
        for work in plan.work:
            for replaced in work.replaces:
                self.stored.pop(replaced, None)
            self.stored[work.item_id] = Stored(work.item_id, work.uri, work.series_key, work.described, work.files)
        return plan

    def names(self) -> dict[str, list[str]]:
        """uri -> its files, of everything stored."""
        return {item.uri: [entry.path for entry in item.files] for item in self.stored.values()}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path)
    archive.put("a.dcm", "a")
    archive.put("b.dcm", "b")
    archive.put("ct/1.dcm", "s:1")
    archive.put("ct/2.dcm", "s:2")
    return archive


def test_slices_of_a_series_are_one_item_and_the_rest_stand_alone(archive: Archive) -> None:
    plan = archive.run()
    assert archive.names() == {"a.dcm": ["a.dcm"], "b.dcm": ["b.dcm"], "ct": ["ct/1.dcm", "ct/2.dcm"]}
    assert {work.source.modality for work in plan.work} == {"xray", "ct"}


def test_a_second_run_has_nothing_to_do(archive: Archive) -> None:
    archive.run()
    plan = archive.plan()
    assert not plan.work
    assert plan.unchanged == set(archive.stored)


def test_equal_bytes_in_two_places_are_one_item_with_two_copies(archive: Archive) -> None:
    archive.put("copy/a.dcm", "a")
    assert len(archive.run().work) == 3
    assert archive.names()["a.dcm"] == ["a.dcm", "copy/a.dcm"]
    assert not archive.plan().work


def test_a_copy_or_a_rename_made_later_is_not_read_again(archive: Archive) -> None:
    archive.run()
    (archive.root / "a.dcm").rename(archive.root / "renamed.dcm")
    archive.put("copy/b.dcm", "b")
    plan = archive.run()
    assert not plan.work
    assert not plan.gone
    assert archive.names()["renamed.dcm"] == ["renamed.dcm"]
    assert archive.names()["b.dcm"] == ["b.dcm", "copy/b.dcm"]


def test_a_touched_file_is_hashed_and_not_read_again(archive: Archive) -> None:
    archive.run()
    archive.put("a.dcm", "a", mtime=5)
    plan = archive.run()
    assert not plan.work
    assert len(plan.moved) == 1
    assert not archive.plan().moved


def test_a_changed_file_replaces_its_item(archive: Archive) -> None:
    archive.run()
    former = next(item_id for item_id, item in archive.stored.items() if item.uri == "a.dcm")
    archive.put("a.dcm", "A", mtime=5)
    plan = archive.run()
    assert [work.replaces for work in plan.work] == [(former,)]
    assert len(archive.stored) == 3


def test_one_of_two_copies_changes_and_the_other_keeps_the_item(archive: Archive) -> None:
    archive.put("copy/a.dcm", "a")
    archive.run()
    archive.put("copy/a.dcm", "other", mtime=5)
    archive.run()
    assert archive.names()["a.dcm"] == ["a.dcm"]
    assert archive.names()["copy/a.dcm"] == ["copy/a.dcm"]


def test_a_new_slice_reads_the_whole_series_anew(archive: Archive) -> None:
    archive.run()
    archive.put("ct/3.dcm", "s:3")
    plan = archive.run()
    assert [len(work.source.files) for work in plan.work] == [3]
    assert archive.names()["ct"] == ["ct/1.dcm", "ct/2.dcm", "ct/3.dcm"]
    assert len(archive.stored) == 3


def test_a_slice_that_vanished_changes_the_series(archive: Archive) -> None:
    archive.run()
    (archive.root / "ct/2.dcm").unlink()
    archive.run()
    assert archive.names()["ct/1.dcm"] == ["ct/1.dcm"]
    assert len(archive.stored) == 3


def test_vanished_items_are_reported_and_kept(archive: Archive) -> None:
    archive.run()
    (archive.root / "a.dcm").unlink()
    plan = archive.plan()
    assert len(plan.gone) == 1
    assert not plan.superseded


def test_a_file_that_fails_now_keeps_what_is_stored_of_it(archive: Archive) -> None:
    archive.run()
    archive.put("a.dcm", "damaged", mtime=5)
    plan = archive.plan(failing=["a.dcm"])
    assert not plan.work
    assert not plan.superseded


def test_what_a_killed_run_left_between_write_and_delete_is_swept(archive: Archive) -> None:
    archive.run()
    before = dict(archive.stored)
    archive.put("a.dcm", "A", mtime=5)
    archive.run()
    archive.stored = before | archive.stored  # the new row is there, the old one not yet deleted
    plan = archive.run()
    assert not plan.work
    assert len(plan.superseded) == 1
    assert len(archive.stored) == 3


def test_manifest_rows_of_slices_become_one(archive: Archive) -> None:
    archive.rows = {
        archive.root / "ct/1.dcm": Row(text="Chest CT.", labels=("Nodule",)),
        archive.root / "ct/2.dcm": Row(text="Chest CT again.", labels=("Nodule", "Effusion")),
    }
    work = next(work for work in archive.plan().work if work.source.modality == "ct")
    assert work.row.text == "Chest CT."
    assert work.row.labels == ("Nodule", "Effusion")


def test_item_ids_depend_on_content_alone(archive: Archive, tmp_path: Path) -> None:
    archive.run()
    other = Archive(tmp_path / "elsewhere")
    other.put("x/2.dcm", "s:2")
    other.put("y/1.dcm", "s:1")
    other.run()
    assert set(other.stored) < set(archive.stored)


def test_segments_are_read_through_their_record_alone(archive: Archive) -> None:
    archive.put("rec_1.hea", "segment")
    archive.put("rec.hea", "record")
    real = archive.inspected

    def with_companion(stats: Sequence[FileStat]) -> list[Inspected]:
        found = {one.path.name: one for one in real(stats)}
        if "rec.hea" in found:
            digests = found["rec.hea"].digests + found["rec_1.hea"].digests
            found["rec.hea"] = replace(found["rec.hea"], digests=digests)
        return list(found.values())

    archive.inspected = with_companion  # type: ignore[method-assign]
    archive.run()
    assert archive.names()["rec.hea"] == ["rec.hea", "rec_1.hea"]
    assert "rec_1.hea" not in archive.names()
    assert not archive.plan().work


def test_an_edited_manifest_reads_its_items_anew_and_no_others(archive: Archive) -> None:
    archive.rows = {archive.root / "a.dcm": Row(text="Effusion.")}
    archive.run()
    assert not archive.plan().work
    archive.rows = {
        archive.root / "a.dcm": Row(text="No effusion."),
        archive.root / "ct/2.dcm": Row(labels=("Nodule",)),
    }
    plan = archive.run()
    assert sorted(work.uri for work in plan.work) == ["a.dcm", "ct"]
    assert all(not work.replaces for work in plan.work)
    assert not archive.plan().work
    assert len(archive.stored) == 3
