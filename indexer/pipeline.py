"""One index run: scan, plan, read, embed, write.

Workers decode while one thread embeds full batches and another commits the shard before: three stages, each busy. A
shard is one atomic commit; whatever kills the run costs at most the open shard, and the next run continues.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from m3search.errors import BundleError, Reason, UnreadableFile, UsageError
from m3search.indexer import fetch, reports, retry
from m3search.indexer.archives.base import FileStat, Vouched
from m3search.indexer.archives.containers import Listing, is_container, list_members
from m3search.indexer.embed import Embedded, Embedder
from m3search.indexer.failures import Failures
from m3search.indexer.fetch import Reach
from m3search.indexer.inspect import Inspected
from m3search.indexer.ledger import Ledger, State
from m3search.indexer.options import Options, Progress, Report
from m3search.indexer.plan import Declared, Plan, Planner, Work, compare
from m3search.indexer.rows import RowWriter, text_of
from m3search.indexer.runners.base import IndexRunner, Task
from m3search.indexer.runners.local import LocalRunner
from m3search.indexer.runners.process import Usage
from m3search.privacy import PathMask, Pseudonyms, Sealed
from m3search.stores.deletion import finish
from m3search.stores.tombstones import Tombstones

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.indexer.archives.base import Archive
    from m3search.indexer.read import Reading
    from m3search.stores.folder import IndexFolder
    from m3search.stores.lance import LanceStore
    from m3search.types import InputSpec

SHARD_SECONDS = 2.0  # after which an open shard is committed, so that a kill never costs much


@dataclass(slots=True)
class _Found:
    """What the plans of a run left to do and to tell."""

    unchanged: int = 0
    gone: set[str] = field(default_factory=set)
    superseded: set[str] = field(default_factory=set)
    deleted: int = 0
    in_part: bool = False  # some plan was of a part of the archive: `unchanged` and `gone` are not the sum of all

    def take(self, plan: Plan, in_part: bool) -> None:
        """Add one plan that was carried out."""
        self.unchanged += len(plan.unchanged) + len(plan.moved)
        self.gone |= plan.gone
        self.superseded |= plan.superseded
        self.deleted += len(plan.deleted)
        self.in_part |= in_part


class Run:
    """One index run of one archive into one index. `run()` may be called once."""

    usage: Usage  # what the reading processes went through, once `run` began

    def __init__(self, index: IndexFolder, encoder: Encoder, archive: Archive, options: Options) -> None:
        self._index = index
        self._prefix = ""  # begins the archive's uris, once its place among the archives of the index is known
        if options.prune and options.pacs.only:
            raise UsageError("--prune with --only would remove every other modality; use one of them")
        self._encoder = encoder
        self._archive = archive
        self._reach = Reach(archive.access(index.scratch), archive.root, index.scratch)
        self._options = options
        self._store: LanceStore = index.record()
        self._pseudonyms = Pseudonyms.load(index.key_file)
        self._sealed = Sealed(index.key_file) if archive.private_names else None
        self._run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self._failures = Failures(self._store, archive.root)
        self._indexed = 0
        self._held: Callable[[], None]  # raises where the lock was lost
        self._tombstones: Tombstones  # read once the lock is held
        self._mask: PathMask  # knows what the ledger and every file looked at so far say of persons
        self._deleted: list[dict[str, str]] = []  # items of deleted patients that this run met

    def run(self, report: Callable[[Progress], None] = lambda _: None) -> Report:
        """Index the archive.

        Raises:
            IndexLocked: another run is writing.
        """
        started = time.monotonic()
        with self._index.lock() as self._held, self._scratch(), self._runner() as runner:
            self.usage = runner.usage
            self._index.forget_unfinished()
            self._tombstones = Tombstones.load(self._index)
            finish(self._store, self._tombstones)
            self._index = self._index.add_archive(self._archive.location)
            if place := self._index.manifest.archives.index(self._archive.location):
                self._prefix = f"@{place}/"
            self._store.record_run({"run_id": self._run_id, "started_at": datetime.now(UTC)} | self._versions)
            found = self._go_through(runner, report)
            vanished = found.gone if self._options.prune else set()
            self._held()
            removed = self._store.delete(sorted(found.superseded | vanished))
            self._failures.record(self._mask, self._prefix, self._run_id, datetime.now(UTC))
            done = Report(
                run_id=self._run_id,
                seen=self._indexed + found.unchanged + len(self._failures),
                indexed=self._indexed,
                unchanged=found.unchanged,
                failed=len(self._failures),
                removed=removed,
                gone=len(found.gone - vanished),
                deleted=found.deleted + len(self._deleted),
                by_modality=self._store.tally("modality"),
                seconds=round(time.monotonic() - started, 3),
            )
            self._finish(done)
        return done

    def _go_through(self, runner: IndexRunner, report: Callable[[Progress], None]) -> _Found:
        """Plan and carry out, portion by portion; what is left to remove is for the caller."""
        ledger = Ledger.of(self._store, self._prefix)
        self._mask = self._masking(ledger)
        stats = self._scanned(ledger, runner, report)
        declared = Declared(self._archive.root, self._archive.rows, self._pseudonyms, self._options.modality)
        known = compare(stats, ledger, declared, self._mask, self._failures)
        wanted = known.to_inspect(ledger)
        failed: set[Path] = set()
        if self._options.retry:
            failed = self._failures.before(known, self._mask, self._prefix, self._reach.access)
        found = _Found()
        for portion in self._archive.portions(retry.first(wanted, failed) if self._options.retry else wanted):
            here = self._failures.sift(portion)
            inspected = list(self._inspected(here, declared, runner, report))
            if self._options.retry:
                beside = self._within_reach(retry.beside(wanted, inspected, failed))
                inspected += retry.related(self._inspected(beside, declared, runner, report), inspected, failed)
            in_part = len(here) < len(wanted)
            if in_part or self._options.retry:
                ledger = Ledger.of(self._store, self._prefix)  # with what portions before this one brought
                known = compare(stats, ledger, declared, self._mask, self._failures)
                known = retry.only(known, ledger, inspected, self._mask, declared.root)
            speaking = self._within_reach(reports.beside(inspected, ledger, known, self._pseudonyms))
            inspected += self._inspected(speaking, declared, runner, report)
            planner = Planner(ledger, known, declared, self._mask, self._pseudonyms, self._tombstones)
            plan = planner.plan(inspected, self._failures)
            del planner, inspected  # of a large archive half of what is in memory, not needed while it is indexed
            for failure in plan.failures:
                self._failures.add(failure, failure.path)
            self._carry_out(plan, runner, report)
            found.take(plan, in_part)
        if found.in_part:
            states = compare(stats, Ledger.of(self._store, self._prefix), declared, self._mask, self._failures).states
            found.unchanged = max(sum(state is State.UNCHANGED for state in states.values()) - self._indexed, 0)
            found.gone = {
                item_id for item_id, state in states.items() if state is State.GONE and not self._options.retry
            }
        return found

    def _carry_out(self, plan: Plan, runner: IndexRunner, report: Callable[[Progress], None]) -> None:
        self._held()
        self._store.update_files(
            {item_id: [entry.as_row() for entry in moved.files] for item_id, moved in plan.moved.items()},
            {item_id: moved.uri for item_id, moved in plan.moved.items()},
        )
        self._write(self._embedded(plan, runner, report))

    def _masking(self, ledger: Ledger) -> PathMask:
        masked_before = (*ledger.paths(), *self._store.failures().column("uri").to_pylist())
        return PathMask(self._pseudonyms, masked_before, self._prefix, every=self._archive.private_names)

    def _scanned(self, ledger: Ledger, runner: IndexRunner, report: Callable[[Progress], None]) -> list[FileStat]:
        """Every file of the archive, members of zip and tar files in their place."""
        stats: list[FileStat] = []
        for found in self._archive.scan(self._vouched(ledger)):
            stats += self._failures.sift([found])
            report(Progress("scan", len(stats), 0, len(self._failures)))
        containers = [stat for stat in stats if is_container(stat.path)]
        if not containers:
            return stats
        stats = [stat for stat in stats if not is_container(stat.path)]
        tasks = (Task(stat, stat.path, stat.path, self._index.scratch) for stat in containers)
        for stat, listing in runner.map(list_members, tasks):
            if isinstance(listing, Listing):
                stats += listing.members
                self._archive.rows.update(listing.rows)
            for failure in listing.failures if isinstance(listing, Listing) else (listing,):
                self._failures.add(failure, stat.path)
            report(Progress("scan", len(stats), 0, len(self._failures)))
        return stats

    def _vouched(self, ledger: Ledger) -> Vouched:
        """What the index holds, as archives ask for it."""
        root = self._archive.root
        by_folder = ledger.by_folder()

        def files(folder: Path) -> list[FileStat]:
            entries = by_folder.get(self._mask.uri(folder.relative_to(root)), ())
            return [FileStat(folder / PurePosixPath(entry.path).name, entry.size, entry.mtime_ns) for entry in entries]

        return Vouched(files, lambda path: PurePosixPath(self._mask.uri(path.relative_to(root))).name)

    def _within_reach(self, stats: Sequence[FileStat]) -> list[FileStat]:
        return self._failures.sift(self._archive.bring(stats))

    def _inspected(
        self, stats: list[FileStat], declared: Declared, runner: IndexRunner, report: Callable[[Progress], None]
    ) -> Iterator[Inspected]:
        tasks = (Task(stat, stat.path, stat.path, declared.word(stat.path)) for stat in stats)
        for done, (stat, result) in enumerate(runner.map(partial(fetch.inspect, self._reach), tasks), start=1):
            if isinstance(result, UnreadableFile):
                self._failures.add(result, stat.path)
            elif result is not None:
                yield result
            report(Progress("inspect", done, len(stats), len(self._failures)))

    def _decided(self, work: list[Work], runner: IndexRunner) -> Iterator[Work]:
        """The work with every modality known: rasters that nobody described are shown to the encoder."""
        yield from (one for one in work if one.source.modality)
        undecided = [one for one in work if not one.source.modality]
        tasks = (Task(one, one.source.files[0], one.source.files[0]) for one in undecided)
        for one, image in runner.map(partial(fetch.raster_image, self._reach), tasks):
            if isinstance(image, UnreadableFile):
                self._failures.add(image, one.source.files[0])
                continue
            try:
                modality, _ = self._encoder.guess_modality(image)
            except BundleError as error:  # an imported model has no router
                self._failures.add(
                    UnreadableFile(one.source.files[0], Reason.UNSUPPORTED, str(error)), one.source.files[0]
                )
            else:
                yield replace(one, source=replace(one.source, modality=modality))

    def _embedded(self, plan: Plan, runner: IndexRunner, report: Callable[[Progress], None]) -> Iterator[Embedded]:
        """Items as their vectors are ready."""
        tasks: deque[Task[Work]] = deque()
        for work in self._decided(plan.work, runner):
            if spec := self._spec(work.source.modality):
                tasks.append(Task(work, work.source.files[0], work.source, spec, self._options.burned_in, work.stats))
            else:
                self._failures.add(_no_tower(work, self._encoder.name), work.source.files[0])
        plan.work.clear()  # each is let go when it is stored, so that memory falls as much as the tables' rises
        count = len(tasks)
        waiting = (tasks.popleft() for _ in range(count))
        with Embedder(runner.lend(self._encoder), runner.in_flight) as embedder:
            for done, (work, reading) in enumerate(runner.map(partial(fetch.read, self._reach), waiting), start=1):
                if isinstance(reading, UnreadableFile):
                    self._failures.add(reading, work.source.files[0])
                elif not self._stays_out(work, reading):
                    yield from embedder.add(work, self._with_origin(reading))
                report(Progress("index", done, count, len(self._failures)))
            yield from embedder.flush()

    def _spec(self, modality: str) -> InputSpec | None:
        """What items of a modality are read as; None where the encoder has no tower for it."""
        spec = self._encoder.inputs.get(modality)
        if spec and spec.tile_mpp and self._options.mpp:
            return replace(spec, tile_mpp=self._options.mpp)
        return spec

    def _with_origin(self, reading: Reading) -> Reading:
        """Who asked for the resolution of a slide's tiles stands beside the one that they have."""
        if self._options.mpp and "tile_mpp" in reading.provenance:
            asked = {"tile_mpp_from": f"option: {self._options.mpp:g} asked for"}
            return replace(reading, provenance={**reading.provenance, **asked})
        return reading

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

        rows = RowWriter(self._pseudonyms, self._run_id, self._sealed)
        now = datetime.now(UTC)
        texts = [text_of(one.work, one.reading) for one in shard]
        vectors = dict(zip(unique := sorted({t for t in texts if t}), self._encoder.encode_text(unique), strict=True))
        items = [rows.item(one, text, vectors.get(text), now) for one, text in zip(shard, texts, strict=True)]
        parts = [part for one in shard for part in rows.parts(one)]
        dim = self._encoder.dim
        self._held()
        self._store.write(schema.conform(items, schema.items(dim)), schema.conform(parts, schema.parts(dim)))
        if replaced := sorted({item_id for one in shard for item_id in one.work.replaces}):
            self._store.delete(replaced)

    def _finish(self, report: Report) -> None:
        from m3search.stores import fulltext

        self._held()
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

    def _runner(self) -> IndexRunner:
        options = self._options
        if options.cluster is None:
            return LocalRunner(options.workers, options.allowance)
        from m3search.indexer.runners.ray import RayRunner

        return RayRunner(options.cluster, options.allowance, self._index.manifest.encoder)

    @contextmanager
    def _scratch(self) -> Iterator[None]:
        """A folder for copies, empty at first and gone in the end; only archives that need one make it."""
        if self._index.scratch.exists():  # of a run that was killed
            shutil.rmtree(self._index.scratch)
        try:
            yield
        finally:
            shutil.rmtree(self._index.scratch, ignore_errors=True)

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
    why = f"is {work.source.modality}, which encoder {encoder} has no tower for"
    return UnreadableFile(work.source.files[0], Reason.UNSUPPORTED, why)
