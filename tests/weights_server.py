"""Local servers: one that fails in the ways real servers do, and one that acts as a model hub."""

import dataclasses
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import Self

TAG = '"tag"'


@dataclasses.dataclass
class Served:
    """A file, and how to send it."""

    content: bytes = b""
    status: int = 200
    cut_after: int = 0
    """Number of bytes after which to cut the connection; 0 for never."""
    knows_range: bool = True
    states_length: bool = True
    stated_length: int | None = None
    pause_s: float = 0.0
    """Pause before each tenth of the content."""
    hangs: bool = False
    leads_to: str = ""


class Asked(dict[str, str]):
    """A request; header names are in lower case."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})
        self.method, self.path, self.body = method, path, body


class WeightsServer:
    """Serves `files` by path and records requests; use it in a ``with`` statement."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                path = unquote(urlsplit(self.path).path)
                asked = Asked(self.command, path, dict(self.headers.items()), body)
                server.asked.append(asked)
                server.answer(self, asked)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        send_file(handler, self.files.get(asked.path, Served(status=404)), asked, self.closing)


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


def send_file(
    handler: BaseHTTPRequestHandler, file: Served, asked: Asked, closing: threading.Event
) -> None:
    """Send a file, or the requested part of it, in the way `file` specifies."""
    if file.hangs:
        closing.wait(30)
        handler.close_connection = True
        return None
    if file.leads_to:
        return send(handler, 302, headers={"Location": file.leads_to})
    if file.status != 200:
        return send(handler, file.status, b"no")
    wanted = re.fullmatch(r"bytes=(\d+)-", asked.get("range", ""))
    start = int(wanted[1]) if wanted and file.knows_range else 0
    if start and asked.get("if-range", TAG) != TAG:
        start = 0
    if start and start >= len(file.content):
        return send(handler, 416)
    content = file.content[start:]
    handler.send_response(206 if start else 200)
    handler.send_header("ETag", TAG)
    if start:
        end, total = start + len(content) - 1, len(file.content)
        handler.send_header("Content-Range", f"bytes {start}-{end}/{total}")
    length = len(content) if file.stated_length is None else file.stated_length
    if file.states_length:
        handler.send_header("Content-Length", str(length))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    if file.cut_after:
        content = content[: file.cut_after]
    block = max(1, -(-len(content) // 10))
    try:
        for at in range(0, len(content), block):
            time.sleep(file.pause_s)
            handler.wfile.write(content[at : at + block])
            handler.wfile.flush()
    except OSError:
        pass  # the client closed the connection


class HubServer(WeightsServer):
    """Implements the hub routes that huggingface-hub uses to download and upload models.

    `repos` holds files by repository and commit, and `branches` the commits of branches and tags;
    main is the last commit unless it is listed. A new repository has a first commit, as on the
    hub. `private` and `gated` repositories need the token.
    """

    TOKEN = "hf_of_a_test"

    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: dict[str, bool] = {}
        self.gated: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.breaks: dict[str, Served] = {}
        """Faulty ways to send files, by file name."""

    def answer(self, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        path = asked.path
        is_known = asked.get("authorization") == f"Bearer {self.TOKEN}"
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(refs/pr/[0-9]+|[^/]+)/(.+)", path):
            self._resolve(handler, asked, *match.groups())
        elif info and asked.method == "GET" and (is_known or not self.private.get(info[1])):
            self._info(handler, info[1], info[2] or "main")
        elif match := re.fullmatch(r"/storage/([0-9a-f]{64})", path):
            self.stored[match[1]] = asked.body
            send(handler, 200)
        elif not is_known:
            code = {"X-Error-Code": "RepoNotFound"} if info else {}
            send(handler, 401, b'{"error": "Invalid username or password."}', code)
        elif path == "/api/repos/create":
            self._create(handler, json.loads(asked.body))
        elif path == "/api/validate-yaml":
            self._json(handler, {"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            self._preupload(handler, json.loads(asked.body))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._batch(handler, json.loads(asked.body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(handler, match[1], asked.body)
        else:
            send(handler, 404)

    def _json(self, handler: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
        send(handler, status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _resolve(
        self, handler: BaseHTTPRequestHandler, asked: Asked, repo: str, revision: str, path: str
    ) -> None:
        is_known = asked.get("authorization") == f"Bearer {self.TOKEN}"
        if repo in self.gated and not is_known:
            return send(handler, 401, headers={"X-Error-Code": "GatedRepo"})
        if repo not in self.repos or (self.private.get(repo) and not is_known):
            return send(handler, 401, headers={"X-Error-Code": "RepoNotFound"})
        commit = self._commit_of(repo, revision)
        if commit is None:
            return send(handler, 404, headers={"X-Error-Code": "RevisionNotFound"})
        revision = commit
        content = self.repos[repo][revision].get(path)
        if content is None:
            return send(
                handler,
                404,
                headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": revision},
            )
        how = self.breaks.get(path, Served())
        if how.status != 200:
            return send(handler, how.status)
        if asked.method == "HEAD":
            handler.send_response(200)
            handler.send_header("X-Repo-Commit", revision)
            handler.send_header("ETag", f'"{etag_of(path, content)}"')
            handler.send_header("Content-Length", str(how.stated_length or len(content)))
            handler.end_headers()
            return None
        served = dataclasses.replace(how, content=how.content or content)
        return send_file(handler, served, asked, self.closing)

    def _create(self, handler: BaseHTTPRequestHandler, wanted: dict[str, Any]) -> None:
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        is_private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        if repo in self.repos:
            known = {"error": "You already created this repo", "url": f"{self.url}/{repo}"}
            return self._json(handler, known, 409)
        self.repos[repo] = {"0" * 40: {".gitattributes": b""}}
        self.private[repo] = is_private
        return self._json(handler, {"url": f"{self.url}/{repo}"})

    def _preupload(self, handler: BaseHTTPRequestHandler, wanted: dict[str, Any]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in wanted["files"]
        ]
        self._json(handler, {"files": modes})

    def _batch(self, handler: BaseHTTPRequestHandler, wanted: dict[str, Any]) -> None:
        objects = [
            {
                "oid": row["oid"],
                "size": row["size"],
                "actions": {"upload": {"href": f"{self.url}/storage/{row['oid']}", "header": {}}},
            }
            for row in wanted["objects"]
        ]
        self._json(handler, {"transfer": "basic", "objects": objects})

    def _commit(self, handler: BaseHTTPRequestHandler, repo: str, body: bytes) -> None:
        import base64

        parent = list(self.repos[repo])[-1]
        files = dict(self.repos[repo][parent])
        for line in body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
        revision = hashlib.sha1(parent.encode() + body, usedforsecurity=False).hexdigest()
        self.repos[repo][revision] = files
        url = f"{self.url}/{repo}/commit/{revision}"
        self._json(handler, {"success": True, "commitOid": revision, "commitUrl": url})

    def _info(self, handler: BaseHTTPRequestHandler, repo: str, revision: str) -> None:
        if repo not in self.repos:
            return send(handler, 404, headers={"X-Error-Code": "RepoNotFound"})
        facts = {"id": repo, "private": self.private.get(repo, False), "tags": [], "siblings": []}
        commit = self._commit_of(repo, revision)
        if commit is not None:
            paths = self.repos[repo][commit]
            facts |= {"sha": commit, "siblings": [{"rfilename": path} for path in paths]}
        elif self.repos[repo]:
            return send(handler, 404, headers={"X-Error-Code": "RevisionNotFound"})
        return self._json(handler, facts)

    def _commit_of(self, repo: str, revision: str) -> str | None:
        if revision in self.repos[repo]:
            return revision
        newest = {"main": list(self.repos[repo])[-1]} if self.repos[repo] else {}
        return (newest | self.branches.get(repo, {})).get(revision)


def etag_of(path: str, content: bytes) -> str:
    """Return a file's hub identifier: sha256 for large files, git's SHA-1 for small ones."""
    if path.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
