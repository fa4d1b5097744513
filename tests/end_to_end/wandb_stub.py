"""A W&B server as small as the client bears, that can also be slow, refuse, or hang up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mood = Literal["well", "slow", "refuse", "drop", "page", 401, 403, 404, 429, 502]


class StubServer(ThreadingHTTPServer):
    """Answers as its ``mood`` says and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, mood: Mood) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mood = mood
        self.requests: list[tuple[str, str]] = []
        """Path and body of every request."""
        self.history: list[dict[str, Any]] = []
        """Rows that file streams delivered."""
        self.upserts: list[dict[str, Any]] = []
        """Variables of every creation or change of a run."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


@contextmanager
def stub_server(mood: Mood) -> Iterator[StubServer]:
    server = StubServer(mood)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", errors="replace")
        self.server.requests.append((self.path, body))
        match self.server.mood:
            case "slow":
                time.sleep(60)
            case "refuse":
                self._send({"errors": [{"message": "no"}]}, 500)
            case int(status) if self.command == "POST":
                self._send({"errors": [{"message": "user is not logged in"}]}, status)
            case "page" if self.command == "POST":
                self._send("<!doctype html><title>Sign in</title>")
            case int() | "page":
                self._send("ok")
            case "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            case "well":
                self._send(self._reply(body))

    def _send(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, body: str) -> Any:
        if self.path.endswith("/file_stream"):
            files = json.loads(body).get("files", {})
            lines = files.get("wandb-history.jsonl", {}).get("content", [])
            self.server.history += [json.loads(line) for line in lines]
            return {}
        if not self.path.endswith("/graphql"):
            return {}
        call = json.loads(body)
        query, variables = call.get("query", ""), call.get("variables") or {}
        if "upsertBucket" in query:
            self.server.upserts.append(variables)
            project = {"name": variables.get("project"), "entity": {"name": "someone"}}
            bucket = {"id": "x", "name": variables.get("name"), "displayName": variables.get("displayName")}
            bucket |= {"description": "", "config": "{}", "sweepName": None, "project": project}
            bucket |= {"historyLineCount": 0}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "createRunFiles" in query:
            names = variables.get("files", [])
            files = [{"name": name, "uploadUrl": f"{self.server.address}/put/{name}"} for name in names]
            return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}}
        if "createArtifact" in query:  # as if the server had it already
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
            return {"data": {"createArtifact": {"artifact": artifact}}}
        viewer = {"id": "1", "entity": "someone", "username": "someone", "flags": "{}", "email": "a@b.c"}
        viewer["teams"] = {"edges": []}
        return {"data": {"viewer": viewer, "model": None, "project": None, "serverInfo": None}}
