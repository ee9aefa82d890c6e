"""An ACME server that means harm: what it can make the controllers and the gateway do, and what the Certificate says about it."""
import http.server
import json
import threading

import pytest

from conftest import wait_until
from test_gw_acme import certificate, condition

PROOF = {"type": "http-01", "token": "good_token", "status": "pending"}


class Acme(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Replay-Nonce": "n", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append(self.path)
        _, mode, what = (self.path.split("/", 2) + ["", ""])[:3]
        base = f"http://127.0.0.1:{self.server.server_port}/{mode}"
        other = f"http://127.0.0.1:{self.server.other}/inside" if mode == "elsewhere" else f"{base}/order"
        if what == "dir" and mode == "giant":
            self.answer(b"[" + b"0," * (1 << 20) + b"0]")
        elif what == "dir" and mode == "deep":
            self.answer(b'{"newNonce":' + b"[" * 100000)
        elif what == "dir":
            self.answer({"newNonce": f"{base}/nonce", "newAccount": f"{base}/account", "newOrder": other})
        elif what == "account":
            self.answer({}, 201, Location=f"{base}/account/1")
        elif what == "order":
            n = 5000 if mode == "many" else 1
            self.answer({"status": "pending", "finalize": f"{base}/finalize", "authorizations": [f"{base}/authz"] * n}, 201, Location=f"{base}/order/1")
        elif what == "authz":
            name = "victim.test" if mode == "others" else f"{mode}.hostile.test"
            token = {"token": "../../../secret", "header": "a\r\nset-cookie: a=b"}.get(mode, "good_token")
            self.answer({"status": "pending", "identifier": {"type": "dns", "value": name}, "challenges": [{**PROOF, "token": token, "url": f"{base}/proof"}]})
        else:
            self.answer({"type": "urn:ietf:params:acme:error:badNonce", "detail": "x" * 5000}, 400)

    def log_message(self, *_):
        pass


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.seen = True, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def acme():
    inside, outside = serve(Acme), serve(Acme)
    inside.other = outside.server_port
    yield inside, outside
    inside.shutdown(), outside.shutdown()


@pytest.mark.parametrize("mode,why", [("giant", "ACME"), ("deep", "directory"), ("elsewhere", "which is not on"), ("many", "more proofs than names"),
                                      ("others", "not ordered"), ("token", "token"), ("header", "token")])
def test_what_a_hostile_server_says_is_refused(sampan, ns, acme, mode, why):
    inside, outside = acme
    sampan.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "evil"}, "spec": {"acme": {
        "server": f"http://127.0.0.1:{inside.server_port}/{mode}/dir", "privateKeySecretRef": {"name": "evil-account"}, "solvers": [{"http01": {}}]}}},
        certificate("shop", "evil", f"{mode}.hostile.test", kind="Issuer"), namespace=ns)
    seen = wait_until(lambda: condition(sampan, "certificate", "shop", ns).get("reason") == "Failed" and condition(sampan, "certificate", "shop", ns), "it has failed")
    assert why in seen["message"] and len(seen["message"]) < 1000, seen
    assert not sampan.get("challenges", namespace=ns)["items"] and not outside.seen
    assert len([p for p in inside.seen if p.startswith(f"/{mode}/")]) < 20
