"""A real HTTP server on loopback that serves a table well, badly, slowly or not at all."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labkit.datasets import Dataset

TABLE = b"smiles,toxic\n" + b"".join(b"C" * n + b",1\n" for n in range(1, 1500))
COMPRESSED = gzip.compress(TABLE, mtime=0)


class TableServer(ThreadingHTTPServer):
    """Serves `TABLE` under paths that name how badly; counts the requests for each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: Counter[str] = Counter()
        self.closing = threading.Event()
        self.started = threading.Event()

    def url(self, name: str) -> str:
        """Address of a file of this server."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: TableServer

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests[name] += 1
        self.server.started.set()
        behaviour, _, suffix = name.partition(".")
        body = COMPRESSED if suffix.endswith("gz") else TABLE
        if behaviour == "absent":
            self.send_error(404)
        elif behaviour == "broken":
            self.send_error(503)
        elif behaviour == "moved":
            self._moved(f"/good.{suffix}")
        elif behaviour == "corrupt":
            self._send(body.replace(b"C,1", b"C,0", 1) if body is TABLE else _flip(body))
        elif behaviour == "truncated":
            self._send(body[: len(body) // 2], promised=len(body))
        elif behaviour == "cut":
            self._send(body[: len(body) // 2])
        elif behaviour == "stalling":
            self._send(body[: len(body) // 2], promised=len(body), then_wait=True)
        elif behaviour == "dripping":
            self._drip(body)
        elif behaviour == "slow":
            self.server.closing.wait(0.7)
            self._send(body)
        else:
            self._send(body)

    def _moved(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, *, promised: int | None = None, then_wait: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(promised or len(body)))
        self.end_headers()
        self.wfile.write(body)
        if then_wait:
            self.wfile.flush()
            self.server.closing.wait(60)

    def _drip(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            if self.server.closing.wait(0.05):
                return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]


@pytest.fixture
def server() -> Iterator[TableServer]:
    """A running server; its waiting replies end with the test."""
    table_server = TableServer()
    thread = threading.Thread(target=table_server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield table_server
    table_server.closing.set()
    table_server.shutdown()
    table_server.server_close()
    thread.join()


@pytest.fixture
def offered(server: TableServer) -> Callable[..., Dataset]:
    """Make a registry entry for the table as the server offers it under some path."""

    def entry(name: str = "good.csv", *, known_bytes: bool = True) -> Dataset:
        body = COMPRESSED if name.endswith("gz") else TABLE
        return Dataset(
            name="toxins/table",
            file="table.csv.gz",
            url=server.url(name),
            sha256=hashlib.sha256(TABLE).hexdigest(),
            url_sha256=hashlib.sha256(body).hexdigest() if known_bytes else None,
            size=len(body),
            rows=1499,
            summary="alkanes, all toxic",
            license="none",
            citation="none",
        )

    return entry


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, and no folder of prepared data."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LABKIT_CACHE", str(folder))
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    return folder


@pytest.fixture
def table() -> bytes:
    """Content of the served table."""
    return TABLE


@pytest.fixture
def compressed() -> bytes:
    """The served table, compressed."""
    return COMPRESSED
