"""A bundle: one folder with everything an encoder is, sealed by checksums.

    bundle.json       name, dimension, towers and their inputs, preprocessing version, licence, training data, figures
    text.onnx         input_ids, attention_mask int64 (B, L) -> embedding (B, dim); some take no mask
    <modality>.onnx   inputs, as InputSpec describes them -> embedding (B, dim); one file may serve several modalities
    *.safetensors     weights the .onnx files refer to
    tokenizer.json    of the `tokenizers` library
    calibration.json  statistics frozen with the weights
    MODEL_CARD.md     for people
    SHA256SUMS        one line per file, as `sha256sum` writes it; the bundle's fingerprint is the SHA-256 of this file

Opening a bundle reads two small files. The checksum of a large file is verified when the file is loaded, so a query
pays for the text tower only; `verify` checks all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from m3search.errors import BundleError
from m3search.types import InputSpec

BUNDLE_FORMAT = 1
PREPROCESSING = 1  # version of `Modality.read` and `prepare`: raised when their output changes for the same file
SEAL = "SHA256SUMS"
TEXT_INPUTS = ("input_ids", "attention_mask")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TowerFiles:
    """One network: its graph and the files its weights lie in, as names inside the bundle."""

    file: str
    weights: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """What bundle.json says, and where it lies. Made by `Bundle.open`."""

    folder: Path
    name: str
    fingerprint: str  # SHA-256, hex
    dim: int
    text: TowerFiles
    max_tokens: int
    vocabulary: int  # tokens the text tower knows
    towers: Mapping[str, TowerFiles]  # by modality
    inputs: Mapping[str, InputSpec]  # by modality
    text_inputs: tuple[str, ...] = TEXT_INPUTS  # what the text tower takes
    fixed_length: bool = False  # pad every text to max_tokens, not to the longest of its batch
    router: Mapping[str, Any] = field(default_factory=dict)  # how a raster's modality is guessed; see BundleEncoder
    description: Mapping[str, Any] = field(default_factory=dict, repr=False)  # bundle.json, whole
    checksums: Mapping[str, str] = field(default_factory=dict, repr=False)  # by file name

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Read and check the description of a bundle; the weights stay on disk.

        Raises:
            BundleError: the folder is not a complete bundle, or one that this version cannot run.
        """
        folder = Path(folder).absolute()
        seal = _read(folder, SEAL)
        checksums = _parse_seal(folder, seal)
        description = _parse_description(folder, _read(folder, "bundle.json"))
        _check_versions(folder, description)
        missing = [name for name in sorted(checksums) if not (folder / name).is_file()]
        if missing:
            raise BundleError(f"bundle {folder}: {missing[0]} is missing; copy or download the bundle again")
        try:
            bundle = _from_description(folder, hashlib.sha256(seal).hexdigest(), description, checksums)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"bundle {folder}: bundle.json lacks or misstates {error}; export it again") from error
        for tower in (bundle.text, *bundle.towers.values()):
            for name in (tower.file, *tower.weights):
                if name not in checksums:
                    raise BundleError(
                        f"bundle {folder}: bundle.json names {name}, which {SEAL} does not list; export again"
                    )
        bundle.verify_files("bundle.json")
        return bundle

    def path(self, name: str) -> Path:
        """A file of the bundle."""
        return self.folder / name

    def verify_files(self, *names: str) -> None:
        """Compare files with their checksums.

        Raises:
            BundleError: naming the first file that differs.
        """
        for name in names:
            if name not in self.checksums:
                raise BundleError(f"bundle {self.name}: {name} is not part of it ({self.folder})")
            if sha256_of(self.folder / name) != self.checksums[name]:
                raise BundleError(
                    f"bundle {self.name}: {name} does not match its checksum ({self.folder}); it is damaged or was "
                    "changed: copy or download the bundle again"
                )

    def verify(self) -> None:
        """Compare every file with its checksum, and find files that do not belong.

        Raises:
            BundleError: naming the first file that is damaged, missing or foreign.
        """
        foreign = sorted(set(_file_names(self.folder)) - set(self.checksums))
        if foreign:
            raise BundleError(f"bundle {self.name}: {foreign[0]} does not belong to it ({self.folder}); remove it")
        self.verify_files(*sorted(self.checksums))

    def calibration(self) -> dict[str, Any]:
        """calibration.json, or {} where the bundle has none."""
        if "calibration.json" not in self.checksums:
            return {}
        self.verify_files("calibration.json")
        statistics: dict[str, Any] = json.loads(self.path("calibration.json").read_bytes())
        return statistics

    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(self.path(name).stat().st_size for name in self.checksums)


@dataclass(frozen=True, slots=True)
class FoundBundle:
    """One line of `m3search model list`."""

    name: str
    folder: Path
    origin: Literal["environment", "user", "shipped"]
    problem: str = ""  # why it cannot be opened; "" where it can


def find_bundle(name_or_folder: str | Path) -> Path:
    """The folder of a bundle, by path or by name: looked up in M3SEARCH_MODELS, the user's models, the shipped ones.

    Raises:
        BundleError: there is none.
    """
    given = Path(name_or_folder)
    is_name = isinstance(name_or_folder, str) and given.name == name_or_folder
    if is_name:
        for _, root in _roots():
            if (root / name_or_folder / "bundle.json").is_file():
                return root / name_or_folder
    if given.is_dir():
        return given
    if not is_name:
        raise BundleError(f"there is no bundle at {given}; give the folder that holds bundle.json")
    known = sorted({found.name for found in list_bundles()}) or ["none"]
    raise BundleError(
        f"there is no model {str(name_or_folder)!r}; found here: {', '.join(known)}. Give the folder of a bundle, or "
        "set M3SEARCH_MODELS to the folder that holds it"
    )


def list_bundles() -> list[FoundBundle]:
    """Every bundle that can be given by name, the one that is taken first where a name occurs twice."""
    found: dict[str, FoundBundle] = {}
    for origin, root in _roots():
        for file in sorted(root.glob("*/bundle.json")):
            folder = file.parent
            if folder.name in found:
                continue
            try:
                Bundle.open(folder)
            except BundleError as error:
                found[folder.name] = FoundBundle(folder.name, folder, origin, problem=str(error))
            else:
                found[folder.name] = FoundBundle(folder.name, folder, origin)
    return list(found.values())


def seal(folder: Path) -> str:
    """Write SHA256SUMS over all files of a bundle, the last step of an export. Returns the fingerprint."""
    lines = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in _file_names(folder))
    partial = folder / f".{SEAL}.partial"
    partial.write_bytes(lines.encode())
    partial.replace(folder / SEAL)
    return hashlib.sha256(lines.encode()).hexdigest()


def describe_input(spec: InputSpec) -> dict[str, Any]:
    """An InputSpec as it stands in bundle.json."""
    return asdict(spec)


def parse_input(description: Mapping[str, Any]) -> InputSpec:
    """The inverse of `describe_input`.

    Raises:
        ValueError: a field that InputSpec does not have, or a kind of input that there is not.
    """
    unknown = set(description) - {entry.name for entry in fields(InputSpec)}
    if unknown or description.get("kind") not in ("image", "signal"):
        raise ValueError(f"the input fields {', '.join(sorted(unknown)) or 'kind'}")
    windows = tuple((float(centre), float(width)) for centre, width in description.get("windows", ()))
    return InputSpec(**{**description, "windows": windows})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises:
        BundleError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BundleError(f"bundle file {path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def user_folder(kind: Literal["data", "cache"]) -> Path:
    """Where this user's models or caches belong on this system (XDG base directories on Linux)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "m3search" / kind
    if sys.platform == "darwin":
        return Path.home() / "Library" / {"data": "Application Support", "cache": "Caches"}[kind] / "m3search"
    variable, default = {"data": ("XDG_DATA_HOME", ".local/share"), "cache": ("XDG_CACHE_HOME", ".cache")}[kind]
    return Path(os.environ.get(variable) or Path.home() / default) / "m3search"


def _roots() -> Iterator[tuple[Literal["environment", "user", "shipped"], Path]]:
    """Folders whose sub-folders are bundles, in order of preference."""
    for root in os.environ.get("M3SEARCH_MODELS", "").split(os.pathsep):
        if root:
            yield "environment", Path(root)
    yield "user", user_folder("data") / "models"
    yield "shipped", Path(__file__).resolve().parents[1] / "bundles"


def _file_names(folder: Path) -> list[str]:
    """Names of the files of a bundle but the seal, sorted. A bundle is flat; hidden files do not count."""
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_file() and entry.name != SEAL and entry.name[0] != "."
    )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        remedy = {
            SEAL: "the export or copy was interrupted: repeat it",
            "bundle.json": "give the folder of a bundle, or copy it again",
        }[name]
        raise BundleError(f"{folder} is not a complete bundle: it has no {name}; {remedy}") from None
    except OSError as error:
        raise BundleError(f"bundle {folder}: {name} cannot be read: {error.strerror}") from error


def _parse_seal(folder: Path, seal: bytes) -> dict[str, str]:
    checksums: dict[str, str] = {}
    for line in seal.decode("utf-8", "replace").splitlines():
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not name or Path(name).name != name:
            raise BundleError(f"bundle {folder}: {SEAL} is damaged; copy or download the bundle again")
        checksums[name] = checksum
    return checksums


def _parse_description(folder: Path, content: bytes) -> dict[str, Any]:
    try:
        description = json.loads(content)
    except ValueError as error:
        raise BundleError(f"bundle {folder}: bundle.json is not JSON ({error}); copy or download it again") from error
    if not isinstance(description, dict):
        raise BundleError(f"bundle {folder}: bundle.json holds no description; copy or download it again")
    return description


def _check_versions(folder: Path, description: Mapping[str, Any]) -> None:
    for key, supported in (("format", BUNDLE_FORMAT), ("preprocessing", PREPROCESSING)):
        if description.get(key) != supported:
            raise BundleError(
                f"bundle {folder}: its {key} is {description.get(key)!r}, this m3search runs {supported}; use a bundle "
                "made for this version, or the version it was made for"
            )


def _from_description(
    folder: Path, fingerprint: str, description: Mapping[str, Any], checksums: Mapping[str, str]
) -> Bundle:
    text, modalities = description["text"], description["modalities"]
    return Bundle(
        folder=folder,
        name=str(description["name"]),
        fingerprint=fingerprint,
        dim=int(description["dim"]),
        text=_tower_files(text),
        max_tokens=int(text["max_tokens"]),
        vocabulary=int(text["vocabulary"]),
        towers={modality: _tower_files(entry) for modality, entry in modalities.items()},
        inputs={modality: parse_input(entry["input"]) for modality, entry in modalities.items()},
        text_inputs=_text_inputs(text),
        fixed_length=bool(text.get("fixed_length", False)),
        router=dict(description.get("router") or {}),
        description=description,
        checksums=checksums,
    )


def _text_inputs(text: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(text.get("inputs", TEXT_INPUTS))
    if "input_ids" not in names or not set(names) <= set(TEXT_INPUTS):
        raise ValueError(f"the inputs of the text tower: {', '.join(map(str, names)) or 'none'}")
    return names


def _tower_files(entry: Mapping[str, Any]) -> TowerFiles:
    return TowerFiles(str(entry["file"]), tuple(str(name) for name in entry.get("weights", ())))
