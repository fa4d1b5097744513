"""A small HTTP server whose connections can be cut, and archives in BEIR's layout for it."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

QRELS_HEADER = "query-id\tcorpus-id\tscore\n"


@dataclass
class Served:
    """What the server does: its files, how it answers, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    """Bytes after which the next answers end early, one answer each."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def do_GET(self) -> None:
        served = self.served
        wanted = self.headers.get("Range")
        served.asked.append((self.path, wanted))
        content = served.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        stop = start + served.cut.pop(0) if served.cut else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(served: Served) -> ThreadingHTTPServer:
    """Start a server on a free port; ``shutdown`` ends it."""
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    return server


def archive(
    path: Path,
    folder: str,
    passages: Sequence[Mapping[str, Any]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Sequence[tuple[str, str, int]]],
) -> str:
    """Write an archive that holds one collection in ``folder``; return its md5."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/corpus.jsonl", "".join(json.dumps(record) + "\n" for record in passages))
        lines = (
            json.dumps({"_id": key, "text": text, "metadata": {}}) + "\n" for key, text in queries.items()
        )
        file.writestr(f"{folder}/queries.jsonl", "".join(lines))
        for split, rows in qrels.items():
            body = "".join("\t".join(map(str, row)) + "\n" for row in rows)
            file.writestr(f"{folder}/qrels/{split}.tsv", QRELS_HEADER + body)
    return hashlib.md5(path.read_bytes()).hexdigest()
