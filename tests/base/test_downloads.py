"""Weights: found, downloaded and verified; a file that is not the right one is never left
behind.
"""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from meddistill.base.downloads import Weights, cache_dir, find_weights, obtain_weights
from meddistill.base.errors import WeightsError

CONTENT = b"weights" * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the right file, a tampered one, one cut short (twice: the header lies, or not), and an
    error page."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        body = {
            "/right": CONTENT,
            "/tampered": b"x" + CONTENT[1:],
            "/short": CONTENT[:100],
            "/cut": CONTENT[:100],
        }
        if self.path not in body:
            self.send_error(404)
            return
        self.send_response(200)
        announced = len(CONTENT) if self.path == "/cut" else len(body[self.path])
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body[self.path])

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    Handler.requests = 0
    return tmp_path / "cache"


def _weights(address):
    return Weights("net.pt", len(CONTENT), SHA256, address, "Apache-2.0")


def test_the_right_file_is_downloaded_once(server, cache):
    weights = _weights(f"{server}/right")
    assert obtain_weights(weights) == cache / "net.pt"
    assert obtain_weights(weights).read_bytes() == CONTENT
    assert Handler.requests == 1
    assert [path.name for path in cache.iterdir()] == ["net.pt"]


@pytest.mark.parametrize("kind", ["tampered", "short"])
def test_another_file_is_deleted_and_reported(server, cache, kind):
    with pytest.raises(
        WeightsError,
        match=rf"/{kind} served another file than net\.pt \({len(CONTENT)} bytes, SHA-256",
    ):
        obtain_weights(_weights(f"{server}/{kind}"))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["cut", "missing"])
def test_a_failed_download_says_what_is_missing_and_where_it_goes(server, cache, kind):
    with pytest.raises(
        WeightsError,
        match=rf"{SHA256}\) is not on this machine .*/{kind} cannot be .* put it into .*cache",
    ):
        obtain_weights(_weights(f"{server}/{kind}"))
    assert list(cache.iterdir()) == []
    assert Handler.requests == 1


def test_without_network_it_is_one_line(cache):
    with pytest.raises(
        WeightsError,
        match=r"http://127\.0\.0\.1:9/net\.pt cannot be downloaded \(ConnectionError\)",
    ) as caught:
        obtain_weights(_weights("http://127.0.0.1:9/net.pt"))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache):
    cache.mkdir()
    (cache / "net.pt").write_bytes(b"x" + CONTENT[1:])
    assert obtain_weights(_weights(f"{server}/right")).read_bytes() == CONTENT
    (cache / "net.pt").write_bytes(b"half")
    assert obtain_weights(_weights(f"{server}/right")).read_bytes() == CONTENT


def test_a_file_in_a_package_is_used_but_never_deleted(server, cache, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "net.pt").write_bytes(CONTENT)
    assert obtain_weights(_weights(f"{server}/right"), [package]) == package / "net.pt"
    assert Handler.requests == 0
    (package / "net.pt").write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(WeightsError, match="is damaged: SHA-256"):
        obtain_weights(_weights(f"{server}/right"), [package])
    assert (package / "net.pt").exists()


def test_a_file_without_address_says_so(cache):
    with pytest.raises(WeightsError, match="has no address to download it from"):
        obtain_weights(_weights(""))


def test_the_cache_is_the_variable_or_the_platforms(cache, monkeypatch):
    assert cache_dir() == cache
    assert find_weights(_weights("")) is None
    monkeypatch.delenv("MEDDISTILL_CACHE")
    assert cache_dir().name == "meddistill"
