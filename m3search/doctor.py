"""What this machine can do for m3search, what each missing piece costs, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from m3search.errors import BundleError

CORE = (
    "numpy",
    "pyarrow",
    "lancedb",
    "openvino",
    "pydicom",
    "wfdb",
    "nibabel",
    "openslide-python",
    "tifffile",
    "pillow",
)
LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `m3search doctor`."""

    what: str
    found: str
    ok: bool
    advice: str = ""  # what its absence costs and how to get it


def examine() -> list[Finding]:
    """Look at this machine. Takes about two seconds: decoders are really loaded."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _processor,
        _decoders,
        _search,
        _training,
        _models,
        _disk,
    )
    return [finding for check in checks for finding in check()]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _versions() -> Iterator[Finding]:
    yield Finding(
        "m3search", f"{_version('m3search')} on Python {platform.python_version()}, {platform.system()}", True
    )
    for package in CORE:
        version = _version(package)
        yield Finding(package, version or "missing", bool(version), "" if version else "pip install -U m3search")


def _processor() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:  # not Linux
        words = []
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in words]
    advice = "" if "amx_bf16" in known or not words else "without AMX the towers run in float32"
    yield Finding("processor", f"{cores} cores; {', '.join(known) or 'no vector extensions seen'}", True, advice)
    from m3search.encoders.runtime import cpu_capabilities

    yield Finding("OpenVINO runs", ", ".join(sorted(cpu_capabilities())), True)


def _decoders() -> Iterator[Finding]:
    from m3search.formats import dicom_pixels

    for syntax, plugins in dicom_pixels.decoders().items():
        advice = "" if plugins else f"{syntax} files cannot be read: pip install -U m3search"
        yield Finding(f"DICOM {syntax}", ", ".join(plugins) or "no decoder", bool(plugins), advice)


def _search() -> Iterator[Finding]:
    installed = next((name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12") if _version(name)), "")
    advice = "" if installed else "search stays exact but is slower on large indexes: pip install 'm3search[cpu]'"
    yield Finding("FAISS", f"{installed} {_version(installed)}" if installed else "missing", bool(installed), advice)


def _training() -> Iterator[Finding]:
    version = _version("torch")
    advice = "" if version else "only training needs it: pip install 'm3search[train]'"
    yield Finding("torch", version or "missing", bool(version), advice)


def _models() -> Iterator[Finding]:
    from m3search.encoders.bundle import Bundle, list_bundles

    for found in list_bundles():
        try:
            Bundle.open(found.folder).verify()
            yield Finding(f"model {found.name}", f"intact ({found.origin})", True)
        except BundleError as error:
            yield Finding(f"model {found.name}", "broken", False, str(error))


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    advice = "" if free > LOW_DISK_BYTES else "an index takes about 20 kB an item; make room or use --index elsewhere"
    yield Finding("disk here", f"{free / 1e9:.1f} GB free", free > LOW_DISK_BYTES, advice)
