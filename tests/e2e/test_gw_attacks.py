"""Attacks on the gateway: requests that only one of two programs sees, ways around a route's rules."""
import contextlib
import json
import socket
import threading

import pytest

from conftest import wait_until
from gw_wire import Client, World, read_body, read_head

gate = threading.Event()


def web(server, sock):
    """HTTP/1.1 that upgrades nothing; notes every request line it ever reads."""
    f = sock.makefile("rb")
    while head := read_head(f):
        (method, path, *_), fields = head
        server.note((path, fields))
        body = read_body(f, fields)
        if path == "/slow":
            sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: 10\r\n\r\nfirst" % (fields.get("x-status", "404 Not Found").encode()))
            gate.wait(5)
            sock.sendall(b"later")
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path.encode()))


@pytest.fixture(scope="module")
def world(workdir):
    w = World(workdir / "attacks")
    w.web = w.serve("web", web)
    yield w
    w.close()


def paths(server):
    return [p for p, _ in server.seen]


def h1(world, text, host="web.test"):
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as s:
        s.sendall(text.replace(b"HOST", host.encode()))
        f = s.makefile("rb")
        words, fields = read_head(f)
        return words[1], read_body(f, fields)


# --- requests that only the endpoint sees ---

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: internal\r\n\r\n"
WEBSOCKET = [("sec-websocket-version", "13")]


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK", "500 No"])
def test_a_websocket_that_was_refused_carries_nothing(world, status):
    """RFC 8441: the endpoint answers with something else than 101, slowly; bytes of the stream must not reach it as requests."""
    gate.clear()
    c = Client(world.port, "web.test")
    stream = c.ask("CONNECT", "/slow", pseudo=[(":protocol", "websocket")], headers=[*WEBSOCKET, ("x-status", status)], end=False)
    while not c.answers[stream]["heads"] and stream not in c.over:
        assert c.read()
    with contextlib.suppress(Exception):  # the stream may be over by now
        c.h2.send_data(stream, SMUGGLED * 20, end_stream=True)
        c.flush()
    assert c.get(path="/after")["body"] == b"/after"
    gate.set()
    a = c.answer(stream)
    assert a["status"] == (502 if status.startswith("2") else int(status[:3]))
    for i in range(5):
        assert c.get(path=f"/after{i}")["body"] == b"/after%d" % i
    c.close()
    assert "/smuggled" not in paths(world.web)


def test_a_websocket_has_no_length(world):
    """Else the endpoint would wait for a body, and find it in the next request on the connection."""
    c = Client(world.port, "web.test")
    a = c.get("CONNECT", "/ws-length", pseudo=[(":protocol", "websocket")], headers=[*WEBSOCKET, ("content-length", "36")], end=False)
    assert a["reset"] == 1 or a["status"] == 400
    assert all(c.get(path=f"/p{i}")["body"] == b"/p%d" % i for i in range(3))
    c.close()
    assert "/ws-length" not in paths(world.web)


def test_what_follows_an_upgrade_that_was_refused(world):
    """HTTP/1.1: bytes behind it are the client's next request, with its route, and nothing else."""
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as s:
        s.sendall(b"GET /up HTTP/1.1\r\nHost: web.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                  b"GET /hidden HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        f = s.makefile("rb")
        for want in ("200", "404"):
            words, fields = read_head(f)
            body = read_body(f, fields)
            assert words[1] == want
    assert b"nobody.test" in body and "/hidden" not in paths(world.web)


# --- ways around a rule ---

CLIMBING = ["/open/../secret", "/open/%2e%2e/secret", "/open/.%2E/secret", "/open/./../secret", "/open/x/../../secret"]


@pytest.mark.parametrize("path", CLIMBING)
def test_the_endpoint_gets_the_path_that_the_route_was_chosen_by(world, path):
    status, body = h1(world, b"GET %s?q=%%2e%%2e HTTP/1.1\r\nHost: HOST\r\n\r\n" % path.encode())
    assert body == b"/secret?q=%2e%2e", body
    c = Client(world.port, "web.test")
    assert c.get(path=path)["body"] == b"/secret"
    c.close()


HIDDEN = ["/open/..%2fsecret", "/open/..%2F..%2fsecret", "/open%2f..%2fsecret", "/open/..%5csecret", "/open/..\\secret", "/open/%2e%2e%2fsecret",
          "/open/..;/secret", "/open/..;x=1/secret", "/open/.;/secret", "/open/..%3b/secret", "/open%5c..%5csecret", "/open/%2e%2e%5Csecret"]


@pytest.mark.parametrize("path", HIDDEN)
def test_dots_that_others_may_climb_by_are_refused(world, path):
    """Escaped slashes, backslashes and parameters behind "..": servers differ in what they make of them."""
    status, body = h1(world, b"GET %s HTTP/1.1\r\nHost: HOST\r\n\r\n" % path.encode())
    assert status == "400" and b"path" in body
    assert path not in paths(world.web)


@pytest.mark.parametrize("path", ["/a%2fb", "/a..b/c", "/a/...%2fc", "/a;v=1/b", "/x%2F..y", "/a%5Cb", "/a/..b", "/a%20b"])
def test_what_only_looks_like_it_passes_as_it_is(world, path):
    assert h1(world, b"GET %s HTTP/1.1\r\nHost: HOST\r\n\r\n" % path.encode())[1] == path.encode()


def test_forged_fields_by_another_spelling(world):
    """CGI, WSGI and the like make HTTP_X_FORWARDED_FOR of both spellings."""
    h1(world, b"GET /spelled HTTP/1.1\r\nHost: HOST\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\n"
              b"X_Forwarded-Client_Cert: Hash=1\r\nX_Fine: 1\r\n\r\n")
    fields = next(f for p, f in world.web.seen if p == "/spelled")
    assert not [n for n in fields if "_" in n and n != "x_fine"] and fields["x_fine"] == "1"
    assert "6.6.6.6" not in str(fields) and fields["x-forwarded-proto"] == "http"


def problem_of(world, kind, name):
    return str(world.sampan.kubectl("describe", kind, name).out)


BREAKS = "/x HTTP/1.1\r\nHost: internal\r\n\r\nGET /smuggled-by-route"


@pytest.mark.parametrize("key,value", [("rewrite-target", BREAKS), ("permanent-redirect", "http://a.test/\r\nset-cookie: a=b"),
                                       ("permanent-redirect", "javascript:alert(1)"), ("app-root", "/\r\nset-cookie: a=b"),
                                       ("app-root", "//evil\n"), ("session-cookie-name", "a;b\r\nx: y"), ("cors-allow-headers", "a\r\nset-cookie: a=b")])
def test_annotations_cannot_write_into_messages(world, key, value):
    name = "notes" + str(abs(hash((key, value))))[:8]
    world.sampan.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "annotations": {
        f"nginx.ingress.kubernetes.io/{key}": value, "nginx.ingress.kubernetes.io/enable-cors": "true",
        "nginx.ingress.kubernetes.io/affinity": "cookie"}}, "spec": {"rules": [{"host": f"{name}.test", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}})
    wait_until(lambda: world.sampan.http("/", headers={"Host": f"{name}.test"})[0] == 200, "the route")
    for path in ("/", "/x"):
        with socket.create_connection(("127.0.0.1", world.port), timeout=20) as s:
            s.sendall(b"GET %s HTTP/1.1\r\nHost: %s.test\r\nOrigin: http://b.test\r\nConnection: close\r\n\r\n" % (path.encode(), name.encode()))
            answer = s.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"set-cookie: a=b" not in answer and b"x: y" not in answer
    wait_until(lambda: "AnnotationInvalid" in problem_of(world, "ingress", name), "the event")
    assert not [p for p in paths(world.web) if "smuggled" in p]


def test_a_rewrite_cannot_write_a_request(world):
    """Whatever the API let pass: blanks and line ends never come into a request line."""
    world.sampan.apply(
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "sampan"}, "spec": {"controllerName": "sampan.dev/gateway"}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "door"}, "spec": {
            "gatewayClassName": "sampan", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}})
    done = world.sampan.kubectl("apply", "-f", "-", stdin=json.dumps(
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "evil"}, "spec": {
            "parentRefs": [{"name": "door"}], "hostnames": ["evil.test"], "rules": [{
                "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": BREAKS}}}],
                "backendRefs": [{"name": "web", "port": 80}]}]}}), check=False)
    if done.code:  # refused on apply: as good
        return
    wait_until(lambda: world.sampan.http("/", headers={"Host": "evil.test"})[0] not in (0, 404), "the route")
    assert world.sampan.http("/", headers={"Host": "evil.test"})[0] == 500
    assert not [p for p in paths(world.web) if "smuggled" in p]


@pytest.mark.parametrize("field,value", [("dnsName", ""), ("dnsName", "*.test"), ("token", ""), ("token", "../../secret"), ("token", "a/b")])
def test_a_challenge_answers_for_one_name_and_one_token(world, field, value):
    spec = {"type": "HTTP-01", "dnsName": "web.test", "token": "t", "key": "t.forged", "url": "https://acme.test/1", field: value}
    name = "c" + str(abs(hash((field, value))))[:8]
    world.sampan.apply({"apiVersion": "acme.cert-manager.io/v1", "kind": "Challenge", "metadata": {"name": name}, "spec": spec})
    good = {**spec, "dnsName": f"{name}.test", "token": f"good{name}"}
    world.sampan.apply({"apiVersion": "acme.cert-manager.io/v1", "kind": "Challenge", "metadata": {"name": name + "-good"}, "spec": good})
    wait_until(lambda: world.sampan.http(f"/.well-known/acme-challenge/good{name}", headers={"Host": f"{name}.test"})[0] == 200, "the good one")
    for token in ("t", "", "a/b", "../../secret", "secret"):
        for host in ("web.test", "other.test"):
            assert b"forged" not in h1(world, b"GET /.well-known/acme-challenge/%s HTTP/1.1\r\nHost: HOST\r\n\r\n" % token.encode(), host)[1]
