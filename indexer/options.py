"""How a run is made, and what it says while it goes on and in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from m3search.indexer.archives.pacs import Pacs
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.cluster import Cluster
from m3search.modalities.burned_in import Policy as BurnedIn


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
    cluster: Cluster | None = None  # where files are read and embedded; None: on this machine
    pacs: Pacs = field(default_factory=Pacs)  # how a DICOMweb server is asked
    mpp: float | None = None  # micrometres per pixel of slides' tiles. None: what the encoder was trained on
    retry: bool = False  # read only what failed before: see `m3search.indexer.retry_failures`
