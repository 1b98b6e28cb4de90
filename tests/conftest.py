"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real medical data that lies beside a developer's checkout; a user's clone has none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set ../shared/data is not beside this checkout")
    return SHARED_DATA
