"""Every pack store keeps the promises of its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwire_server.blob.stores.local import LocalPackStore
from modelwire_server.blob.stores.memory import MemoryPackStore
from modelwire_server.testing import PackStoreContract


class TestMemoryPackStore(PackStoreContract):
    @pytest.fixture
    def store(self) -> MemoryPackStore:
        return MemoryPackStore()


class TestLocalPackStore(PackStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalPackStore:
        return LocalPackStore(tmp_path)
