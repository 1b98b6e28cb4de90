"""Every error m3search raises on purpose.

M3SearchError
├── UnreadableFile      one file or series cannot become an item; the run goes on
├── UsageError          the request itself is wrong (exit code 2)
│   └── FilterError     a filter expression or column is wrong
├── NoIndex             there is no usable index (exit code 3)
│   ├── IndexNotFound
│   └── EncoderMismatch
├── IndexLocked         another run is writing the index
├── IndexUnwritable     the disk of the index is full, read-only or without locks
├── ArchiveUnreachable  an archive that is not of this machine cannot be reached, or refuses; what was stored stays
├── ClusterUnreachable  a Ray cluster cannot be reached, or nothing comes from it any more; what was stored stays
├── StoreUnreachable    a vector store that is not of this machine cannot be reached, or refuses
├── BundleError         a model bundle is missing, broken or of the wrong kind
├── CheckpointError     a pretrained model of elsewhere is missing, incomplete or of a kind that is not known here
├── MissingExtra        an optional package is not installed
├── DataError           labelled data is wrong: a manifest, a file of queries or judgements
└── TrainingError       a training configuration is wrong, or its data does not serve it

Messages name the item, the place and the remedy; they never hold patient data.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class M3SearchError(Exception):
    """Base of all errors of this package."""


class Reason(StrEnum):
    """Why a file could not become an item: the stable code in the `failures` table."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too-large"  # declared pixels, frames or samples beyond the limits: a decompression bomb or an error
    CONSTANT = "constant"  # every pixel or sample is the same
    IMPLAUSIBLE = "implausible"  # decoded, but no examination looks so: a few pixels, one line, noise, air alone
    UNKNOWN_FORMAT = "unknown-format"
    UNSUPPORTED = "unsupported"  # readable, but of a kind that is not searched (an MR image, a presentation state)
    BURNED_IN = "burned-in-text"  # pixels seem to hold text, which may name a person, and policy says to leave it out
    WRONG_MODALITY = "wrong-modality"  # declared as one modality, holds another
    MISSING_FILE = "missing-file"  # a file it refers to is absent: the .dat of a WFDB header
    MISSING_DECODER = "missing-decoder"
    PERMISSION = "permission"
    VANISHED = "vanished"  # disappeared or changed between planning and reading
    UNREACHABLE = "unreachable"  # the storage failed, not the file: an I/O error, a network file system that is away
    NO_SPACE = "no-space"  # the disk is full that a file is copied to while it is read: ends an index run
    CRASHED = "crashed"  # the decoder took its worker process down
    TIMEOUT = "timeout"  # not read within the time that one file is given
    MEMORY = "memory"  # not read within the memory that one file is given
    INTERNAL = "internal"  # a defect of m3search: please report it


class UnreadableFile(M3SearchError):
    """A file that cannot become an item. `message` is for a person and includes what to do about it."""

    def __init__(self, path: Path | str, reason: Reason, message: str) -> None:
        super().__init__(f"{Path(path).name}: {message}")
        self.path = Path(path)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[UnreadableFile], tuple[Path, Reason, str]]:
        return type(self), (self.path, self.reason, self.message)  # crosses process boundaries whole


class UsageError(M3SearchError):
    """The request is wrong: an unknown modality, two kinds of query at once, a query file that is not there."""


class FilterError(UsageError):
    """A filter expression cannot be parsed, or names a column that is not filterable."""


class NoIndex(M3SearchError):
    """There is no usable index where one was expected."""


class IndexNotFound(NoIndex):
    """No `.m3search` folder here or above, or not where `--index` points."""


class EncoderMismatch(NoIndex):
    """The index was built with another encoder: its vectors and this encoder's cannot be compared."""


class IndexLocked(M3SearchError):
    """Another run is writing this index."""


class IndexUnwritable(M3SearchError):
    """The index cannot be written: no space, a read-only or lockless file system. What was stored stays."""


class ArchiveUnreachable(M3SearchError):
    """A PACS or other storage cannot be reached, or refuses. What was stored stays, and the next run continues."""


class ClusterUnreachable(M3SearchError):
    """A Ray cluster cannot be reached, or gives no more answers. What was stored stays, and the next run continues."""


class StoreUnreachable(M3SearchError):
    """A vector store on another machine, such as Milvus, cannot be reached, or refuses. The index itself is whole."""


class BundleError(M3SearchError):
    """A model bundle is missing, incomplete, or does not match its fingerprint."""


class CheckpointError(M3SearchError):
    """A pretrained model, in a folder, a file or on a hub, cannot be loaded or made into a bundle."""


class MissingExtra(M3SearchError):
    """An optional package is needed. The message holds the pip command that installs it."""


class DataError(M3SearchError):
    """Labelled data is wrong: a manifest without a needed column, judgements of items that are not there."""


class TrainingError(M3SearchError):
    """A training configuration is wrong, or its data does not serve it."""
