"""A database with its configuration directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.harness import Site


@pytest.fixture
def site(database: str, tmp_path: Path) -> Site:
    """On the server that the session shares."""
    return Site(database, tmp_path)
