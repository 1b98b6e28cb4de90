"""What a query may be made of, and how it may be asked: values, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, get_args

from m3search.errors import UsageError

if TYPE_CHECKING:
    from m3search.search.calibrate import Method
    from m3search.types import Float32

Weights: TypeAlias = Mapping[str, float | Sequence[float]]

Channel = Literal["vector", "text", "hybrid"]
Grouping = Literal["study", "patient"]

# Rocchio's, as given in Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), 9.1.1. An unlike
# item and a denied finding push away.
WEIGHTS: dict[str, float] = {"text": 1.0, "image": 1.0, "item": 1.0, "like": 0.75, "unlike": 0.15, "not": 1.0}


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A file that was encoded before: what a service keeps of it in place of the file."""

    name: str  # as results name it
    vector: Float32  # (D,), unit length, by the index's encoder
    item_id: str = ""  # of the stored item that it is


@dataclass(frozen=True, slots=True)
class Query:
    """One query: any of a text, files, stored items, and items it should be more or less like."""

    text: str = ""
    images: tuple[Path, ...] = ()
    items: tuple[str, ...] = ()  # item ids, or unique beginnings
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    weights: Weights = field(default_factory=dict)  # by kind, over WEIGHTS: one number, or one for each value
    encoded: tuple[Encoded, ...] = ()  # files in another form: they come after `images` and are weighted with them

    def __post_init__(self) -> None:
        if not (self.text or self.images or self.encoded or self.items or self.like):
            raise UsageError(
                "a query is one of: a text, a file (--image), a stored item (--item, --like), or several of these"
            )
        for kind in self.weights:
            if kind not in WEIGHTS:
                raise UsageError(f"there is no weight {kind!r}; choose from {', '.join(WEIGHTS)}")
            self.weights_of(kind)

    @classmethod
    def of(
        cls,
        text: str | None = None,
        image: Path | str | Sequence[Path | str] | None = None,
        item: str | Sequence[str] | None = None,
        like: str | Sequence[str] = (),
        unlike: str | Sequence[str] = (),
        weights: Weights | None = None,
    ) -> Query:
        """From what a caller may say: one value or several.

        Raises:
            UsageError: nothing is asked for, the text is blank, or a weight is wrong.
        """
        if text is not None and not text.strip():
            raise UsageError("the query text is empty; say what to look for")
        images = [image] if isinstance(image, str | Path) else image or ()
        return cls(
            (text or "").strip(), tuple(map(Path, images)), _several(item), _several(like), _several(unlike),
            dict(weights or {}),
        )  # fmt: skip

    def weights_of(self, kind: str) -> tuple[float, ...]:
        """One weight for each value of a kind of ingredient. Those of `like` and `unlike` are shared by their items.

        Raises:
            UsageError: as many weights as values are needed, and there are not.
        """
        values = {
            "text": (self.text,) if self.text else (), "image": (*self.images, *self.encoded), "item": self.items,
            "like": self.like, "unlike": self.unlike, "not": ("",),
        }[kind]  # fmt: skip
        given = self.weights.get(kind, WEIGHTS[kind])
        if isinstance(given, Sequence):
            if len(given) != len(values):
                raise UsageError(f"{len(given)} weights for {len(values)} of {kind!r}; give one, or one for each")
            return tuple(map(float, given))
        shared = len(values) if kind in ("like", "unlike") else 1
        return (float(given) / max(shared, 1),) * len(values)

    @property
    def is_one_item(self) -> bool:
        """Whether it is a single file or item and nothing else."""
        return len(self.images) + len(self.encoded) + len(self.items) == 1 and not (
            self.text or self.like or self.unlike
        )


@dataclass(frozen=True, slots=True)
class Options:
    """How queries are answered."""

    k: int = 10
    modality: str | Sequence[str] | None = None
    where: str | None = None
    mode: Channel = "vector"
    group: Grouping | None = None
    calibration: Method | None = None  # None: the engine's
    hubness: bool = False
    rerank: bool = False
    standing: bool = False  # also tell each hit's `standing`

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k must be at least 1, not {self.k}")
        for name, value, known in (("mode", self.mode, get_args(Channel)), ("group", self.group, get_args(Grouping))):
            if value is not None and value not in known:
                raise UsageError(f"there is no {name} {value!r}; choose from {', '.join(known)}")


class HowAsked(TypedDict, total=False):
    """The fields of `Options` as keyword arguments."""

    k: int
    modality: str | Sequence[str] | None
    where: str | None
    mode: Channel
    group: Grouping | None
    calibration: Method | None
    hubness: bool
    rerank: bool
    standing: bool


def _several(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
