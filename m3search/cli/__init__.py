"""The command line: parses and prints. Whatever it can do, the Python API can.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no index, or another encoder's; 4 `--strict` and something could not be
read.
"""

from __future__ import annotations

import io
import sys

from m3search.errors import M3SearchError, NoIndex, UsageError


def main() -> None:
    """Entry point of `m3search`."""
    from m3search.cli.commands import app

    for stream in (sys.stdout, sys.stderr):  # a name that is no UTF-8, a terminal that knows no "é"
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except M3SearchError as error:
        sys.stderr.write(f"m3search: {error}\n")
        sys.exit(exit_code(error))
    except OSError as error:  # a place that cannot be written, a full disk: nobody needs a traceback for that
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"m3search: {place}{error.strerror or error}\n")
        sys.exit(1)
    except RuntimeError as error:
        from m3search.stores.place import AWAY

        if AWAY not in str(error):
            raise
        sys.stderr.write("m3search: the index's storage went away, or refuses; what was stored stays, run again\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("m3search: interrupted; what was stored stays, run again to continue\n")
        sys.exit(130)


def exit_code(error: M3SearchError) -> int:
    """The process's exit code for an error."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, NoIndex):
        return 3
    return 1
