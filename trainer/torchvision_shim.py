"""Makes `import torchvision` work beside a torch it was not built for. open_clip, timm and peft all import it.

The torchvision that pip finds beside a CPU-only torch is built for CUDA. Its compiled operators then cannot be loaded,
which it forgives, but it goes on to describe two of them, and that fails: "operator torchvision::nms does not exist".
Declaring the two schemas is all it lacks. Nothing here computes with them: towers need none of its detection operators.
"""

from __future__ import annotations

import importlib
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []  # declarations end with the object that made them


def ensure_torchvision() -> None:
    """Import torchvision, declaring what a mismatched build lacks. Call it before importing open_clip, timm or peft.

    Tried as it is first: a build that matches declares the schemas itself, and a second declaration would be an error.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _declared:
            raise
        import torch

        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in SCHEMAS:
            library.define(schema)
        _declared.append(library)
        importlib.import_module("torchvision")
