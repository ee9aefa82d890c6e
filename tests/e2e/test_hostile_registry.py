"""A registry that lies, leads elsewhere or never stops: nothing of it is taken, no token leaves."""
import hashlib
import http.server
import json
import subprocess
import threading

import pytest
from conftest import BINARY


SECRET = "token-for-this-registry"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """paths: path → bytes or (status, headers, body or an endless piece of it)."""

    def __init__(self, token=False):
        self.paths, self.seen, self.token = {}, [], token
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, self.headers.get("Authorization")))
                if outer.token and self.path.startswith("/v2/") and not self.headers.get("Authorization"):
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", f'Bearer realm="http://{outer.name}/token",service="s"')
                    self.end_headers()
                    return
                answer = outer.paths.get(self.path.split("?")[0], (404, {}, b""))
                status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.end_headers()
                endless = headers.get("X-Endless")
                try:
                    self.wfile.write(body)
                    while endless:
                        self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.name = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        if token:
            self.paths["/token"] = json.dumps({"token": SECRET}).encode()

    def image(self, layer=b"layer", size=None, config=None, media="application/vnd.oci.image.layer.v1.tar"):
        config = config or json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [
            digest(layer)]}}).encode()
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest(config), "size": len(config)}, "layers": [
            {"mediaType": media, "digest": digest(layer), "size": len(layer) if size is None else size}]}).encode()
        self.paths["/v2/x/manifests/latest"] = manifest
        self.paths[f"/v2/x/blobs/{digest(config)}"] = config
        self.paths[f"/v2/x/blobs/{digest(layer)}"] = layer
        return f"/v2/x/blobs/{digest(layer)}"


@pytest.fixture
def registries():
    made = []

    def make(**options):
        made.append(Registry(**options))
        return made[-1]
    yield make
    for r in made:
        r.server.shutdown()


def pull(tmp_path, registry):
    done = subprocess.run([BINARY, "image", "pull", "--data-dir", tmp_path, f"{registry.name}/x"], capture_output=True,
                          text=True, timeout=60)
    assert "Sanitizer" not in done.stderr, done.stderr
    assert not list(tmp_path.rglob("images/tmp/*")) and not list(tmp_path.rglob("images/layers/*"))
    return done.returncode, done.stdout + done.stderr


def test_a_redirect_gets_no_token(registries, tmp_path):
    elsewhere, registry = registries(), registries(token=True)
    where = registry.image()
    registry.paths[where] = (307, {"Location": f"http://{elsewhere.name}/blob"}, b"")
    elsewhere.paths["/blob"] = b"other bytes"
    code, said = pull(tmp_path, registry)
    assert code != 0 and elsewhere.seen and registry.seen[-1][1] == f"Bearer {SECRET}", said
    assert all(authorization is None for _, authorization in elsewhere.seen)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "dict://127.0.0.1:1/x"])
def test_redirects_stay_on_http(registries, tmp_path, target):
    registry = registries()
    where = registry.image()
    registry.paths[where] = (302, {"Location": target}, b"")
    code, said = pull(tmp_path, registry)
    assert code != 0 and "root:" not in said


def test_lies_are_told(registries, tmp_path):
    r = registries()
    r.paths[r.image()] = b"LAYER"  # another digest
    code, said = pull(tmp_path, r)
    assert code != 0 and "digest" in said, said
    r.image(size=1 << 61)
    code, said = pull(tmp_path, r)
    assert code != 0 and "room" in said, said
    r.image(size=-1)
    assert pull(tmp_path, r)[0] != 0
    r.image(config=json.dumps({"rootfs": {"diff_ids": []}}).encode())
    assert pull(tmp_path, r)[0] != 0
    r.image(config=json.dumps({"rootfs": {"diff_ids": ["sha256:../../../../etc/passwd"]}}).encode())
    assert pull(tmp_path, r)[0] != 0
    r.paths["/v2/x/manifests/latest"] = json.dumps({"schemaVersion": 2, "config": {"digest": digest(b"c"), "size": 1}, "layers": [
        {"digest": digest(b"l"), "size": 1}] * 10000}).encode()
    code, said = pull(tmp_path, r)
    assert code != 0 and "10000 layers" in said, said


def test_endless_answers_end(registries, tmp_path):
    r = registries()
    where = r.image()
    r.paths[where] = (200, {"X-Endless": "1"}, b"x" * 65536)
    code, said = pull(tmp_path, r)
    assert code != 0 and "more bytes" in said, said
    r.paths["/v2/x/manifests/latest"] = (200, {"X-Endless": "1"}, b" " * 65536)
    assert pull(tmp_path, r)[0] != 0
    r.paths["/v2/x/manifests/latest"] = (302, {"Location": "/v2/x/manifests/latest"}, b"")
    assert pull(tmp_path, r)[0] != 0
