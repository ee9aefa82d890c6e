"""Gateway API and Ingress by kubectl apply and curl: the behaviours that Gateway API's conformance
tests look at (docs/gateway/routing.md lists which). Backends are small servers in this process."""
import http.server
import json
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import Sampan, free_port, own_address, wait_until

GROUP = "gateway.networking.k8s.io"


class Echo(http.server.BaseHTTPRequestHandler):
    """Says who answered and what arrived."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.dumps({"backend": self.server.label, "path": self.path, "method": self.command,
                           "body": self.rfile.read(length).decode(),
                           "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.server.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-From", self.server.label)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = answer

    def log_message(self, *_):
        pass


class Backend:
    def __init__(self, label, tls=None):
        self.server = http.server.ThreadingHTTPServer((own_address(), 0), Echo)
        self.server.label, self.server.seen = label, []
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def seen(self):
        return self.server.seen


def make_cert(where, name, hosts, ca=None):
    """(certificate, key, files)."""
    where.mkdir(parents=True, exist_ok=True)
    crt, key = where / f"{name}.crt", where / f"{name}.key"
    names = ",".join(f"DNS:{h}" for h in hosts)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={hosts[0]}", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", crt],
                   check=True, capture_output=True)
    return crt, key


def secret(name, crt, key):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": crt.read_text(), "tls.key": key.read_text()}}


def service(name, backend, ports=None, **extra):
    """A Service and who stands behind it."""
    port = {"port": 80, **(ports or {})}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [port], **extra}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
             "ports": [{"name": port.get("name", ""), "port": backend.port, "protocol": "TCP"}],
             "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}]}]


def gateway(name, *listeners, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Gateway", "metadata": {"name": name},
            "spec": {"gatewayClassName": "sampan", "listeners": list(listeners), **spec}}


def route(kind, name, parent, rules, hosts=None, **parent_extra):
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": {
        "parentRefs": [{"name": parent, **parent_extra}], **({"hostnames": hosts} if hosts else {}), "rules": rules}}


def to(name, **extra):
    return {"name": name, "port": 80, **extra}


@pytest.fixture(scope="module")
def s(workdir):
    s = Sampan(workdir / "routes", roles="apiserver,gateway").start()
    yield s
    s.stop()


@pytest.fixture(scope="module")
def backends():
    return {name: Backend(name) for name in ("red", "blue", "green")}


@pytest.fixture
def ns(s, request, backends):
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].strip("-")
    s.kubectl("create", "namespace", name)
    s.apply(*(o for label, b in backends.items() for o in service(label, b)), namespace=name)
    return name


def curl(port, host, path="/", *args, scheme="http"):
    """(status, headers, body or what it says as JSON)."""
    p = subprocess.run(["curl", "-s", "-k", "-i", "--max-time", "30", "--resolve", f"{host}:{port}:127.0.0.1", *args, f"{scheme}://{host}:{port}{path}"],
                       capture_output=True)
    if p.returncode and not p.stdout:
        return 0, {}, f"curl {p.returncode} {p.stderr}"
    head, _, body = p.stdout.decode(errors="replace").partition("\r\n\r\n")
    while head.split(" ")[1].startswith("1"):
        head, _, body = body.partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
    try:
        return int(lines[0].split(" ")[1]), headers, json.loads(body)
    except ValueError:
        return int(lines[0].split(" ")[1]), headers, body


def who(port, host, path="/", *args, scheme="http"):
    status, _, body = curl(port, host, path, *args, scheme=scheme)
    return body["backend"] if isinstance(body, dict) else status


def conditions(entry):
    return {c["type"]: (c["status"], c["reason"]) for c in entry["conditions"]}


def parent_conditions(s, kind, name, ns):
    parents = s.get(kind, name, namespace=ns).get("status", {}).get("parents", [])
    return conditions(parents[0]) if parents else {}


def wait_condition(s, kind, name, ns, condition, want):
    return wait_until(lambda: parent_conditions(s, kind, name, ns).get(condition) == want, f"{condition} {want} on {kind} {name}")


def listeners_of(s, name, ns):
    return {l["name"]: (conditions(l), l["attachedRoutes"], [k["kind"] for k in l["supportedKinds"]])
            for l in s.get("gateway", name, namespace=ns).get("status", {}).get("listeners", [])}


def wait_who(port, *rows, scheme="http"):
    """rows: host, path, who. Objects of each kind come on a way of their own: one that works says nothing of the others."""
    for host, path, want in rows:
        wait_until(lambda: who(port, host, path, scheme=scheme) == want, f"{want} at {host}{path}")


def wait_accepted(s, kind, name, ns):
    wait_condition(s, kind, name, ns, "Accepted", ("True", "Accepted"))


def test_matching(s, ns):
    port = free_port()
    s.apply(gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "one", "gw", [
                {"name": "exact", "matches": [{"path": {"type": "Exact", "value": "/one"}}], "backendRefs": [to("blue")]},
                {"matches": [{"path": {"value": "/v2"}}, {"headers": [{"name": "Version", "value": "two"}]}], "backendRefs": [to("green")]},
                {"matches": [{"path": {"type": "RegularExpression", "value": "/u/[0-9]+"}}], "backendRefs": [to("green")]},
                {"matches": [{"headers": [{"name": "x-re", "type": "RegularExpression", "value": "a.*z"}]}], "backendRefs": [to("blue")]},
                {"matches": [{"queryParams": [{"name": "animal", "value": "whale"}]}], "backendRefs": [to("blue")]},
                {"matches": [{"method": "DELETE"}], "backendRefs": [to("green")]},
                {"backendRefs": [to("red")]}], ["a.test"]),
            route("HTTPRoute", "two", "gw", [{"backendRefs": [to("green")]}], ["*.wild.test"]), namespace=ns)
    wait_who(port, ("a.test", "/", "red"), ("a.test", "/one", "blue"), ("x.wild.test", "/", "green"))
    for want, path, *args in (("blue", "/one"), ("red", "/one/more"), ("green", "/v2"), ("green", "/v2/x"), ("red", "/v2x"),
                              ("green", "/u/77"), ("red", "/u/x"), ("green", "/", "-H", "Version: two"), ("blue", "/", "-H", "x-re: abcz"),
                              ("red", "/", "-H", "x-re: abc"), ("blue", "/q?animal=whale"), ("red", "/q?animal=cat"), ("green", "/", "-X", "DELETE")):
        assert who(port, "a.test", path, *args) == want, (path, args)
    assert who(port, "x.wild.test") == "green" and who(port, "wild.test") == 404 and who(port, "b.test") == 404
    wait_accepted(s, "httproute", "one", ns)
    wait_until(lambda: listeners_of(s, "gw", ns).get("http", ())[1:] == (2, ["HTTPRoute", "GRPCRoute"]), "both are counted")


def test_what_is_refused_on_apply(s, ns):
    listener = lambda **more: gateway("g", {"name": "l", "port": 80, "protocol": "HTTP", **more})
    rule = lambda **more: route("HTTPRoute", "r", "gw", [more])
    redirect = lambda **more: {"type": "RequestRedirect", "requestRedirect": more}
    for o, words in ((listener(tls={"mode": "Terminate"}), "tls must not be specified for protocols"),
                     (listener(protocol="TLS"), "tls mode must be set for protocol TLS"),
                     (listener(protocol="HTTPS", tls={"mode": "Terminate"}), "certificateRefs or options must be specified"),
                     (listener(protocol="TCP", hostname="a.b"), "hostname must not be specified"),
                     (listener(hostname="A_b"), "should match"),
                     (gateway("g", *({"name": n, "port": 80, "protocol": "HTTP"} for n in "ab")), "Combination of port, protocol and hostname must be unique"),
                     (rule(matches=[{"path": {"value": "/a//b"}}]), "must not contain '//'"),
                     (rule(matches=[{"method": "GETT"}]), "supported values"),
                     (rule(filters=[redirect(statusCode=305)]), "supported values"),
                     (rule(filters=[redirect()], backendRefs=[to("red")]), "must not be used together with backendRefs"),
                     (rule(backendRefs=[{"name": "red"}]), "must have port for Service reference"),
                     (rule(timeouts={"request": "1s", "backendRequest": "2s"}), "backendRequest timeout cannot be longer"),
                     (rule(filters=[{"type": "CORS", "cors": {}}, {"type": "CORS", "cors": {}}]), "CORS filter cannot be repeated"),
                     (rule(retry={"codes": [200]}), "greater than or equal to 400"),
                     (route("GRPCRoute", "r", "gw", [{"matches": [{"method": {"service": "a b"}}]}]), "service must only contain valid characters"),
                     (route("TLSRoute", "r", "gw", [{"backendRefs": [to("red")]}]), "hostnames"),
                     (route("TCPRoute", "r", "gw", []), "rules")):
        plural = {"Gateway": "gateways"}.get(o["kind"], o["kind"].lower() + "s")
        status, answer = s.api("POST", f"/apis/{GROUP}/v1/namespaces/{ns}/{plural}", o)
        assert status == 422 and words in answer["message"], (words, status, answer)


def test_filters(s, ns, backends):
    port = free_port()
    rule = lambda path, filters, **more: {"matches": [{"path": {"value": path}}], "filters": filters, "backendRefs": [to("red")], **more}
    s.apply(gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "f", "gw", [
                rule("/head", [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
                    "set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "X-Add", "value": "more"}], "remove": ["X-Gone"]}},
                    {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-From", "value": "gw"}]}}]),
                {"matches": [{"path": {"value": "/old"}}], "filters": [{"type": "RequestRedirect", "requestRedirect": {
                    "hostname": "new.test", "statusCode": 301, "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}]},
                rule("/rewrite", [{"type": "URLRewrite", "urlRewrite": {"hostname": "inner.test", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}]),
                rule("/mirror", [{"type": "RequestMirror", "requestMirror": {"backendRef": to("blue")}}]),
                {"matches": [{"path": {"value": "/own"}}], "backendRefs": [
                    to("red", filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-To", "value": "red"}]}}]),
                    to("blue", filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-To", "value": "blue"}]}}])]},
                rule("/cors", [{"type": "CORS", "cors": {"allowOrigins": ["https://app.test"], "allowMethods": ["GET", "PUT"], "maxAge": 60}}]),
                {"matches": [{"path": {"value": "/odd"}}], "filters": [{"type": "ExtensionRef", "extensionRef": {"group": "x.y", "kind": "Z", "name": "z"}}]},
            ], ["f.test"]), namespace=ns)
    wait_who(port, ("f.test", "/head", "red"), ("f.test", "/own", "blue"))
    _, headers, got = curl(port, "f.test", "/head", "-H", "X-Set: old", "-H", "X-Gone: 1")
    assert got["headers"]["x-set"] == "new" and got["headers"]["x-add"] == "more" and "x-gone" not in got["headers"] and headers["x-from"] == "gw"
    status, headers, _ = curl(port, "f.test", "/old/a?b=1")
    assert status == 301 and headers["location"].startswith("http://new.test") and headers["location"].endswith("/new/a?b=1")
    _, _, got = curl(port, "f.test", "/rewrite/a")
    assert got["path"] == "/a" and got["headers"]["host"] == "inner.test"
    assert who(port, "f.test", f"/mirror/{port}") == "red"
    wait_until(lambda: f"/mirror/{port}" in backends["blue"].seen, "the copy")
    drawn = set()
    for _ in range(40):
        _, _, got = curl(port, "f.test", "/own")
        assert got["headers"]["x-to"] == got["backend"]
        drawn.add(got["backend"])
        if len(drawn) == 2:
            break
    assert drawn == {"red", "blue"}
    status, headers, _ = curl(port, "f.test", "/cors", "-X", "OPTIONS", "-H", "Origin: https://app.test", "-H", "Access-Control-Request-Method: PUT")
    assert status in (200, 204) and headers["access-control-allow-origin"] == "https://app.test" and "PUT" in headers["access-control-allow-methods"]
    wait_until(lambda: parent_conditions(s, "httproute", "f", ns).get("PartiallyInvalid") == ("True", "UnsupportedValue"), "the dropped rule")
    wait_accepted(s, "httproute", "f", ns)


def test_references(s, ns, backends):
    port, other = free_port(), ns + "-x"
    s.kubectl("create", "namespace", other)
    s.apply(*service("far", backends["blue"]), namespace=other)
    s.apply(gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "far", "gw", [{"backendRefs": [to("far", namespace=other)]}], ["far.test"]),
            route("HTTPRoute", "gone", "gw", [{"backendRefs": [to("nobody")]}], ["gone.test"]),
            route("HTTPRoute", "kind", "gw", [{"backendRefs": [{"group": "x.y", "kind": "Bucket", "name": "b", "port": 1}]}], ["kind.test"]),
            route("HTTPRoute", "half", "gw", [{"backendRefs": [to("red"), to("nobody", weight=0)]}], ["half.test"]),
            route("HTTPRoute", "lost", "gw", [{"backendRefs": [to("red")]}], sectionName="nowhere"), namespace=ns)
    s.apply(route("HTTPRoute", "stranger", "gw", [{"backendRefs": [to("far")]}], namespace=ns), namespace=other)
    for name, reason in (("far", "RefNotPermitted"), ("gone", "BackendNotFound"), ("kind", "InvalidKind")):
        wait_condition(s, "httproute", name, ns, "ResolvedRefs", ("False", reason))
        wait_accepted(s, "httproute", name, ns)
        wait_until(lambda: curl(port, f"{name}.test")[0] == 500, "its clients are told")
    wait_condition(s, "httproute", "lost", ns, "Accepted", ("False", "NoMatchingParent"))
    wait_condition(s, "httproute", "stranger", other, "Accepted", ("False", "NotAllowedByListeners"))
    wait_who(port, ("half.test", "/", "red"))
    s.apply({"apiVersion": f"{GROUP}/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "ok"}, "spec": {
        "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": ns}], "to": [{"group": "", "kind": "Service", "name": "far"}]}}, namespace=other)
    wait_until(lambda: who(port, "far.test") == "blue", "the granted backend")
    wait_condition(s, "httproute", "far", ns, "ResolvedRefs", ("True", "ResolvedRefs"))
    s.kubectl("delete", "referencegrant", "ok", "-n", other)
    wait_until(lambda: curl(port, "far.test")[0] == 500, "the grant is gone")


def test_listener_isolation(s, ns):
    port = free_port()
    s.apply(gateway("gw", *({"name": n, "port": port, "protocol": "HTTP", **({"hostname": h} if h else {})} for n, h in
                            (("any", None), ("wild", "*.i.test"), ("deep", "*.foo.i.test"), ("exact", "abc.foo.i.test")))),
            *(route("HTTPRoute", n, "gw", [{"matches": [{"path": {"value": f"/{n}"}}], "backendRefs": [to("red")]}], sectionName=n)
              for n in ("any", "wild", "deep", "exact")), namespace=ns)
    wait_until(lambda: who(port, "b.test", "/any") == "red" and who(port, "abc.foo.i.test", "/exact") == "red", "the first and the last route")
    for host, owner in (("b.test", "any"), ("b.i.test", "wild"), ("b.foo.i.test", "deep"), ("abc.foo.i.test", "exact")):
        for name in ("any", "wild", "deep", "exact"):
            assert who(port, host, f"/{name}") == ("red" if name == owner else 404), (host, name)


def test_tls_listeners(s, ns, workdir, backends):
    port, tls_port, tcp_port = free_port(), free_port(), free_port()
    certs = {h: make_cert(workdir / ns, h, [h]) for h in ("one.test", "two.test", "term.test")}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_cert(workdir / ns, "inner", ["pass.test"]))
    inside = Backend("inside", context)
    s.apply(*service("inside", inside), *(secret(h.split(".")[0], *pair) for h, pair in certs.items()),
            gateway("gw", *({"name": n, "port": port, "protocol": "HTTPS", "hostname": f"{n}.test", "tls": {"certificateRefs": [{"name": n}]}} for n in ("one", "two")),
                    {"name": "lost", "port": port, "protocol": "HTTPS", "hostname": "lost.test", "tls": {"certificateRefs": [{"name": "lost"}]}},
                    {"name": "pass", "port": tls_port, "protocol": "TLS", "hostname": "*.test", "tls": {"mode": "Passthrough"}},
                    {"name": "term", "port": tls_port, "protocol": "TLS", "hostname": "term.test", "tls": {"certificateRefs": [{"name": "term"}]}},
                    {"name": "tcp", "port": tcp_port, "protocol": "TCP"}),
            route("HTTPRoute", "one", "gw", [{"backendRefs": [to("red")]}], sectionName="one"),
            route("HTTPRoute", "two", "gw", [{"backendRefs": [to("blue")]}], sectionName="two"),
            route("TLSRoute", "pass", "gw", [{"backendRefs": [to("inside")]}], ["pass.test"], sectionName="pass"),
            route("TLSRoute", "term", "gw", [{"backendRefs": [to("green")]}], ["term.test"], sectionName="term"),
            route("TCPRoute", "tcp", "gw", [{"backendRefs": [to("red", weight=1), to("blue", weight=0)]}], sectionName="tcp"), namespace=ns)
    # Each kind comes on a way of its own, in its order: the last one of each is waited for.
    wait_until(lambda: who(port, "two.test", scheme="https") == "blue", "HTTPS by name")
    wait_until(lambda: who(tls_port, "term.test", scheme="https") == "green", "TLS ended for TCP")
    wait_until(lambda: who(tcp_port, "whatever.test") == "red", "TCP")
    wait_who(port, ("one.test", "/", "red"), scheme="https")
    wait_who(tls_port, ("pass.test", "/", "inside"), scheme="https")
    for name in ("one.test", "two.test"):
        p = subprocess.run(["curl", "-s", "--cacert", certs[name][0], "--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/"], capture_output=True, text=True)
        assert p.returncode == 0 and "backend" in p.stdout, p
    assert curl(port, "lost.test", scheme="https")[0] == 0 and curl(port, "three.test", scheme="https")[0] == 0
    assert who(tls_port, "pass.test", scheme="https") == "inside" and who(tls_port, "term.test", scheme="https") == "green"
    assert curl(tls_port, "other.test", scheme="https")[0] == 0
    assert who(tcp_port, "whatever.test") == "red"
    attached = {"one": 1, "two": 1, "lost": 0, "pass": 1, "term": 1, "tcp": 1}
    state = wait_until(lambda: (lambda l: l if {n: x[1] for n, x in l.items()} == attached and l["lost"][0].get("ResolvedRefs", "?")[0] == "False"
                                and l["one"][0].get("Programmed", "?")[0] == "True" else None)(listeners_of(s, "gw", ns)), "the status")
    assert state["lost"][0]["ResolvedRefs"] == ("False", "InvalidCertificateRef") and state["lost"][0]["Programmed"][0] == "False"
    assert state["one"][0]["Programmed"] == ("True", "Programmed") and state["pass"][2] == ["TLSRoute"] and state["term"][2] == ["TLSRoute", "TCPRoute"]
    # renewed: the next connection sees the new certificate
    crt, key = make_cert(workdir / ns, "again", ["one.test"])
    s.apply(secret("one", crt, key), namespace=ns)
    wait_until(lambda: subprocess.run(["curl", "-s", "--cacert", crt, "--resolve", f"one.test:{port}:127.0.0.1", f"https://one.test:{port}/"], capture_output=True).returncode == 0, "the new certificate")


def test_secret_of_another_namespace(s, ns, workdir):
    port, other = free_port(), ns + "-x"
    s.kubectl("create", "namespace", other)
    s.apply(secret("cert", *make_cert(workdir / ns, "c", ["x.test"])), namespace=other)
    s.apply(gateway("gw", {"name": "l", "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "cert", "namespace": other}]}}),
            route("HTTPRoute", "r", "gw", [{"backendRefs": [to("red")]}]), namespace=ns)
    wait_until(lambda: listeners_of(s, "gw", ns).get("l", ({},))[0].get("ResolvedRefs") == ("False", "RefNotPermitted"), "RefNotPermitted")
    s.apply({"apiVersion": f"{GROUP}/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "ok"}, "spec": {
        "from": [{"group": GROUP, "kind": "Gateway", "namespace": ns}], "to": [{"group": "", "kind": "Secret"}]}}, namespace=other)
    wait_until(lambda: who(port, "x.test", scheme="https") == "red", "HTTPS")
    wait_until(lambda: listeners_of(s, "gw", ns)["l"][0]["ResolvedRefs"] == ("True", "ResolvedRefs"), "its status says so")


def test_backend_tls_policy(s, ns, workdir):
    port = free_port()
    crt, key = make_cert(workdir / ns, "b", ["secure.test"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    s.apply(*service("secure", Backend("secure", context)),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": crt.read_text()}},
            gateway("gw", {"name": "l", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "r", "gw", [{"backendRefs": [to("secure")]}]),
            {"apiVersion": f"{GROUP}/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "p"}, "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "secure"}],
                "validation": {"hostname": "secure.test", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}}, namespace=ns)
    wait_until(lambda: who(port, "b.test") == "secure", "TLS to the backend")
    ancestors = lambda: s.get("backendtlspolicy", "p", namespace=ns).get("status", {}).get("ancestors", [])
    wait_until(lambda: ancestors() and conditions(ancestors()[0])["Accepted"] == ("True", "Accepted"), "Accepted")
    s.kubectl("delete", "configmap", "ca", "-n", ns)
    wait_until(lambda: ancestors() and conditions(ancestors()[0])["Accepted"] == ("False", "NoValidCACertificate"), "no authority")
    wait_until(lambda: curl(port, "b.test")[0] == 500, "nobody is reached unverified")


def test_client_certificates(s, ns, workdir):
    strict, lax = free_port(), free_port()
    crt, key = make_cert(workdir / ns, "client", ["client.test"])
    validation = lambda **more: {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}], **more}}
    tls = {"certificateRefs": [{"name": "c"}]}
    s.apply(secret("c", *make_cert(workdir / ns, "server", ["x.test"])),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": crt.read_text()}},
            gateway("gw", *({"name": n, "port": p, "protocol": "HTTPS", "tls": tls} for n, p in (("strict", strict), ("lax", lax))),
                    tls={"frontend": {"default": validation(), "perPort": [{"port": lax, "tls": validation(mode="AllowInsecureFallback")}]}}),
            route("HTTPRoute", "r", "gw", [{"backendRefs": [to("red")]}]), namespace=ns)
    wait_until(lambda: who(strict, "x.test", "/", "--cert", str(crt), "--key", str(key), scheme="https") == "red", "a client with a certificate")
    assert curl(strict, "x.test", scheme="https")[0] == 0
    wait_until(lambda: who(lax, "x.test", scheme="https") == "red", "the other listener")
    s.kubectl("delete", "configmap", "ca", "-n", ns)
    wait_until(lambda: listeners_of(s, "gw", ns)["strict"][0]["ResolvedRefs"] == ("False", "InvalidCACertificateRef"), "the authority is gone")
    assert listeners_of(s, "gw", ns)["strict"][0]["Accepted"] == ("False", "NoValidCACertificate")


NGINX = """
daemon off; pid %(dir)s/pid; error_log %(dir)s/log; events {}
http { access_log off; client_body_temp_path %(dir)s/t1; proxy_temp_path %(dir)s/t2; fastcgi_temp_path %(dir)s/t3; uwsgi_temp_path %(dir)s/t4; scgi_temp_path %(dir)s/t5;
  server { listen %(address)s:%(port)d http2; location / { return 200 "$server_protocol $uri $http_x_lang"; } } }
"""


@pytest.fixture
def h2c(workdir):
    where = workdir / "h2c"
    where.mkdir(exist_ok=True)
    port = free_port()
    (where / "conf").write_text(NGINX % {"dir": where, "address": own_address(), "port": port})
    p = subprocess.Popen(["nginx", "-c", where / "conf", "-e", where / "log"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not socket.socket().connect_ex((own_address(), port)), "nginx")
        yield type("H2c", (), {"port": port})
    finally:
        p.terminate()
        p.wait()


def test_grpc_route(s, ns, h2c):
    port = free_port()
    s.apply(*service("rpc", h2c), *service("h2", h2c, {"appProtocol": "kubernetes.io/h2c"}),
            gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("GRPCRoute", "g", "gw", [
                {"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}, {"method": {"service": "shop.List"}}], "backendRefs": [to("rpc")]},
                {"matches": [{"method": {"method": "Ping"}}, {"headers": [{"name": "x-lang", "value": "fr"}]},
                             {"method": {"type": "RegularExpression", "service": "a|b", "method": "x+"}}], "backendRefs": [to("rpc")]}], ["g.test"]),
            route("HTTPRoute", "h", "gw", [{"backendRefs": [to("h2")]}], ["h.test"]), namespace=ns)
    ask = lambda path, *args: curl(port, "g.test", path, "--http2-prior-knowledge", "-X", "POST", *args)
    wait_until(lambda: ask("/shop.Cart/Add")[0] == 200, "the call")
    wait_until(lambda: curl(port, "h.test", "/plain")[0] == 200, "the other kind of route")
    assert ask("/shop.Cart/Add")[2].startswith("HTTP/2.0 /shop.Cart/Add")
    for path, status in (("/shop.List/Any", 200), ("/shop.Cart/Drop", 404), ("/any.Thing/Ping", 200), ("/a/xx", 200), ("/c/xx", 404), ("/shop.Lister/Any", 404)):
        assert ask(path)[0] == status, path
    assert ask("/q/w", "-H", "x-lang: fr")[0] == 200
    assert curl(port, "h.test", "/plain")[2].startswith("HTTP/2.0 /plain")
    wait_accepted(s, "grpcroute", "g", ns)


def ingress(name, host, paths, notes=None, **spec):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "annotations": {f"nginx.ingress.kubernetes.io/{k}": v for k, v in (notes or {}).items()}},
            "spec": {"rules": [{"host": host, "http": {"paths": [
                {"path": p, "pathType": "ImplementationSpecific", "backend": {"service": {"name": b, "port": {"number": 80}}}} for p, b in paths]}}], **spec}}


def test_a_service_that_keeps_to_this_node(s, ns, backends):
    port, health = free_port(), free_port()
    objects = service("near", backends["red"], {"port": port, "nodePort": 30999}, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=health)
    objects[1]["endpoints"] = [{"addresses": [own_address()], "nodeName": "node-2", "conditions": {"ready": True}}]
    s.apply(*objects, namespace=ns)
    status = wait_until(lambda: (lambda a: a if a[0] == 503 else None)(curl(health, "node.test")), "no endpoint on this node")
    assert status[2]["localEndpoints"] == 0
    assert curl(port, "x.test", "/", "--max-time", "3")[0] == 0
    objects[1]["endpoints"][0]["nodeName"] = "node-1"
    s.apply(objects[1], namespace=ns)
    wait_until(lambda: who(port, "x.test") == "red", "the endpoint on this node")
    told = {"service": {"namespace": ns, "name": "near"}, "localEndpoints": 1}
    wait_until(lambda: curl(health, "node.test")[2] == told, "it is told")


def test_ingress_tls_and_annotations(s, ns, workdir):
    http, https = s.gateway_port, s.gateway_tls_port
    s.apply(secret("cert", *make_cert(workdir / ns, "i", ["tls.test", "two.test"])),
            ingress("tls", "tls.test", [("/", "red")], tls=[{"hosts": ["tls.test"], "secretName": "cert"}]),
            ingress("both", "two.test", [("/", "blue")], {"ssl-redirect": "false"}, tls=[{"hosts": ["two.test"], "secretName": "cert"}]),
            ingress("broken", "broken.test", [("/", "red")], {"proxy-body-size": "lots", "server-snippet": "return 1;"}, tls=[{"hosts": ["broken.test"], "secretName": "none"}]),
            ingress("api", "api.test", [("/api(/|$)(.*)", "green")], {"rewrite-target": "/$2", "use-regex": "true"}),
            ingress("small", "small.test", [("/", "red")], {"proxy-body-size": "1k", "whitelist-source-range": "127.0.0.0/8", "enable-cors": "true"}),
            ingress("shut", "shut.test", [("/", "red")], {"whitelist-source-range": "192.0.2.0/24"}),
            ingress("moved", "moved.test", [("/", "red")], {"permanent-redirect": "https://else.test/there"}),
            ingress("main", "canary.test", [("/", "red")]),
            ingress("canary", "canary.test", [("/", "blue")], {"canary": "true", "canary-weight": "50", "canary-by-header": "X-Canary"}), namespace=ns)
    wait_until(lambda: who(http, "canary.test", "/", "-H", "X-Canary: always") == "blue", "the last of them")
    wait_who(https, ("tls.test", "/", "red"), ("two.test", "/", "blue"), scheme="https")
    wait_who(http, ("broken.test", "/", "red"), ("api.test", "/api/users/7", "green"))
    status, headers, _ = curl(http, "tls.test", "/p?q=1")
    assert status == 308 and headers["location"] == f"https://tls.test:{https}/p?q=1"
    assert who(http, "two.test") == "blue" and who(https, "two.test", scheme="https") == "blue"
    assert curl(https, "broken.test", scheme="https")[0] == 0 and who(http, "broken.test") == "red"
    _, _, got = curl(http, "api.test", "/api/users/7")
    assert got["backend"] == "green" and got["path"] == "/users/7"
    assert curl(http, "api.test", "/other")[0] == 404
    assert curl(http, "small.test", "/", "-d", "x" * 4000)[0] == 413 and who(http, "small.test", "/", "-d", "x") == "red"
    assert curl(http, "small.test", "/", "-H", "Origin: https://a.test")[1]["access-control-allow-origin"] in ("*", "https://a.test")
    assert curl(http, "shut.test")[0] == 403
    status, headers, _ = curl(http, "moved.test", "/x")
    assert status == 301 and headers["location"].startswith("https://else.test") and headers["location"].endswith("/there")
    assert {who(http, "canary.test", "/", "-H", "X-Canary: never") for _ in range(20)} == {"red"}
    drawn = {who(http, "canary.test") for _ in range(40)}
    assert drawn == {"red", "blue"}
    reasons = lambda: {e["reason"] for e in s.get("events", namespace=ns)["items"] if e["involvedObject"]["name"] == "broken"}
    wait_until(lambda: reasons() >= {"AnnotationInvalid", "AnnotationNotSupported", "InvalidCertificate"}, "what is not carried out")
