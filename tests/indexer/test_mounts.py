"""Index runs over file systems as they are met in hospitals: an archive mounted read-only, an index on a disk that is
full, that turns read-only. Real mounts, in a namespace of their own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from m3search.phantoms import Phantom

RUN = """
import subprocess, sys
from pathlib import Path
from m3search.errors import IndexUnwritable
from m3search.indexer import Options, index
from m3search.stores.folder import IndexFolder
from m3search.stores.verify import verify

archive, disk = map(Path, sys.argv[1:])

def run():
    report = index(archive, disk / "index", model="fake", options=Options(workers=0, shard_items=4))
    print(report.indexed, report.unchanged, report.failed)

def refused():
    try:
        run()
    except IndexUnwritable as error:
        print(error)

def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)
"""

PACKERS = {"a.zip": ("zip",), "a.tar.gz": ("gztar",)}


def mounted(program: str, *arguments: Path) -> list[str]:
    """What a program printed that may mount: lines."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs unshare and the right to make namespaces")
    command = ["unshare", "-rm", sys.executable, "-c", RUN + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def state(folder: Path) -> list[tuple[str, int, int, int]]:
    """Every file and folder: name, size, inode, time of the last change."""
    stats = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns) for path, stat in stats]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where a program mounts one."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def test_an_archive_mounted_read_only_is_read_and_left_as_it_is(
    phantoms: tuple[Path, list[Phantom]], disk: Path
) -> None:
    archive, made = phantoms
    before = state(archive)
    read_only = 'mount("--bind", archive, archive); mount("-o", "remount,bind,ro", archive)\n'
    tried = "try:\n    (archive / 'x').touch()\nexcept OSError as error:\n    print(error.strerror)\n"
    lines = mounted(read_only + tried + "run(); run()\n", archive, disk)
    assert lines == ["Read-only file system", f"{len(made)} 0 0", f"0 {len(made)} 0"]
    assert state(archive) == before


def test_a_run_whose_disk_fills_says_so_and_goes_on_when_there_is_room(
    phantoms: tuple[Path, list[Phantom]], disk: Path
) -> None:
    archive, made = phantoms
    program = """
mount("-t", "tmpfs", "-o", "size=512k", "none", disk)
refused()
mount("-o", "remount,size=64m", disk)
run()
mount("-o", "remount,ro", disk)
refused()
mount("-o", "remount,rw", disk)
run()
print(verify(IndexFolder.open(disk / "index")).ok)
"""
    full, first, read_only, second, whole = mounted(program, archive, disk)
    assert f"index {disk / 'index'} cannot be written, no space is left there" in full
    stored, unchanged, failed = map(int, first.split())
    assert (stored + unchanged, failed) == (len(made), 0)
    assert f"index {disk / 'index'} cannot be written, its file system is read-only" in read_only
    assert second == f"0 {len(made)} 0"
    assert whole == "True"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_no_room_for_the_copy_of_a_member_is_not_the_members_failure(
    name: str, phantoms: tuple[Path, list[Phantom]], disk: Path, tmp_path: Path
) -> None:
    archive, _ = phantoms
    packed = Path(shutil.make_archive(str(tmp_path / "a"), *PACKERS[name], archive / "xray"))
    program = """
mount("-t", "tmpfs", "-o", "size=300k", "none", disk)
refused()
mount("-o", "remount,size=64m", disk)
print(len(IndexFolder.open(disk / "index").record().failures()))
run()
"""
    full, failures, last = mounted(program, packed, disk)
    assert f"index {disk / 'index'} cannot be written, no space is left there" in full
    assert failures == "0"
    assert last.endswith(" 0")
    assert packed.exists()
