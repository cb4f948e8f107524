"""The Hub, played by a small server on the loopback address."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

TOKEN = "hf_of_the_tests"


def commit_of(repository) -> str:
    """Another one whenever a file has changed, as loading files keeps them by their commit."""
    return hashlib.sha1(repr(sorted(repository.files.items())).encode()).hexdigest()


class HubHandler(BaseHTTPRequestHandler):
    """As much of the Hub as pushing and loading a model needs; repositories are in `server.repositories`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        # Every body is read whole, or the next request on the connection would begin in its rest.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and self.path != "/api/validate-yaml":
            return self.answer({"error": "Invalid username or password."}, status=401)
        if self.path == "/api/validate-yaml":
            self.server.validated.append(json.loads(body)["content"])
            return self.answer({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        repository = self.repository(r"/api/models/([^/]+/[^/]+)/(?:preupload|commit)/main")
        if repository is None:
            return self.answer({"error": "Repository not found"}, status=404, code="RepoNotFound")
        if "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self.answer({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "header":
                repository.commits.append(line["value"]["summary"])
        commit = commit_of(repository)
        url = f"{self.server.url}/{repository.name}/commit/{commit}"
        return self.answer({"success": True, "commitOid": commit, "commitUrl": url})

    def do_GET(self):
        self.send_file_or_info()

    def do_HEAD(self):
        self.send_file_or_info()

    def create(self, request):
        name = f"{request.get('organization') or 'someone'}/{request['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repositories:
            return self.answer({"error": "You already created this model repo", "url": url}, status=409)
        private = request.get("private") or request.get("visibility") == "private"
        self.server.repositories[name] = SimpleNamespace(name=name, files={}, commits=[], private=private)
        return self.answer({"url": url, "name": name})

    def repository(self, pattern):
        match = re.match(pattern, self.path)
        return self.server.repositories.get(match[1]) if match else None

    def send_file_or_info(self):
        repository = self.repository(r"/(?:api/models/)?([^/]+/[^/?]+)")
        if repository is None:
            return self.answer({"error": "Repository not found"}, status=404, code="RepoNotFound")
        commit = commit_of(repository)
        if re.search(r"/tree/[^/?]+(\?|$)", self.path):
            files = repository.files.items()
            return self.answer(
                [{"type": "file", "path": path, "size": len(content), "oid": commit} for path, content in files]
            )
        if "/tree/" in self.path:
            return self.answer({"error": "No such folder"}, status=404, code="EntryNotFound")
        if self.path.startswith("/api/models/"):
            return self.answer({"id": self.path.split("/models/")[1], "sha": commit, "siblings": []})
        path = re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", self.path)
        content = repository.files.get(path[1]) if path else None
        if content is None:
            return self.answer({"error": "Entry not found"}, status=404, code="EntryNotFound", commit=commit)
        return self.answer(content, commit=commit)

    def answer(self, content, status=200, code=None, commit=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        if commit:
            self.send_header("X-Repo-Commit", commit)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    """
    The server, in place of the Hub for this process: `repositories` (name to `files`, `commits`, `private`), `url`,
    and `validated`, the cards whose metadata was sent to be checked.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.repositories, server.validated = {}, []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    constants = "huggingface_hub.constants"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(f"{constants}.ENDPOINT", server.url)
    monkeypatch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    # Transformers keeps a client, with the address it had when it was first used.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    yield server
    server.shutdown()
    server.server_close()
