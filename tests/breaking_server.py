"""The servers that data sets are fetched from, played by one on the loopback address that breaks as it is told."""

import dataclasses
import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from plvl.data.fetching import coco_images, download
from plvl.data.fetching.sources import SETS, coco_address

PAGE = b"<!DOCTYPE html>\n<html><head><title>503 &amp; moved</title></head><body>Sorry</body></html>"


class BreakingHandler(BaseHTTPRequestHandler):
    """
    Gives `server.files` ({address without its scheme: bytes}). `server.breaks` has for an address what happens at its
    next requests, each once: a status, or a function of the handler and the content. `server.asked` has (address, its
    Range or None).
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = unquote(self.path[1:])
        self.server.asked.append((address, self.headers.get("Range")))
        content = self.server.files.get(address)
        breaks = self.server.breaks.get(address)
        how = breaks.pop(0) if breaks else None
        if callable(how):
            return how(self, content)
        if how or content is None:
            return self.answer(b"no", how or 404)
        return self.give(content)

    def give(self, content):
        """All of it, or the range that is asked for, if the content is still the same."""
        tag = f'"{hashlib.sha1(content).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or self.headers.get("If-Range", tag) != tag:
            return self.answer(content, 200, {"ETag": tag})
        start = int(asked[1])
        if start >= len(content):
            return self.answer(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(content[start:], 206, {"ETag": tag, "Content-Range": where})

    def answer(self, body, status=200, headers=None, sent=None):
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/zip"} | (headers or {})
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if sent is None else body[:sent])
        if sent is not None or headers["Content-Length"] is None:
            self.close_connection = True

    def log_message(self, *args):
        pass


def cut_after(number):
    """The connection ends after so many bytes, a multiple of 100."""

    def cut(handler, content):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start, tag = int(asked[1]) if asked else 0, f'"{hashlib.sha1(content).hexdigest()}"'
        where = {"ETag": tag, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        handler.answer(content[start:], 206 if asked else 200, where, sent=number)

    return cut


def without_ranges(handler, content):
    """As a server that knows no Range."""
    handler.answer(content)


def page(handler, content):
    handler.answer(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})


@contextmanager
def breaking_server(monkeypatch):
    """The server, in place of all that the table of sources names."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BreakingHandler)
    server.daemon_threads = True
    server.files, server.breaks, server.asked = {}, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def here(address):
        return f"{server.url}/{address.partition('://')[2]}"

    def served(sources):
        return tuple(dataclasses.replace(source, addresses=tuple(map(here, source.addresses))) for source in sources)

    for name, one in SETS.items():
        local = dataclasses.replace(one, labels=served(one.labels), images=served(one.images))
        monkeypatch.setitem(SETS, name, local)
    monkeypatch.setattr(
        coco_images, "coco_address", lambda name: here(coco_address(name)) if coco_address(name) else None
    )
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(download, "BLOCK", 100)
    yield server
    server.shutdown()
    server.server_close()
