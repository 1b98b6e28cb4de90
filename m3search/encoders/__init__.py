"""Encoders: texts, images and signals to unit vectors of one space. Nothing heavy is imported before one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder

DEFAULT_ENCODER = "m3bind-small"


def load_encoder(name_or_folder: str | Path = DEFAULT_ENCODER) -> Encoder:
    """A bundle by name ("m3bind-small") or folder; "fake" is the encoder without weights.

    Raises:
        BundleError: no such bundle, or it is incomplete.
    """
    if name_or_folder == "fake":
        from m3search.encoders.fake import FakeEncoder

        return FakeEncoder()
    from m3search.encoders.bundle import Bundle, find_bundle
    from m3search.encoders.runtime import BundleEncoder

    return BundleEncoder(Bundle.open(find_bundle(name_or_folder)))
