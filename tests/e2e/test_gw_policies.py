"""Each setting of BackendPolicy and TrafficPolicy that is about the wire, with curl through a real gateway."""
import json
import re
import socket
import socketserver
import subprocess
import threading
import time

import pytest

from conftest import free_port, own_address, wait_until
from gw_wire import END_HEADERS, END_STREAM, HEADERS, Raw, block, frame

GROUP = "gateway.networking.k8s.io"


class Talker(socketserver.StreamRequestHandler):
    """HTTP/1.1, after a PROXY header if there is one. /slow never answers; the others are told what came."""

    def handle(self):
        proxy = b""
        if self.rfile.peek(12)[:12] == b"\r\n\r\n\0\r\nQUIT\n":
            proxy = self.rfile.read(16)
            proxy += self.rfile.read(int.from_bytes(proxy[14:16], "big"))
        elif self.rfile.peek(6)[:6] == b"PROXY ":
            proxy = self.rfile.readline()
        while line := self.rfile.readline():
            path, fields = line.split()[1].decode(), {}
            while (line := self.rfile.readline().strip()):
                name, _, value = line.decode().partition(":")
                fields[name.lower()] = value.strip()
            n = int(fields.get("content-length", 0))
            self.rfile.read(n)
            if path == "/slow":
                self.server.gate.wait(30)
                return
            body = json.dumps({"proxy": proxy.hex(), "fields": fields, "connection": self.client_address[1]}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


class World:
    def __init__(self, sampan, ns):
        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, *_):
                pass

        self.sampan, self.ns = sampan, ns
        self.server = Server((own_address(), 0), Talker)
        self.server.gate = threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
        self.port = free_port()
        to = {"service": {"name": "web", "port": {"number": 80}}}
        sampan.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
             "ports": [{"name": "", "port": self.server.server_address[1]}],
             "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}]},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [
                {"host": f"{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": to}]}}]}},
            {"apiVersion": f"{GROUP}/v1", "kind": "Gateway", "metadata": {"name": "door"}, "spec": {
                "gatewayClassName": "sampan", "listeners": [{"name": "own", "port": self.port, "protocol": "HTTP"}]}},
            {"apiVersion": f"{GROUP}/v1", "kind": "HTTPRoute", "metadata": {"name": "web"}, "spec": {
                "parentRefs": [{"name": "door"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}, namespace=ns)
        for port in (sampan.gateway_port, self.port):
            wait_until(lambda: self.curl("/", port=port)[0] == 200, "an answer")

    def url(self, path, port=None):
        return f"http://{self.ns}.test:{port or self.sampan.gateway_port}{path}"

    def curl(self, path="/", *args, port=None):
        """(status, JSON or text)"""
        port = port or self.sampan.gateway_port
        done = subprocess.run(["curl", "-sS", "--max-time", "25", "-w", "\n%{http_code}", "--resolve", f"{self.ns}.test:{port}:127.0.0.1",
                               self.url(path, port), *args], capture_output=True, text=True, timeout=60)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body) if body.startswith("{") else body

    def policy(self, kind, target, **spec):
        """Replaces it; back when the gateway says that it is carried out."""
        path = f"/apis/sampan.dev/v1alpha1/namespaces/{self.ns}/{kind.lower()[:-1]}ies"
        status, o = self.sampan.api("GET", f"{path}/p")
        create = status == 404
        if create:
            o = {"apiVersion": "sampan.dev/v1alpha1", "kind": kind, "metadata": {"name": "p"}}
        o["spec"] = {"targetRefs": [target], **spec}
        status, o = self.sampan.api(*(("POST", path) if create else ("PUT", f"{path}/p")), body=o)
        assert status in (200, 201), o

        def told():
            now = self.sampan.api("GET", f"{path}/p")[1]
            return next((c for c in now.get("status", {}).get("conditions", [])
                         if c["type"] == "Accepted" and c["observedGeneration"] == now["metadata"]["generation"]), None)
        return wait_until(told, "a word about the policy")

    def backend(self, **spec):
        return self.policy("BackendPolicy", {"group": "", "kind": "Service", "name": "web"}, **spec)

    def traffic(self, **spec):
        return self.policy("TrafficPolicy", {"group": GROUP, "kind": "Gateway", "name": "door"}, **spec)


@pytest.fixture
def world(sampan, ns):
    w = World(sampan, ns)
    yield w
    w.server.gate.set()
    w.server.shutdown()
    w.server.server_close()


def test_goaway_makes_clients_connect_anew(world):
    def connects():
        """How many connections three requests need; curl of Debian 12 reuses none that began with prior knowledge."""
        n, stream, c = 0, 1, None
        for _ in range(3):
            if not c or c.goaway:
                c, n, stream = Raw(world.sampan.gateway_port), n + 1, 1
            c.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block(
                (":method", "GET"), (":scheme", "http"), (":authority", f"{world.ns}.test"), (":path", "/"))))
            c.until(lambda: stream in c.ended)
            assert c.heads[stream][0][":status"] == "200"
            c.ping()
            stream += 2
        return n

    assert connects() == 1
    world.backend(goawayChance=1)
    wait_until(lambda: connects() == 3, "a connection for each request")
    world.backend(goawayChance=0)
    wait_until(lambda: connects() == 1, "one connection again")


def test_endpoints_get_a_proxy_header(world):
    assert world.curl()[1]["proxy"] == ""
    world.backend(proxyProtocol="v1")
    line = bytes.fromhex(wait_until(lambda: world.curl()[1]["proxy"], "a header")).decode()
    assert re.fullmatch(rf"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ {world.sampan.gateway_port}\r\n", line)
    world.backend(proxyProtocol="v2")
    header = bytes.fromhex(wait_until(lambda: (lambda p: p if p.startswith("0d0a") else None)(world.curl()[1]["proxy"]), "version 2"))
    assert header[12:14] == b"\x21\x11" and header[16:24] == socket.inet_aton("127.0.0.1") * 2
    assert int.from_bytes(header[26:28], "big") == world.sampan.gateway_port


def test_servers_have_their_time(world):
    world.backend(timeouts={"response": "1s"})
    status, text = wait_until(lambda: (lambda a: a if a[0] == 504 else None)(world.curl("/slow")), "no answer in time")
    wait_until(lambda: world.curl()[0] == 200, "others are answered")
    # A kept connection ends after its time: the next request comes by another one.
    world.backend(timeouts={"idle": "200ms"})
    wait_until(lambda: (time.sleep(0.6), len({world.curl()[1]["connection"], (time.sleep(0.6), world.curl()[1]["connection"])[1]}))[1] == 2, "a new connection")


def test_clients_have_their_time(world):
    def ends(first):
        """What comes until the gateway closes; None: it does not within two seconds."""
        with socket.create_connection(("127.0.0.1", world.port), 2) as c:
            c.sendall(first)
            got = b""
            try:
                while piece := c.recv(65536):
                    got += piece
            except socket.timeout:
                return None
            return got

    assert ends(b"GET / HTTP/1.1\r\n") is None
    world.traffic(timeouts={"requestHead": "300ms", "keepAlive": "300ms"})
    assert wait_until(lambda: ends(b"GET / HTTP/1.1\r\n"), "the end").startswith(b"HTTP/1.1 408 ")
    assert wait_until(lambda: ends(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"), "the end").startswith(b"HTTP/1.1 200 ")


def test_forwarded_fields_of_those_who_are_trusted(world):
    def seen():
        return world.curl("/", "-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Proto: https", port=world.port)[1]["fields"]

    assert seen()["x-forwarded-for"] == "127.0.0.1" and seen()["x-forwarded-proto"] == "http"
    assert world.traffic(trustForwarded={"from": ["127.0.0.0/8"]})["status"] == "True"
    wait_until(lambda: seen()["x-forwarded-for"] == "203.0.113.9, 127.0.0.1", "it is continued")
    assert seen()["x-forwarded-proto"] == "https"
    # Who is believed decides who may come, too.
    world.traffic(trustForwarded={"from": ["127.0.0.0/8"]}, deny=["203.0.113.0/24"])
    wait_until(lambda: world.curl("/", "-H", "X-Forwarded-For: 203.0.113.9", port=world.port)[0] == 403, "denied")
    assert world.curl("/", "-H", "X-Forwarded-For: 198.51.100.1", port=world.port)[0] == 200
    world.traffic(trustForwarded={"from": ["192.0.2.99"]})
    wait_until(lambda: world.curl("/", port=world.port)[0] == 200 and seen()["x-forwarded-for"] == "127.0.0.1", "it is replaced again")


def test_bodies_have_a_largest_size(world, tmp_path):
    (tmp_path / "body").write_bytes(b"x" * 2000)
    body = f"@{tmp_path / 'body'}"
    assert world.curl("/", "--data-binary", body, port=world.port)[0] == 200
    world.traffic(maxBodyBytes=1000)
    wait_until(lambda: world.curl("/", "--data-binary", body, port=world.port)[0] == 413, "too large")
    assert world.curl("/", "--data-binary", body, "-H", "Transfer-Encoding: chunked", port=world.port)[0] == 413
    assert world.curl("/", "--data-binary", body, "--http2-prior-knowledge", port=world.port)[0] == 413
    assert world.curl("/", "-d", "x" * 1000, port=world.port)[0] == 200
    assert world.curl("/", "--data-binary", body)[0] == 200  # the Ingress has no policy


def test_weight_zero_gets_nobody_even_as_the_last_one(world):
    world.backend(servers=[{"address": own_address(), "weight": 0}])
    wait_until(lambda: world.curl()[0] == 503, "nobody is left")
    world.backend(servers=[{"address": own_address(), "weight": 1}])
    wait_until(lambda: world.curl()[0] == 200, "it is back")


def connection(door):
    """A connection that a server has answered on, or None."""
    try:
        c = socket.create_connection(("127.0.0.1", door), 10)
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if c.recv(65536).startswith(b"HTTP/1.1 200"):
            return c
        c.close()
    except OSError:
        return None


def what_it_sees(c):
    try:
        c.settimeout(2)
        return c.recv(1)
    except socket.timeout:
        return "nothing"
    except ConnectionResetError:
        return "reset"


def balanced(world, door):
    world.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                        "spec": {"type": "LoadBalancer", "ports": [{"port": door}]}}, namespace=world.ns)


def test_connections_of_a_removed_server_are_reset(world):
    door = free_port()
    balanced(world, door)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{world.ns}/endpointslices/web"

    def removed():
        """What a client of a long connection sees when its server is taken off the list."""
        with wait_until(lambda: connection(door), "a connection") as c:
            o = world.sampan.api("GET", slices)[1]
            ends, o["endpoints"] = o["endpoints"], []
            o = world.sampan.api("PUT", slices, body=o)[1]
            seen = what_it_sees(c)
            o["endpoints"] = ends
            world.sampan.api("PUT", slices, body=o)
            return seen

    assert removed() == "nothing"
    world.backend(onRemoval="Reset")
    wait_until(lambda: removed() == "reset", "a reset")


def test_connections_of_a_removed_service_are_reset(world):
    """Nothing happens to its endpoints: the Service itself is deleted."""
    door = free_port()

    def removed():
        balanced(world, door)
        with wait_until(lambda: connection(door), "a connection") as c:
            status, o = world.sampan.api("DELETE", f"/api/v1/namespaces/{world.ns}/services/web")
            assert status == 200, o
            return what_it_sees(c)

    assert removed() == "nothing"
    balanced(world, door)
    world.backend(onRemoval="Reset")
    wait_until(lambda: removed() == "reset", "a reset")


def test_settings_that_need_a_port_are_told(world):
    c = world.policy("TrafficPolicy", {"group": "networking.k8s.io", "kind": "Ingress", "name": "web"},
                     maxBodyBytes=5000, timeouts={"clientIdle": "1s"})
    assert c["status"] == "True" and "not carried out: timeouts" in c["message"]


def test_the_documentation_names_every_field(sampan):
    """fields.md and virtual-address.md, against what the API server says of our own kinds."""
    import re
    from conftest import TOP
    schemas = sampan.api("GET", "/openapi/v3/apis/sampan.dev/v1alpha1")[1]["components"]["schemas"]

    def paths(schema, at=""):
        ref = next((s["$ref"] for s in [schema, *schema.get("allOf", [])] if "$ref" in s), None)
        schema = schemas[ref.rsplit("/", 1)[1]] if ref else schema
        if schema.get("type") == "array":
            return paths(schema["items"], at + "[]")
        return [p for k, v in schema.get("properties", {}).items() for p in paths(v, f"{at}.{k}" if at else k)] or [at]

    def spec_of(kind):
        return paths(next(s for n, s in schemas.items() if n.split(".")[-1] == kind)["properties"]["spec"])

    page = (TOP / "docs/gateway/fields.md").read_text()
    for kind in ("BackendPolicy", "TrafficPolicy"):
        fields = spec_of(kind)
        assert len(fields) > 15
        assert [f for f in fields if f"`{f}`" not in page] == []
    page = (TOP / "docs/gateway/virtual-address.md").read_text()
    assert [f for f in spec_of("VirtualAddress") if not re.search(r"\b%s\b" % re.findall(r"\w+", f)[-1], page)] == []
