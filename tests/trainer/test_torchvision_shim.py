"""What imports torchvision can be imported here, whichever build of it lies beside torch."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from m3search.trainer.torchvision_shim import ensure_torchvision
ensure_torchvision()
ensure_torchvision()
import open_clip, peft, timm
print(open_clip.__version__, peft.__version__, timm.__version__)
"""


def test_open_clip_timm_and_peft_can_be_imported() -> None:
    # In a process of its own: in this one something may have imported torchvision already.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3
