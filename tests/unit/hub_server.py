"""A small stand-in for the hub: repositories in memory, transfers that break off or arrive damaged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub:
    """Repositories by "owner/name", each a list of commits (oldest first), each a dict of files.

    Attributes
    ----------
    broken : dict of str to int
        Files whose next transfer ends after so many bytes.
    damaged : dict of str to int
        Files of which so many transfers arrive with a flipped bit.
    gated : set of str
        Repositories that ask for an account.
    asked : list of tuple
        (method, path, Range header) of every request for a file.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.broken: dict[str, int] = {}
        self.damaged: dict[str, int] = {}
        self.gated: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add a commit; its number."""
        sha = hashlib.sha1(repr((repository, sorted(files.items()))).encode()).hexdigest()
        self.repositories.setdefault(repository, []).append((sha, files))
        return sha

    def find(self, repository: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        commits = self.repositories[repository]
        if revision in (None, "main"):
            return commits[-1]
        return next((commit for commit in commits if commit[0] == revision), None)


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".tar", ".parquet"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?", path):
            self._info(found[1], found[3], found[2] == "tree")
        elif found := re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3], body)
        else:
            self._send(404, b"{}")

    def _known(self, repository: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        if repository not in self.hub.repositories:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.find(repository, revision)
        if commit is None:
            self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _info(self, repository: str, revision: str | None, tree: bool) -> None:
        commit = self._known(repository, revision)
        if commit is None:
            return
        sha, files = commit
        listed: list[dict[str, Any]] = []
        for name, content in files.items():
            entry: dict[str, Any] = {"rfilename": name, "path": name, "type": "file", "size": len(content)}
            entry["blobId"] = entry["oid"] = hashlib.sha1(content).hexdigest()
            if is_large(name):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 134}
            listed.append(entry)
        answer: Any = {
            "id": repository, "sha": sha, "siblings": listed, "private": False, "downloads": 0, "likes": 0,
            "tags": [], "gated": "manual" if repository in self.hub.gated else False,
            "createdAt": "2024-09-18T00:00:00.000Z", "cardData": {"license": "apache-2.0"},
        }  # fmt: skip
        self._send(200, json.dumps(listed if tree else answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, revision: str, name: str, body: bool) -> None:
        if repository in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        commit = self._known(repository, revision)
        if commit is None:
            return
        sha, files = commit
        self.hub.asked.append((self.command, name, self.headers.get("Range") or ""))
        if name not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = files[name]
        start = int((re.search(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        tag = hashlib.sha256(content).hexdigest() if is_large(name) else hashlib.sha1(content).hexdigest()
        headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        if is_large(name):
            headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(content))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        sent = content[start:]
        if body and self.hub.damaged.get(name, 0) > 0:
            self.hub.damaged[name] -= 1
            sent = sent[:-1] + bytes([sent[-1] ^ 1])
        end = self.hub.broken.pop(name, None) if body else None
        self._send(206 if start else 200, sent, headers, body, end)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, body: bool = True,
        end: int | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:end])
        if end is not None:
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub at `url` on this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
