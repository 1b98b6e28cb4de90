"""What every runner does: make calls elsewhere, which may crash, hang or never come back, and lend an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.process import Usage

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # tasks in flight per worker: enough that none waits, few enough that memory stays flat
SECOND_TRY = (Reason.CRASHED, Reason.MEMORY)  # alone, and with all the memory there is


class Task(Generic[T]):
    """A call to make. `path` names the file in case the call dies; `key` is the caller's own and comes back."""

    __slots__ = ("arguments", "key", "path")

    def __init__(self, key: T, path: Path, *arguments: Any) -> None:
        self.key = key
        self.path = path
        self.arguments = arguments


class IndexRunner(ABC):
    """Makes the calls of an index run. A context: leaving it ends whatever still runs.

    The run plans, writes and commits in its own process, under the lock of the index; a runner only reads and embeds.
    So rows are the same whichever runner made them, and a run that dies is continued by any.
    """

    usage: Usage
    in_flight = 1  # batches that may be embedded while another is collected

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def _answers(
        self, call: Callable[..., R], tasks: Iterable[Task[T]], *, alone: bool
    ) -> Iterator[tuple[Task[T], R | UnreadableFile]]:
        """Answers as they come. `alone`: one call at a time, with all the memory there is."""

    def map(self, call: Callable[..., R], tasks: Iterable[Task[T]]) -> Iterator[tuple[T, R | UnreadableFile]]:
        """(key, result) as the calls end, in any order. A call that raises gives an UnreadableFile for its path.

        A call that crashes its process or runs out of memory is made once more when all others have ended: its
        process may have been damaged or crowded by another file.
        """
        again: list[Task[T]] = []
        for task, result in self._answers(call, tasks, alone=False):
            if isinstance(result, UnreadableFile) and result.reason in SECOND_TRY:
                again.append(task)
            else:
                yield task.key, result
        for task, result in self._answers(call, again, alone=True):
            yield task.key, result

    def lend(self, encoder: Encoder) -> Encoder:
        """The encoder, its towers running where this runner has them run."""
        return encoder
