"""The Hub's data sets, played by a small server on the loopback address, for reading."""

import hashlib
import io
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import pyarrow
from huggingface_hub import HfFileSystem
from pyarrow import parquet


def name_of(number):
    return f"COCO_train2014_{number:012d}.jpg"


def parquet_of(rows, row_group_size=2):
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=row_group_size)
    return file.getvalue()


def reference(number, sentences, split="train", **changes):
    """As jxu124/refcoco has it: `bbox` has two corners, the annotation's box x, y, w, h."""
    annotation = {"id": number, "image_id": number, "bbox": [4, 6, 10, 20], "iscrowd": 0}
    annotation["segmentation"] = [[4, 6, 14, 6, 14, 26, 4, 26]]
    image = {"id": number, "file_name": name_of(number), "height": 30, "width": 40}
    return {
        "ref_id": 10 * number,
        "image_id": number,
        "ann_id": number,
        "split": split,
        "file_name": name_of(number).replace(".jpg", f"_{number}.jpg"),
        "sentences": [
            {"raw": text.title(), "sent": text, "sent_id": 100 * number + place, "tokens": text.split()}
            for place, text in enumerate(sentences)
        ],
        "raw_anns": json.dumps(annotation),
        "raw_image_info": json.dumps(image),
        "image_path": f"coco/train2014/{name_of(number)}",
        "bbox": [4.0, 6.0, 14.0, 26.0],
    } | changes


class DataHubHandler(BaseHTTPRequestHandler):
    """Repositories are in `server.repositories`: {"user/set": {path: bytes}}."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            return self.send_content(self.files(match[1]).get(match[2]))
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/[^/]+/?(.*))?", path)
        if match is None or match[1] not in self.server.repositories:
            return self.answer(b'{"error": "Repository not found"}', 404, {"X-Error-Code": "RepoNotFound"})
        files = self.files(match[1])
        if match[2] == "tree":
            inside = {path: content for path, content in files.items() if path.rpartition("/")[0] == match[3]}
            return self.answer([self.entry(path, content) for path, content in inside.items()])
        return self.answer(
            {"id": match[1], "sha": self.commit(match[1]), "siblings": [{"rfilename": path} for path in files]}
        )

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/.+", unquote(self.path))
        asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
        files = self.files(match[1])
        self.answer([self.entry(path, files[path]) for path in asked if path in files])

    def files(self, name):
        return self.server.repositories.get(name, {})

    def commit(self, name):
        return hashlib.sha1(repr(sorted(self.files(name).items())).encode()).hexdigest()

    def entry(self, path, content):
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def send_content(self, content):
        if content is None:
            return self.answer(b'{"error": "Entry not found"}', 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            return self.answer(content[first : last + 1], 206, headers)
        return self.answer(content, 200, headers)

    def answer(self, content, status=200, headers=None):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.server.sent.append((self.path, len(content)))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def local_data_hub(monkeypatch):
    """The server, in place of the Hub for this process: `repositories`, and `sent`, [(path, bytes)]."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), DataHubHandler)
    server.repositories, server.sent = {}, []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # It keeps the address that it had when it was first used.
    HfFileSystem.clear_instance_cache()
    yield server
    HfFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
