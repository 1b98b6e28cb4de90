"""A PACS as an archive: its series are folders, its instances files. Nothing of it stays on disk unless asked.

Series are listed first. One that holds as many instances as the index knows of it is left alone; of the others the
instances are listed, and those the index lacks are fetched: the series at once where most of it is new, and always
where its instances form one item together.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile, UsageError
from m3search.indexer.archives.base import NOTHING, UNKNOWN, Access, FileStat, Vouched
from m3search.indexer.archives.dicomweb import BROKEN, STALLED, Client, Refused, Series, Server
from m3search.indexer.archives.remote import without_secrets

if TYPE_CHECKING:
    from m3search.indexer.archives.manifest import Row

# DICOM modalities (PS3.3 C.7.3.1.1.1) by what they show.
CODES = {"xray": ("CR", "DX", "RG"), "ct": ("CT",), "retina": ("OP",), "ecg": ("ECG",), "pathology": ("SM",)}
REPORTS = ("SR", "DOC")  # asked for, too, and fetched where something else of their study is searched
OF_ANY_KIND = ("OT", "SC", "XC")  # asked for where somebody says what they show
ONE_ITEM = {"CT", "SM"}  # all instances of a series are read together
IN_DOUBT = -1  # time of what is to be looked at again: no stored file has it
PORTION = 500  # instances that lie on disk at once, or one study; and as many again while the next ones are fetched
CONNECTIONS = 4
SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True)
class Pacs:
    """How a PACS is read. What authenticates is in the environment or in files: see `dicomweb`."""

    only: tuple[str, ...] = ()  # modalities that are asked for; none: all that are searched
    keep: Path | None = None  # folder in which fetched files stay
    ca_file: Path | None = None
    token_file: Path | None = None
    refetch: bool = False  # also what the index holds: it may have been edited there under its old UID
    any_kind: bool = False  # also what does not say what it shows
    patience_s: float = 300.0  # how long a server that is away is waited for

    @property
    def codes(self) -> tuple[str, ...]:
        """DICOM modalities to ask for.

        Raises:
            UsageError: `only` names a modality that does not exist.
        """
        if unknown := [name for name in self.only if name not in CODES]:
            raise UsageError(f"there is no modality {unknown[0]!r}; choose from {', '.join(CODES)}")
        wanted = [code for name in self.only or CODES for code in CODES[name]]
        return (*wanted, *(OF_ANY_KIND if self.any_kind else ()))


@dataclass(frozen=True, slots=True)
class Fetched:
    """Instances that `portions` brought. As DICOM has it they never change: a SOP instance UID names one content. What
    was edited in its place all the same is told from its bytes, by who fetches it again (`Pacs.refetch`).
    """

    root: Path
    place: Path

    def on_disk(self, path: Path) -> Path | None:
        there = self.place / path.relative_to(self.root)
        return there if there.exists() else None

    def stat(self, path: Path) -> FileStat:
        return FileStat(path, UNKNOWN, 0)

    def below(self, folder: Path) -> Sequence[Path]:  # noqa: ARG002
        return []

    def copy(self, path: Path, to: Path) -> None:  # noqa: ARG002
        raise UnreadableFile(path, Reason.VANISHED, "was not fetched with its series; index again")


@dataclass(slots=True)
class _Listed:
    """A series, and its instances once they were asked for."""

    series: Series
    uids: dict[str, str] = field(default_factory=dict)  # by the name of the file, with which the run knows it


class PacsArchive:
    """What a DICOMweb server holds of the modalities that are searched. Paths are study/series/instance, in UIDs."""

    private_names = True

    def __init__(self, location: str, pacs: Pacs) -> None:
        self.location = without_secrets(location)
        self.root = Path("/", self.location)  # of no machine: it only names
        self.rows: dict[Path, Row] = {}
        self._pacs = pacs
        self._server = Server(self.location, pacs.ca_file, pacs.token_file, patience_s=pacs.patience_s)
        self._listed: dict[Path, _Listed] = {}  # by folder of the series
        self._vouched = NOTHING
        self._place = Path()
        self._brought: set[Path] = set()  # folders of studies
        self._clients = threading.local()

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:
        """As `Archive.scan`: study by study.

        Raises:
            ArchiveUnreachable: the server cannot be searched.
        """
        self._vouched = vouched
        found = [series for code in self._pacs.codes for series in self._client.series(code)]
        studies = {series.study for series in found}
        found += [one for code in REPORTS for one in self._client.series(code) if one.study in studies]
        for series in sorted(found, key=lambda one: (one.study, one.series)):
            folder = self.root / series.study / series.series
            known = () if self._pacs.refetch else vouched.files(folder)
            self._listed[folder] = listed = _Listed(series)
            if known and series.count == len(known):
                yield from known
                continue
            listed.uids = {f"{uid}{SUFFIX}": uid for uid in self._client.instances(series)}
            time = IN_DOUBT if self._pacs.refetch else 0
            yield from (FileStat(folder / name, UNKNOWN, time) for name in listed.uids)

    def portions(self, wanted: Sequence[FileStat]) -> Iterator[Sequence[FileStat | UnreadableFile]]:
        """Whole studies, fetched before they are given and removed afterwards; the next ones are fetched meanwhile."""
        if not wanted:
            yield []
            return
        portions = _by_study(wanted)
        with ThreadPoolExecutor(CONNECTIONS, "pacs") as pool:
            try:
                coming = self._fetching(pool, portions[0])
                for number, portion in enumerate(portions):
                    here = [one for future in coming for one in future.result()]
                    coming = self._fetching(pool, portions[number + 1]) if number + 1 < len(portions) else []
                    yield here
                    if self._pacs.keep is None:
                        for study in self._brought | {stat.path.parent.parent for stat in portion}:
                            shutil.rmtree(self._place / study.name, ignore_errors=True)
                        self._brought.clear()
            finally:
                pool.shutdown(cancel_futures=True)

    def bring(self, more: Sequence[FileStat]) -> Sequence[FileStat | UnreadableFile]:
        """Fetch more instances, of these studies or others."""
        self._brought |= {stat.path.parent.parent for stat in more}
        return [one for folder, stats in _by_folder(more).items() for one in self._fetch(folder, stats)]

    def access(self, scratch: Path) -> Access:
        """Files that `portions` fetched."""
        self._place = self._pacs.keep or scratch / "pacs"
        return Fetched(self.root, self._place)

    @property
    def _client(self) -> Client:
        """Of this thread."""
        if not hasattr(self._clients, "client"):
            self._clients.client = Client(self._server)
        client: Client = self._clients.client
        return client

    def _fetching(
        self, pool: ThreadPoolExecutor, portion: Sequence[FileStat]
    ) -> list[Future[list[FileStat | UnreadableFile]]]:
        return [pool.submit(self._fetch, folder, stats) for folder, stats in _by_folder(portion).items()]

    def _fetch(self, folder: Path, stats: Sequence[FileStat]) -> list[FileStat | UnreadableFile]:
        """Bring the wanted instances of one series, and the others that form one item with them."""
        listed = self._listed[folder]
        place = self._place / folder.relative_to(self.root)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(stat.path.name not in listed.uids for stat in stats):  # known by stored names so far
            found = self._client.instances(listed.series)
            listed.uids = {self._vouched.name(folder / f"{uid}{SUFFIX}"): uid for uid in found}
        together = listed.series.modality in ONE_ITEM
        needed = set(listed.uids) if together else {stat.path.name for stat in stats}
        stays = set() if self._pacs.refetch else {name for name in needed if (place / name).exists()}
        names = {uid: name for name, uid in listed.uids.items() if name in needed - stays}

        def keep(uid: str, content: bytes) -> None:
            half = place / f"{names[uid]}.half"
            half.write_bytes(content)
            half.rename(place / names[uid])

        if names:
            try:
                self._client.retrieve(listed.series, names, whole=2 * len(names) > len(listed.uids), keep=keep)
            except Refused as error:
                return [_refusal(folder, error)]
        return [
            stat
            if (place / stat.path.name).exists()
            else UnreadableFile(stat.path, Reason.VANISHED, "the PACS lists it and does not give it, or not as DICOM")
            for stat in stats
        ]


def _by_folder(stats: Sequence[FileStat]) -> dict[Path, list[FileStat]]:
    folders: dict[Path, list[FileStat]] = defaultdict(list)
    for stat in stats:
        folders[stat.path.parent].append(stat)
    return folders


def _refusal(folder: Path, error: Refused) -> UnreadableFile:
    reasons = {401: Reason.PERMISSION, 403: Reason.PERMISSION, 404: Reason.VANISHED, 410: Reason.VANISHED}
    others = {BROKEN: "answers with something that is no DICOM", STALLED: "stops sending, again and again,"}
    said = others.get(error.status) or f"answers {error.status}"
    message = f"the PACS {said} when asked for this series; index again, or ask its administrator"
    return UnreadableFile(folder, reasons.get(error.status, Reason.UNREACHABLE), message)


def _by_study(wanted: Sequence[FileStat]) -> list[list[FileStat]]:
    """Whole studies together until they are PORTION instances."""
    portions: list[list[FileStat]] = [[]]
    studies: dict[Path, list[FileStat]] = defaultdict(list)
    for stat in wanted:
        studies[stat.path.parent.parent].append(stat)
    for study in studies.values():
        if portions[-1] and len(portions[-1]) + len(study) > PORTION:
            portions.append([])
        portions[-1].extend(study)
    return portions
