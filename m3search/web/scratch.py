"""Folders for files that a server holds for a while. Only its user may enter them; what killed servers left goes."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

FOLDERS = "m3search-serve-"


def new_folder() -> Path:
    """A new one, mode 700, under its real name. Its maker removes it."""
    sweep()
    return Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-")).resolve()


def sweep() -> None:
    """Remove those of servers of this user that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        pid = folder.name.removeprefix(FOLDERS).partition("-")[0]
        with suppress(OSError):
            if pid.isdigit() and folder.lstat().st_uid == os.getuid() and not _is_running(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
