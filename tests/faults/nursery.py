"""A process that forks index runs under the shim: each starts in no time, with everything imported.

`python -m tests.faults.nursery SHIM`. Read from stdin, one line each, parted by tabs: name of the act, scenario folder,
change at which it goes wrong, what (0 counts, 1 kills, 2 fills the disk, 3 kills after so many microseconds instead of
changes). Written to stdout: wait status, changes counted, the error's words.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import sys
import tempfile
import threading
import warnings
from functools import partial
from pathlib import Path

from m3search.encoders import load_encoder
from m3search.errors import IndexUnwritable
from m3search.formats import dicom_pixels, nifti, raster, slide, wfdb
from m3search.indexer import inspect, read
from m3search.modalities import MODALITIES
from m3search.stores import publishing
from m3search.stores.publishing import Policy

from ..fuzz.seeds import KINDS
from . import campaign
from .acts import ACTS

WARM = (dicom_pixels, nifti, raster, slide, wfdb, inspect, read)
HEAVY = ("lancedb", "faiss", "openslide", "scipy.signal", "wfdb")  # most of the time of a short run is to import these
LANCE = "LanceDBBackgroundEventLoop"  # a thread that lancedb starts when it is imported, and anew in a forked process
MOMENT = 3
NO_FILTER = 4  # exit code: the system lets no process filter its own calls
OTHER_ERROR = 3  # exit code: raised something else than IndexUnwritable


def act_in(shim: ctypes.CDLL, act: str, scenario: Path, at: int, what: int, answer: int) -> int:
    """Act once, in a forked process. Its exit code."""
    shim.fault_count.restype = ctypes.c_long
    if what != MOMENT and shim.fault_arm(os.fsencode(scenario / "index"), ctypes.c_long(at), what):
        return NO_FILTER
    said = ""
    code = 0
    try:
        ACTS[act](scenario / "archive", scenario / "index")
    except IndexUnwritable as error:
        said = str(error)
    except BaseException as error:
        said, code = f"{type(error).__name__}: {error}", OTHER_ERROR
    words = " ".join(said.split())[:500]
    os.write(answer, f"{shim.fault_count()}\t{words}".encode())
    return code


def warm() -> None:
    """Read one file of each kind, for the tables that libraries fill when they are first used."""
    with tempfile.TemporaryDirectory(prefix="nursery-") as name:
        for kind, (folder, write) in KINDS.items():
            if kind in campaign.HOLDINGS:
                place = Path(name) / kind / folder
                place.mkdir(parents=True)
                write(place)
                load_encoder("fake").encode_files([file for file in place.iterdir() if file.suffix != ".dat"])


def main() -> None:
    """Until stdin ends."""
    shim = ctypes.CDLL(sys.argv[1])
    publishing.Policy = partial(Policy, flat_from=1)  # type: ignore[misc,assignment]  # FAISS's files are among them
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)  # nothing of it runs while this forks
    load_encoder("fake")
    for name in (*HEAVY, *(place.partition(":")[0] for place in MODALITIES.values())):
        importlib.import_module(name)
    warm()
    if {thread.name for thread in threading.enumerate()} - {threading.main_thread().name, LANCE}:
        raise RuntimeError("a process with threads cannot be forked")
    for line in sys.stdin:
        act, folder, at, what = line.rstrip("\n").split("\t")
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os._exit(act_in(shim, act, Path(folder), int(at), int(what), writer))
        os.close(writer)
        if int(what) == MOMENT:
            ended, _, _ = select.select([reader], [], [], int(at) / 1e6)  # it may be faster than that
            if not ended:
                os.kill(child, signal.SIGKILL)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            said = pipe.read() or "0\t"
        sys.stdout.write(f"{os.waitpid(child, 0)[1]}\t{said}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
