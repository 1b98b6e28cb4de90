"""What this machine can do for m3search, what each missing piece costs, and how to get it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from m3search.errors import BundleError, M3SearchError

PACKAGE = "m3search"
MODULES = {  # distributions that are imported under another name
    "openslide-python": "openslide", "openslide-bin": "openslide_bin", "pillow": "PIL",
    "pylibjpeg-openjpeg": "openjpeg", "pylibjpeg-rle": "rle", "python-gdcm": "gdcm", "pyjpegls": "jpeg_ls",
}  # fmt: skip
EXTRAS = {  # what is missed without them; cpu and gpu are told of under FAISS
    "train": "models cannot be trained or imported",
    "serve": "there is no web page and no HTTP interface",
    "pacs": "DICOMweb servers cannot be read",
}
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
LOW_DISK_BYTES = 2 << 30
LOW_MEMORY_BYTES = 4 << 30
ITEM_BYTES = 20_000  # of an index, roughly
NVIDIA_SECONDS = 20.0  # a driver that hangs must not hang this
OTHERS = 0o077  # permissions of group and world


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `m3search doctor`."""

    area: str
    what: str
    found: str
    ok: bool = True
    advice: str = ""  # what its absence costs and how to get it
    needed: bool = True  # False: m3search is whole without it


def examine(index: Path | str | None = None) -> list[Finding]:
    """Look at this machine, and at an index. Takes some seconds: libraries and decoders are really loaded.

    Args:
        index: whose key, privileges and disk are looked at; see `stores.folder.locate` for the default.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _processor,
        _gpu,
        _decoders,
        _search,
        _extras,
        _models,
        lambda: _index(index),
        lambda: _disk(index),
    )
    return [finding for check in checks for finding in check()]


def is_whole(findings: list[Finding]) -> bool:
    """Whether nothing that m3search needs is missing or wrong."""
    return all(finding.ok for finding in findings if finding.needed)


# Software -------------------------------------------------------------------------------------------------------------
def _versions() -> Iterator[Finding]:
    system = f"Python {platform.python_version()}, {platform.system()}"
    yield Finding("versions", PACKAGE, f"{_version(PACKAGE) or 'not installed'} on {system}")
    for name, least in _required():
        yield _package(name, least)


def _package(name: str, least: str) -> Finding:
    version = _version(name)
    remedy = f"pip install -U {PACKAGE}"
    if not version:
        return Finding("versions", name, "missing", False, f"m3search does not work without it: {remedy}")
    if _numbers(version) < _numbers(least):
        return Finding("versions", name, f"{version}, older than {least}", False, remedy)
    if problem := _import_problem(MODULES.get(name, name.replace("-", "_"))):
        return Finding("versions", name, f"{version}, cannot be loaded", False, f"{problem}; {remedy}")
    return Finding("versions", name, version)


def _import_problem(module: str) -> str:
    """Why a library cannot be loaded, or "". A wheel of another system is installed, but its machine code fails."""
    from m3search.encoders.runtime import import_openvino

    try:
        if module == "openvino":
            import_openvino()
        else:
            import_module(module)
    except Exception as error:  # of whatever kind a library raises while it is imported
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
    return ""


def _required(extra: str = "") -> list[tuple[str, str]]:
    """Distributions that m3search, or one of its extras, declares, each with its least version."""
    found = []
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires(PACKAGE) or ():
            requirement, _, condition = line.partition(";")
            of_extra = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", condition)
            if (of_extra[1] if of_extra else "") != extra:
                continue
            if name := re.match(r"[\w.-]+", requirement):
                least = re.search(r"[>=]=\s*([\d.]+)", requirement)
                found.append((name[0].lower(), least[1] if least else "0"))
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, comparable: "2.13.0+cpu" is (2, 13)."""
    digits = re.match(r"[\d.]*", version)
    numbers = [int(number) for number in (digits[0] if digits else "").split(".") if number]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _extras() -> Iterator[Finding]:
    for extra, cost in EXTRAS.items():
        wanted = [name for name, _ in _required(extra)]
        if not wanted:  # of a later or an earlier version
            continue
        missing = [name for name in wanted if not _version(name)]
        found = f"without {', '.join(missing)}" if missing else "complete"
        advice = f"{cost}: pip install '{PACKAGE}[{extra}]'" if missing else ""
        yield Finding("extras", extra, found, not missing, advice, needed=False)


# Machine --------------------------------------------------------------------------------------------------------------
def _processor() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:  # not Linux
        words = set()
    known = [name for name in FEATURES if name in words]
    advice = "" if "amx_bf16" in known or not words else "without AMX, bfloat16 is no faster than float32 here"
    yield Finding("machine", "processor", f"{cores} cores; {', '.join(known) or 'no known features'}", True, advice)
    from m3search.encoders.runtime import cpu_capabilities

    try:
        yield Finding("machine", "OpenVINO runs", ", ".join(sorted(cpu_capabilities())))
    except Exception as error:  # of whatever kind its plug-ins raise
        advice = "no encoder runs without it: pip install -U --force-reinstall openvino"
        yield Finding("machine", "OpenVINO runs", f"nothing ({type(error).__name__})", False, advice)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    advice = "" if memory >= LOW_MEMORY_BYTES else "large films may not fit: give index --workers 1"
    yield Finding("machine", "memory", f"{memory / 2**30:.1f} GiB", memory >= LOW_MEMORY_BYTES, advice, needed=False)


def _gpu() -> Iterator[Finding]:
    cards = _nvidia_cards()
    if not cards:
        yield Finding("machine", "GPU", "none", True, "not needed; training and searching millions are faster with one")
        return
    usable = False
    if _version("torch"):
        with suppress(Exception):  # a torch that cannot be loaded cannot use the card
            usable = bool(import_module("torch").cuda.is_available())
    advice = "" if usable else f"torch cannot use it, so it is idle: pip install '{PACKAGE}[gpu]'"
    yield Finding("machine", "GPU", "; ".join(cards), usable, advice, needed=False)


def _nvidia_cards() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return []
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]


# What it reads, searches and encodes with -----------------------------------------------------------------------------
def _decoders() -> Iterator[Finding]:
    from m3search.formats import dicom_pixels

    for syntax, plugins in dicom_pixels.decoders().items():
        advice = "" if plugins else f"{syntax} files cannot be read: pip install -U {PACKAGE}"
        yield Finding("decoders", f"DICOM {syntax}", ", ".join(plugins) or "none", bool(plugins), advice)
    from PIL import features

    for codec, name in (("jpg", "JPEG"), ("jpg_2000", "JPEG 2000"), ("zlib", "PNG"), ("libtiff", "TIFF")):
        version = features.version(codec) if features.check(codec) else None
        advice = "" if version else f"{name} pictures cannot be read: pip install -U --force-reinstall pillow"
        yield Finding(
            "decoders", f"{name} pictures", f"Pillow, {version}" if version else "none", bool(version), advice
        )
    with suppress(Exception):  # told of above, where its package is loaded
        library = import_module("openslide").__library_version__
        yield Finding("decoders", "whole slides", f"OpenSlide {library}, tifffile, DICOM")


def _search() -> Iterator[Finding]:
    installed = [name for name in FAISS if _version(name)]
    if len(installed) > 1:  # both put a module "faiss" into one folder: which one is loaded is chance
        advice = f"they overwrite each other: pip uninstall {' '.join(installed)}, then install one extra"
        yield Finding("search", "FAISS", " and ".join(installed), False, advice)
        return
    if not installed:
        advice = f"search stays exact but is slower on large indexes: pip install '{PACKAGE}[cpu]'"
        yield Finding("search", "FAISS", "missing", False, advice, needed=False)
        return
    problem = _import_problem("faiss")
    advice = f"{problem}; pip install --force-reinstall {installed[0]}" if problem else ""
    yield Finding("search", "FAISS", f"{installed[0]} {_version(installed[0])}", not problem, advice)


def _models() -> Iterator[Finding]:
    from m3search.encoders.bundle import Bundle, list_bundles

    found = list_bundles()
    for one in found:
        try:
            Bundle.open(one.folder).verify()
            yield Finding("models", one.name, f"intact ({one.origin})")
        except BundleError as error:
            yield Finding("models", one.name, "broken", False, str(error))
    if not found:
        advice = f"nothing can be indexed or searched: pip install --force-reinstall {PACKAGE}"
        yield Finding("models", "bundles", "none", False, advice)


# The index ------------------------------------------------------------------------------------------------------------
def _index(place: Path | str | None) -> Iterator[Finding]:
    from m3search.stores.folder import IndexFolder, is_index, locate

    path = locate(place)
    try:
        if not is_index(path):
            yield Finding("index", "index", f"none at {path}", place is None, "" if place is None else "check --index")
            return
        folder = IndexFolder.open(path)
    except M3SearchError as error:
        yield Finding("index", str(path), "cannot be opened", False, str(error))
        return
    built = folder.manifest
    yield Finding("index", str(path), f"built with {built.encoder}@{built.fingerprint[:8]}")
    if isinstance(path, Path):
        yield _private(path, "index folder", 0o700, "its vectors and thumbnails are patient data")
    else:
        yield Finding("index", "address", "reached; who else may read it is for the bucket's policy to say")
    if isinstance(folder.key_file, Path) and folder.key_file.exists():
        secret = "whoever reads it can test which pseudonym is whose"
        yield _private(folder.key_file, "pseudonym key", 0o600, secret)
    elif not folder.key_file.exists():
        advice = "the next index run makes another one, and known patients get new pseudonyms: restore it from a backup"
        yield Finding("index", "pseudonym key", "missing", False, advice)
    if isinstance(path, Path) and not os.access(path, os.W_OK | os.X_OK):
        advice = "it can be searched, but neither extended nor its uses logged: check its owner, or copy it"
        yield Finding("index", "writing", "not permitted", False, advice, needed=False)
    gone = [archive for archive in built.archives if "://" not in archive and not Path(archive).exists()]
    advice = f"files of {', '.join(gone)} cannot be shown or read again: mount or move them back" if gone else ""
    yield Finding(
        "index", "archives", f"{len(built.archives) - len(gone)} of {len(built.archives)} there", not gone, advice,
        needed=False,
    )  # fmt: skip


def _private(path: Path, what: str, mode: int, why: str) -> Finding:
    """That nobody but its owner may reach a path, and that the owner is who asks."""
    stat = path.stat()
    found = f"mode {stat.st_mode & 0o777:o}"
    if stat.st_mode & OTHERS:
        return Finding("index", what, f"{found}, open to others", False, f"{why}: chmod {mode:o} {path}")
    if stat.st_uid != os.geteuid():
        return Finding(
            "index", what, f"{found}, another user's", False, f"{why}: chown it to who indexes", needed=False
        )
    return Finding("index", what, found)


def _disk(place: Path | str | None) -> Iterator[Finding]:
    from m3search.encoders.bundle import user_folder
    from m3search.stores.folder import locate
    from m3search.stores.place import beside

    there = _nearest(beside(locate(place)).absolute())
    free = shutil.disk_usage(there).free
    advice = f"an index takes about {ITEM_BYTES // 1000} kB an item: make room, or use --index elsewhere"
    enough = free > LOW_DISK_BYTES
    yield Finding("disk", "for the index", f"{free / 1e9:.1f} GB free", enough, "" if enough else advice, needed=False)
    cache = user_folder("cache")
    kept = os.access(_nearest(cache), os.W_OK | os.X_OK)
    advice = "" if kept else "compiled networks are not kept, so every start takes longer: set XDG_CACHE_HOME"
    yield Finding("disk", "cache", str(cache) if kept else "not writable", kept, advice, needed=False)


def _nearest(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
