"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; a test that needs it is skipped by name where it is absent."""
    path = Path(os.environ.get("SR_IMAGING_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (path / "INDEX.md").is_file():
        pytest.skip(f"needs the folder of real scans, not found at {path}; set SR_IMAGING_DATA")
    return path
