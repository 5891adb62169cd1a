"""A server with a tiny run, and sound for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from serve_sound import wav

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.pipeline import Trained, train

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from phoneme_moe.serve.app import create_app
from phoneme_moe.serve.served_runs import ServedRuns
from phoneme_moe.serve.server import Server
from phoneme_moe.serve.settings import Limits, ServerSettings


@pytest.fixture(scope="session")
def sound() -> bytes:
    return wav(["a", "s", "i", "m", "a"])


@pytest.fixture(scope="session")
def sparse(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with two sparse layers."""
    folder = tmp_path_factory.mktemp("runs") / "sparse"
    return train(tiny.RECIPES / "tiny_sparse.yaml", folder, device="cpu")


@pytest.fixture
def serving(
    recognized: Trained, sparse: Trained, tmp_path: Path
) -> Iterator[Callable[..., TestClient]]:
    """Starts servers of the tiny runs, one with a gate and one with sparse layers."""
    clients: list[TestClient] = []

    def start(limits: Limits | None = None, **settings: Any) -> TestClient:
        runs = ServedRuns([recognized.run.folder, sparse.run.folder])
        server = Server(runs, ServerSettings(limits=limits or Limits(), **settings))
        client = TestClient(create_app(server), base_url="http://localhost")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving: Callable[..., TestClient]) -> TestClient:
    return serving()
