"""Small runs for every test: composed like a user's, shrunk to fractions of a second."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("layerpar", deadline=None)  # first calls into torch take far longer than later ones
settings.load_profile("layerpar")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for two cores: many tests wait for processes of their own."""
    return (3 * (os.cpu_count() or 1) + 1) // 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
