from __future__ import annotations

import subprocess
import sys


def test_a_process_can_be_told_to_keep_what_it_frees() -> None:
    # In a process of its own: the setting cannot be taken back.
    code = "from m3search.trainer.memory import keep_freed_memory; assert keep_freed_memory() in (True, False)"
    subprocess.run([sys.executable, "-c", code], check=True)
