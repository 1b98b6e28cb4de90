"""What a training run is told: frozen values read from TOML, checked before anything is loaded."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

from m3search.errors import TrainingError
from m3search.modalities import MODALITIES
from m3search.types import InputSpec


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where items come from. Relative paths are relative to the configuration file."""

    manifests: tuple[str, ...]  # may hold wildcards
    cache: str  # folder for decoded inputs and phantoms
    phantoms: int = 0  # synthetic patients added to the training side
    phantom_seed: int = 1
    phantom_share: float = 0.15  # of the items drawn; synthetic patients are easier than real ones and must not lead


@dataclass(frozen=True, slots=True)
class TextTraining:
    """Every text encoder: the layers of the warm start it keeps, and how many, counted from the top, learn."""

    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    trained_layers: int = 2
    max_tokens: int = 64


@dataclass(frozen=True, slots=True)
class ModalityConfig:
    """One specialist: its input (fields of `InputSpec`) and how it is trained in stage 0."""

    batch: int  # items per step
    steps: int
    input: InputSpec = field(default_factory=lambda: InputSpec(kind="image"))
    frozen_blocks: int = 8  # of the 16 of an image trunk, counted from the input; the stem is frozen with them
    lr: float = 1e-3  # of heads and of towers that start from scratch
    trunk_lr: float = 2e-4
    weight_decay: float = 0.02
    dropout: float = 0.1
    own_text: float = 0.0  # share of draws in which an item is described by its own text; 0: as texts.py has it
    teacher: float = 0.0  # share of a forest's opinion in what an ECG's labels are taken for: see teacher.py
    image_tower: str = ""  # an open_clip model (see openclip.py) to start from; "" is EfficientNet-Lite0
    text_tower: str = ""  # likewise; "" is MiniLM


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The loop of every stage."""

    seed: int = 0
    evaluate_every: int = 0  # steps; 0: at the end of a stage only
    checkpoint_every: int = 100  # steps
    average: float = 0.995  # decay of the exponential moving average of the weights, which is what is kept
    accumulate: int = 1  # batches per step
    chunk: int = 0  # items whose activations are held at once (cached gradients); 0: the whole batch
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bf16: bool = True  # where the device computes it natively
    threads: int = 0  # 0: all
    tensorboard: bool = False


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms, and the kind of the contrastive one: see losses.py."""

    kind: Literal["soft", "infonce", "sigmoid"] = "soft"
    contrastive: float = 1.0
    labels: float = 1.0
    within: float = 0.5
    keep_text: float = 0.5
    queue: int = 0  # items and texts of earlier batches that serve as further negatives


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """Stage 0, what all specialists share."""

    warmup: int = 50
    text_lr: float = 5e-5


@dataclass(frozen=True, slots=True)
class BindConfig:
    """Stage 1: see bind.py."""

    steps: int
    batch: int = 16  # items of each modality per step
    centres: int = 48  # centre texts per step
    pool: int = 600  # of centre texts of each modality, from which they are drawn
    warmup: int = 50
    lr: float = 2e-5
    weight_decay: float = 1e-5
    align: Literal["mse", "cosine", "relational", "cosine+relational"] = "mse"
    weight: float = 1.0  # lambda
    rank: int = 8
    alpha: int = 8
    dropout: float = 0.1
    heads: bool = False  # the last layers of both towers learn whole, beside the adapters
    rotate: bool = False  # turn every specialist's space onto the others' first: see rotate.py


@dataclass(frozen=True, slots=True)
class DistilConfig:
    """Stage 2: see distil.py."""

    steps: int
    batch: int = 256  # texts per step
    warmup: int = 50
    lr: float = 5e-4  # of the head; the layers learn at a tenth
    weight_decay: float = 0.01
    dims: tuple[int, ...] = (256,)  # leading dimensions that must serve alone (Matryoshka)


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """The end of stage 2: the shared text encoder against the frozen towers. See tune.py."""

    steps: int
    batch: int = 32  # items of each modality per step
    warmup: int = 50
    lr: float = 3e-4
    weight_decay: float = 0.01
    views: int = 4  # augmented views of each item whose features are kept
    heads: bool = False  # the towers' last layers learn too
    keep: float = 1.0  # weight of staying close to the distilled encoder
    dims: tuple[int, ...] = (256,)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole configuration file."""

    name: str
    dim: int
    data: DataConfig
    modalities: Mapping[str, ModalityConfig]
    bind: BindConfig
    distil: DistilConfig
    tune: TuneConfig | None = None
    run: RunConfig = RunConfig()
    text: TextTraining = TextTraining()
    loss: LossConfig = LossConfig()
    pretrain: PretrainConfig = PretrainConfig()
    folder: Path = Path()  # of the configuration file

    def resolve(self, path: str) -> Path:
        """A path of the configuration, absolute."""
        return (self.folder / path).absolute()


def load_config(path: Path) -> TrainConfig:
    """Reads and checks a configuration file.

    Raises:
        TrainingError: missing, not TOML, an unknown or missing key, a value of the wrong type or range.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except FileNotFoundError:
        raise TrainingError(f"there is no configuration file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path} is not TOML: {error}") from None
    try:
        config: TrainConfig = _build(TrainConfig, {**raw, "folder": str(path.absolute().parent)}, "")
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
    _check(config, path)
    return config


def _check(config: TrainConfig, path: Path) -> None:
    """What types alone do not say."""
    if not config.modalities:
        raise TrainingError(f"{path}: no modality is configured; add e.g. [modalities.xray]")
    for name, modality in config.modalities.items():
        if name not in MODALITIES:
            raise TrainingError(f"{path}: modalities.{name}: no such modality; choose from {', '.join(MODALITIES)}")
        if modality.input.kind == "image" and modality.input.size % 32:
            raise TrainingError(
                f"{path}: modalities.{name}.input.size is {modality.input.size}; it must be a multiple of 32"
            )
        if modality.teacher and not modality.input.beat_seconds:
            raise TrainingError(
                f"{path}: modalities.{name}.teacher asks a forest about beats; set input.beat_seconds, or teacher to 0"
            )
        for key in ("own_text", "teacher"):
            if not 0 <= (share := getattr(modality, key)) <= 1:
                raise TrainingError(f"{path}: modalities.{name}.{key} is {share}; it must be between 0 and 1")
    stages = {f"modalities.{name}": modality for name, modality in config.modalities.items()}
    for place, stage in {**stages, "bind": config.bind, "distil": config.distil, "tune": config.tune}.items():
        for key in ("steps", "batch"):
            value = getattr(stage, key, 1)
            if value < 1:
                raise TrainingError(f"{path}: {place}.{key} is {value}; it must be at least 1")
    for place, stage in (("distil", config.distil), ("tune", config.tune)):
        for size in stage.dims if stage else ():
            if not 1 <= size <= config.dim:
                raise TrainingError(f"{path}: {place}.dims holds {size}; it must be between 1 and dim = {config.dim}")
    if config.run.accumulate < 1:
        raise TrainingError(f"{path}: run.accumulate is {config.run.accumulate}; it must be at least 1")
    if not 0 <= config.text.trained_layers <= len(config.text.layers):
        raise TrainingError(f"{path}: text.trained_layers must be between 0 and {len(config.text.layers)}")


def _build(kind: Any, raw: Any, place: str) -> Any:
    """A dataclass from a TOML table, key by key."""
    if not isinstance(raw, Mapping):
        raise TrainingError(f"{place or 'the file'} must be a table, not {raw!r}")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for key in raw:
        if key not in known:
            raise TrainingError(f"unknown key {_join(place, key)}; known here: {', '.join(known)}")
    missing = [
        name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING and name not in raw
    ]
    if missing:
        raise TrainingError(f"missing key {_join(place, missing[0])}")
    return kind(**{key: _value(hints[key], value, _join(place, key)) for key, value in raw.items()})


def _value(kind: Any, value: Any, place: str) -> Any:
    if NoneType in get_args(kind):  # TOML has no null: an optional table that is there
        kind = next(option for option in get_args(kind) if option is not NoneType)
    if is_dataclass(kind):
        return _build(kind, value, place)
    origin = getattr(kind, "__origin__", kind)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise TrainingError(f"{place} must be a table, not {value!r}")
        return {key: _value(kind.__args__[1], entry, _join(place, key)) for key, entry in value.items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise TrainingError(f"{place} must be a list, not {value!r}")
        inner = kind.__args__[0] if kind.__args__[-1] is ... else None
        if inner is None:
            if len(value) != len(kind.__args__):
                raise TrainingError(f"{place} must have {len(kind.__args__)} values, not {len(value)}")
            return tuple(
                _value(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(kind.__args__, value, strict=True))
            )
        return tuple(_value(inner, entry, f"{place}[{i}]") for i, entry in enumerate(value))
    return _scalar(kind, value, place)


def _scalar(kind: Any, value: Any, place: str) -> Any:
    if kind is Path:
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    choices = getattr(kind, "__args__", ())  # of a Literal
    if choices:
        if value not in choices:
            raise TrainingError(f"{place} is {value!r}; choose from {', '.join(map(repr, choices))}")
        return value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TrainingError(f"{place} must be {kind.__name__}, not {value!r}")
    return value


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
