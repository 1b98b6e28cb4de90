"""One index run: scan, plan, read, embed, write.

Workers decode while this process embeds full batches and a thread commits the shard before: three stages, each busy. A
shard is one atomic commit; whatever kills the run costs at most the open shard, and the next run continues.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import BundleError, Reason, UnreadableFile
from m3search.indexer import reports, retry
from m3search.indexer.embed import Embedded, Embedder
from m3search.indexer.inspect import Inspected, inspect
from m3search.indexer.ledger import Ledger, is_of
from m3search.indexer.plan import Declared, Plan, Planner, Work, compare
from m3search.indexer.read import read
from m3search.indexer.rows import RowWriter, text_of
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.local import LocalRunner, Task
from m3search.indexer.runners.process import Usage
from m3search.modalities.burned_in import Policy as BurnedIn
from m3search.modalities.reading import raster_image, unreadable
from m3search.privacy import PathMask, Pseudonyms
from m3search.stores.deletion import finish
from m3search.stores.tombstones import Tombstones

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.indexer.archives.folder import Archive, FileStat
    from m3search.indexer.read import Reading
    from m3search.stores.folder import IndexFolder
    from m3search.stores.lance import LanceStore

SHARD_SECONDS = 2.0  # after which an open shard is committed, so that a kill never costs much


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of the run is; `total` is 0 where it is not known."""

    stage: str  # "scan", "inspect", "index"
    done: int
    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: the keys of `m3search index --json`."""

    run_id: str
    seen: int  # items and failures
    indexed: int
    unchanged: int
    failed: int
    removed: int
    gone: int  # items whose files are no longer in the archive, not removed
    deleted: int  # items of the archive that were deleted from the index and stay out
    by_modality: dict[str, int]  # items in the index after the run
    seconds: float


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made."""

    modality: str = ""  # of files whose header does not say
    workers: int | None = None  # None: one per core
    burned_in: BurnedIn = "mask"  # what becomes of text in pixels: see `modalities.burned_in`
    prune: bool = False  # remove items whose files are gone
    shard_items: int = 512  # items of one commit, unless SHARD_SECONDS pass first
    allowance: Allowance = field(default_factory=Allowance)  # of one file in a reading process
    retry: bool = False  # read only what failed before: see `m3search.indexer.retry_failures`


class Run:
    """One index run of one archive into one index. `run()` may be called once."""

    usage: Usage  # what the reading processes went through, once `run` began

    def __init__(self, index: IndexFolder, encoder: Encoder, archive: Archive, options: Options) -> None:
        self._index = index
        self._prefix = ""  # begins the archive's uris, once its place among the archives of the index is known
        self._encoder = encoder
        self._archive = archive
        self._options = options
        self._store: LanceStore = index.record()
        self._pseudonyms = Pseudonyms.load(index.key_file)
        self._run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self._failures: dict[Path, UnreadableFile] = {}
        self._indexed = 0
        self._tombstones: Tombstones  # read once the lock is held
        self._deleted: list[dict[str, str]] = []  # items of deleted patients that this run met

    def run(self, report: Callable[[Progress], None] = lambda _: None) -> Report:
        """Index the archive.

        Raises:
            IndexLocked: another run is writing.
        """
        started = time.monotonic()
        with self._index.lock(), LocalRunner(self._options.workers, self._options.allowance) as runner:
            self.usage = runner.usage
            self._tombstones = Tombstones.load(self._index)
            finish(self._store, self._tombstones)
            self._index = self._index.add_archive(self._archive.root)
            if place := self._index.manifest.archives.index(str(self._archive.root)):
                self._prefix = f"@{place}/"
            self._store.record_run({"run_id": self._run_id, "started_at": datetime.now(UTC)} | self._versions)
            plan, mask = self._plan(runner, report)
            self._store.update_files(
                {item_id: [entry.as_row() for entry in moved.files] for item_id, moved in plan.moved.items()},
                {item_id: moved.uri for item_id, moved in plan.moved.items()},
            )
            self._write(self._embedded(plan, runner, report))
            vanished = plan.gone if self._options.prune else set()
            removed = self._store.delete(sorted(plan.superseded | vanished))
            self._record_failures(mask)
            unchanged = len(plan.unchanged) + len(plan.moved)
            done = Report(
                run_id=self._run_id,
                seen=self._indexed + unchanged + len(self._failures),
                indexed=self._indexed,
                unchanged=unchanged,
                failed=len(self._failures),
                removed=removed,
                gone=len(plan.gone - vanished),
                deleted=len(plan.deleted) + len(self._deleted),
                by_modality=self._store.tally("modality"),
                seconds=round(time.monotonic() - started, 3),
            )
            self._finish(done)
        return done

    def _plan(self, runner: LocalRunner, report: Callable[[Progress], None]) -> tuple[Plan, PathMask]:
        ledger = Ledger.of(self._store, self._prefix)
        masked_before = (*ledger.paths(), *self._store.failures().column("uri").to_pylist())
        mask = PathMask(self._pseudonyms, masked_before, self._prefix)
        stats: list[FileStat] = []
        for found in self._archive.scan():
            if isinstance(found, UnreadableFile):
                self._fail(found, found.path)
            else:
                stats.append(found)
            report(Progress("scan", len(stats), 0, len(self._failures)))
        declared = Declared(self._archive.root, self._archive.rows, self._pseudonyms, self._options.modality)
        known = compare(stats, ledger, declared, mask, self._failures)
        wanted = known.to_inspect(ledger)
        if self._options.retry:
            failed = self._failed_before(mask)
            inspected = list(self._inspected(retry.first(wanted, failed), declared, runner, report))
            beside = retry.beside(wanted, inspected, failed)
            others = self._inspected(beside, declared, runner, report)
            inspected += retry.related(others, inspected, failed)
            known = retry.only(known, ledger, inspected, mask, declared.root)
        else:
            inspected = list(self._inspected(wanted, declared, runner, report))
        speaking = reports.beside(inspected, ledger, known, self._pseudonyms)
        inspected += self._inspected(speaking, declared, runner, report)
        planner = Planner(ledger, known, declared, mask, self._pseudonyms, self._tombstones)
        plan = planner.plan(inspected, self._failures)
        for failure in plan.failures:
            self._fail(failure, failure.path)
        return plan, mask

    def _failed_before(self, mask: PathMask) -> set[Path]:
        """Files and folders of this archive in the failures table. One that is gone stays a failure."""
        failed = set()
        for uri in self._store.failures().column("uri").to_pylist():
            if is_of(uri, self._prefix):
                try:
                    path = mask.resolve(self._archive.root, uri)
                    path.stat()
                except OSError as error:
                    path = self._archive.root / uri.removeprefix(self._prefix)
                    self._fail(unreadable(path, error), path)
                else:
                    failed.add(path)
        return failed

    def _inspected(
        self, stats: list[FileStat], declared: Declared, runner: LocalRunner, report: Callable[[Progress], None]
    ) -> Iterator[Inspected]:
        tasks = (Task(stat, stat.path, stat.path, declared.word(stat.path)) for stat in stats)
        for done, (stat, result) in enumerate(runner.map(inspect, tasks), start=1):
            if isinstance(result, UnreadableFile):
                self._fail(result, stat.path)
            elif result is not None:
                yield result
            report(Progress("inspect", done, len(stats), len(self._failures)))

    def _decided(self, work: list[Work], runner: LocalRunner) -> Iterator[Work]:
        """The work with every modality known: rasters that nobody described are shown to the encoder."""
        yield from (one for one in work if one.source.modality)
        undecided = [one for one in work if not one.source.modality]
        tasks = (Task(one, one.source.files[0], one.source.files[0]) for one in undecided)
        for one, image in runner.map(raster_image, tasks):
            if isinstance(image, UnreadableFile):
                self._fail(image, one.source.files[0])
                continue
            try:
                modality, _ = self._encoder.guess_modality(image)
            except BundleError as error:  # an imported model has no router
                self._fail(UnreadableFile(one.source.files[0], Reason.UNSUPPORTED, str(error)), one.source.files[0])
            else:
                yield replace(one, source=replace(one.source, modality=modality))

    def _embedded(self, plan: Plan, runner: LocalRunner, report: Callable[[Progress], None]) -> Iterator[Embedded]:
        """Items as their vectors are ready."""
        embedder = Embedder(self._encoder)
        tasks: list[Task[Work]] = []
        for work in self._decided(plan.work, runner):
            if spec := self._encoder.inputs.get(work.source.modality):
                tasks.append(Task(work, work.source.files[0], work.source, spec, self._options.burned_in, work.stats))
            else:
                self._fail(_no_tower(work, self._encoder.name), work.source.files[0])
        for done, (work, reading) in enumerate(runner.map(read, tasks), start=1):
            if isinstance(reading, UnreadableFile):
                self._fail(reading, work.source.files[0])
            elif not self._stays_out(work, reading):
                yield from embedder.add(work, reading)
            report(Progress("index", done, len(tasks), len(self._failures)))
        yield from embedder.flush()

    def _stays_out(self, work: Work, reading: Reading) -> bool:
        """Whether the patient was deleted: only a file that was read tells whose it is."""
        patient_key = RowWriter(self._pseudonyms, self._run_id).patient_key(work, reading)
        if patient_key not in self._tombstones.patients:
            return False
        self._deleted.append({"item_id": work.item_id, "series_key": work.series_key, "patient_key": patient_key})
        return True

    def _write(self, embedded: Iterable[Embedded]) -> None:
        """Commit shard after shard while the next one is being made."""
        with ThreadPoolExecutor(1) as writer:
            last: Future[None] | None = None
            for shard in _shards(embedded, self._options.shard_items):
                if last:
                    last.result()  # one commit at a time; an error of the disk ends the run here
                last = writer.submit(self._commit, shard)
                self._indexed += len(shard)
            if last:
                last.result()

    def _commit(self, shard: list[Embedded]) -> None:
        from m3search.stores import schema

        rows = RowWriter(self._pseudonyms, self._run_id)
        now = datetime.now(UTC)
        texts = [text_of(one.work, one.reading) for one in shard]
        vectors = dict(zip(unique := sorted({t for t in texts if t}), self._encoder.encode_text(unique), strict=True))
        items = [rows.item(one, text, vectors.get(text), now) for one, text in zip(shard, texts, strict=True)]
        parts = [part for one in shard for part in rows.parts(one)]
        dim = self._encoder.dim
        self._store.write(schema.conform(items, schema.items(dim)), schema.conform(parts, schema.parts(dim)))
        if replaced := sorted({item_id for one in shard for item_id in one.work.replaces}):
            self._store.delete(replaced)

    def _fail(self, error: UnreadableFile, path: Path) -> None:
        """Remember a failure under the file it names, or under `path` where that lies outside the archive."""
        self._failures[error.path if error.path.is_relative_to(self._archive.root) else path] = error

    def _record_failures(self, mask: PathMask) -> None:
        """The failures table after a run: what failed now. Files that are mended or gone leave it."""
        now = datetime.now(UTC)
        rows = [
            {
                "uri": mask.uri(path.relative_to(self._archive.root)),
                "reason": error.reason.value,
                "message": error.message,
                "run_id": self._run_id,
                "failed_at": now,
            }
            for path, error in self._failures.items()
        ]
        before = {uri for uri in self._store.failures().column("uri").to_pylist() if is_of(uri, self._prefix)}
        self._store.clear_failures(sorted(before - {row["uri"] for row in rows}))
        self._store.record_failures(rows)

    def _finish(self, report: Report) -> None:
        from m3search.stores import fulltext

        columns = ("run_id", "seen", "indexed", "unchanged", "failed", "removed")
        row = {column: getattr(report, column) for column in columns}
        started = datetime.now(UTC) - timedelta(seconds=report.seconds)
        self._store.record_run(row | self._versions | {"started_at": started, "finished_at": datetime.now(UTC)})
        if self._deleted:  # the next run knows them before it reads them
            self._tombstones.having(self._deleted).save(self._index)
        if report.indexed or report.removed:
            self._store.optimize()
            fulltext.build(self._index.tables)
        self._index.reader().publish()

    @property
    def _versions(self) -> dict[str, str]:
        return {"encoder": self._encoder.fingerprint, "version": metadata.version("m3search")}


def _shards(embedded: Iterable[Embedded], size: int) -> Iterator[list[Embedded]]:
    shard: list[Embedded] = []
    opened = time.monotonic()
    for one in embedded:
        shard.append(one)
        if len(shard) >= size or time.monotonic() - opened > SHARD_SECONDS:
            yield shard
            shard, opened = [], time.monotonic()
    if shard:
        yield shard


def _no_tower(work: Work, encoder: str) -> UnreadableFile:
    modality = work.source.modality
    return UnreadableFile(
        work.source.files[0], Reason.UNSUPPORTED, f"is {modality}, which encoder {encoder} has no tower for"
    )
