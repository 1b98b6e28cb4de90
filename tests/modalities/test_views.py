"""Items larger than their thumbnails."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from m3search.modalities import views
from m3search.types import InputSpec, Source


@pytest.mark.parametrize("modality", ["xray", "ct"])
def test_a_large_photograph_is_shown_in_every_pixel(tmp_path, modality):
    """Readers stop at fewer for a tower."""
    ramp = np.add.outer(np.linspace(0, 120, 2000), np.linspace(0, 120, 3000)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg")
    source, spec = Source(modality, "raster", (tmp_path / "a.jpg",)), InputSpec("image", size=224)
    about, slices = views.describe(source, spec)
    assert (about["width"], about["height"]) == (3000, 2000)
    look = views.Look(size=4096, policy="keep")
    shown = views.ct_slice(source, slices[0], None, look) if modality == "ct" else views.picture(source, spec, 1, look)
    assert Image.open(io.BytesIO(shown)).size == (3000, 2000)
