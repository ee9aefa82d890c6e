"""TLS through the gateway as clients see it: curl, openssl and Python, against Gateway objects and Secrets."""
import base64
import http.server
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from conftest import BINARY, Sampan, free_port, needs_root, own_address, wait_until

pytestmark = needs_root


class Ca:
    """A CA with an intermediate one, which signs the leaves."""

    def __init__(self, directory):
        self.dir = directory
        directory.mkdir()
        self.pem = self._make("root", "/CN=root", "basicConstraints=critical,CA:TRUE", None)
        self._make("mid", "/CN=mid", "basicConstraints=critical,CA:TRUE", "root")

    def _make(self, name, subject, extension, issuer):
        key, cert = self.dir / f"{name}.key", self.dir / f"{name}.crt"
        by = ["-CA", str(self.dir / f"{issuer}.crt"), "-CAkey", str(self.dir / f"{issuer}.key")] if issuer else []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", subject, "-addext", extension, "-keyout", key, "-out", cert, *by], check=True, capture_output=True)
        return cert

    def leaf(self, name, *names):
        """(chain, key) as bytes; the intermediate certificate goes along."""
        alt = ",".join(f"DNS:{n}" for n in names)
        self._make(name, f"/CN={names[0]}", f"subjectAltName={alt}", "mid")
        chain = (self.dir / f"{name}.crt").read_bytes() + (self.dir / "mid.crt").read_bytes()
        return chain, (self.dir / f"{name}.key").read_bytes()

    def trusting(self):
        return ssl.create_default_context(cafile=str(self.pem))


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Ca(tmp_path_factory.mktemp("tls") / "ca")  # also for test_gw_tls_peers.py


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.server.name} {self.headers.get('x-forwarded-proto')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def backend(name, context=None):
    server = http.server.ThreadingHTTPServer((own_address(), 0), Hello)
    server.name, server.daemon_threads = name, True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def service(name, server):
    """A Service whose one endpoint is a server of this test."""
    address, port = server.server_address
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80, "targetPort": port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
                "name": name + "-1", "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
             "ports": [{"name": "", "port": port}], "endpoints": [{"addresses": [address], "conditions": {"ready": True}}]}]


def secret(name, chain, key):
    data = {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}


def gateway(*listeners):
    return [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "sampan"},
             "spec": {"controllerName": "sampan.dev/gateway"}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "door"},
             "spec": {"gatewayClassName": "sampan", "listeners": list(listeners)}}]


def https(name, port, host, *secrets):
    return {"name": name, "protocol": "HTTPS", "port": port, "hostname": host,
            "tls": {"certificateRefs": [{"name": s} for s in secrets]}}


def route(kind, name, host, to, version="v1"):
    return {"apiVersion": f"gateway.networking.k8s.io/{version}", "kind": kind, "metadata": {"name": name}, "spec": {
        "parentRefs": [{"name": "door"}], "hostnames": [host], "rules": [{"backendRefs": [{"name": to, "port": 80}]}]}}


def connect(port, host, context, timeout=30):
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout), server_hostname=host)


def ask(connection, host, target="/"):
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(4096)
        assert piece, answer
        answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += connection.recv(4096)
    return int(head.split()[1]), body.decode()


def serves(port, host, context):
    try:
        with connect(port, host, context) as c:
            return ask(c, host)
    except (OSError, AssertionError):
        return None


def is_served(port, host, context):
    """By its route: a listener alone says 404."""
    return (serves(port, host, context) or [0])[0] == 200


@pytest.fixture
def door(sampan, ns, ca):
    """Two names on one port, each with its certificate."""
    port, a, b = free_port(), f"a.{ns}.test", f"b.{ns}.test"
    server = backend("plain")
    sampan.apply(*service("web", server), secret("cert-a", *ca.leaf("a" + ns, a)), secret("cert-b", *ca.leaf("b" + ns, f"*.{ns}.test")),
                 *gateway(https("a", port, a, "cert-a"), https("b", port, f"*.{ns}.test", "cert-b")),
                 route("HTTPRoute", "a", a, "web"), route("HTTPRoute", "b", b, "web"), namespace=ns)
    wait_until(lambda: all((serves(port, name, ca.trusting()) or [0])[0] == 200 for name in (a, b)), "both names and their routes")
    yield type("Door", (), {"port": port, "a": a, "b": b})
    server.shutdown()


def test_names_and_chains_for_curl_and_openssl(door, ca, ns):
    for host, want in ((door.a, door.a), (door.b, f"*.{ns}.test")):
        out = subprocess.run(["curl", "-sS", "--fail", "--cacert", ca.pem, "--resolve", f"{host}:{door.port}:127.0.0.1",
                              f"https://{host}:{door.port}/"], capture_output=True, text=True, timeout=60)
        assert out.stdout.startswith("plain"), out
        seen = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-servername", host, "-CAfile", ca.pem,
                               "-verify_return_error"], input="", capture_output=True, text=True, timeout=60).stdout
        assert "Verify return code: 0 (ok)" in seen and f"CN = {want}" in seen.split("---")[1], seen
    for name in ("nobody.test", None):
        refused = ca.trusting()
        refused.check_hostname = False
        with pytest.raises(ssl.SSLError, match="unrecognized|UNRECOGNIZED"):
            connect(door.port, name, refused)


def test_a_host_of_another_listener_is_misdirected(sampan, ns, door, ca):
    """Client certificates asked for at one name are not avoided by connecting with another."""
    for host, other in ((door.a, door.b), (door.b, door.a)):
        with connect(door.port, host, ca.trusting()) as c:
            assert ask(c, host)[0] == 200
            status, text = ask(c, other)
            assert status == 421 and other in text
            assert ask(c, "nobody.test")[0] == 404  # nobody has it
            assert ask(c, host.upper() + ":443")[0] == 200
            assert ask(c, host, f"https://{host}/")[0] == 200  # the absolute form (RFC 9112 3.2.2)
    out = subprocess.run(["curl", "-sS", "--http2", "--cacert", ca.pem, "-w", " %{http_version} %{http_code} %{num_connects}\n",
                          "--resolve", f"{door.a}:{door.port}:127.0.0.1", f"https://{door.a}:{door.port}/", "-H", f"Host: {door.b}",
                          "--next", "-sS", "--http2", "--cacert", ca.pem, "-w", " %{http_version} %{http_code} %{num_connects}\n",
                          "--resolve", f"{door.a}:{door.port}:127.0.0.1", f"https://{door.a}:{door.port}/"],
                         capture_output=True, text=True, timeout=60)
    assert re.search(r" 2 421 1\n.* 2 200 0\n", out.stdout, re.S), out
    # Names of Ingresses are served from one table: one connection may ask for several (RFC 9113 9.1.1).
    hosts = [f"{n}.i.{ns}.test" for n in "xy"]
    sampan.apply(secret("cert-i", *ca.leaf("i" + ns, *hosts)),
                 {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {
                     "tls": [{"hosts": hosts, "secretName": "cert-i"}], "rules": [{"host": h, "http": {"paths": [
                         {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}} for h in hosts]}},
                 namespace=ns)
    wait_until(lambda: (serves(sampan.gateway_tls_port, hosts[0], ca.trusting()) or [0])[0] == 200, "the Ingress")
    with connect(sampan.gateway_tls_port, hosts[0], ca.trusting()) as c:
        assert [ask(c, h)[0] for h in (*hosts, hosts[0])] == [200] * 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_resumption(door, ca, version):
    context = ca.trusting()
    context.minimum_version = context.maximum_version = version
    with connect(door.port, door.a, context) as c:
        ask(c, door.a)
        session = c.session
    with context.wrap_socket(socket.create_connection(("127.0.0.1", door.port), 30), server_hostname=door.a, session=session) as c:
        assert c.session_reused and ask(c, door.a)[0] == 200


def test_old_versions_and_other_protocols_are_refused(door, ca):
    old = ca.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(door.port, door.a, old)
    other = ca.trusting()
    other.set_alpn_protocols(["smtp"])
    with pytest.raises(ssl.SSLError, match="no application protocol|NO_APPLICATION_PROTOCOL"):
        connect(door.port, door.a, other)


def test_clients_that_do_not_speak_tls(door, ca):
    with socket.create_connection(("127.0.0.1", door.port), 30) as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(4096).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", door.port), 30) as c:
        c.sendall(b"x" + os.urandom(600))
        try:
            assert c.recv(4096) == b""
        except ConnectionResetError:
            pass
    # Some that stop in the middle of their hello hold nobody up.
    slow = [socket.create_connection(("127.0.0.1", door.port), 30) for _ in range(50)]
    for s in slow:
        s.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert serves(door.port, door.a, ca.trusting())[0] == 200
    for s in slow:
        s.close()


def hello_of(context, name):
    """The first words of a handshake, and nothing more."""
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def test_many_hellos_at_once_and_clients_that_leave_meanwhile(door, ca):
    """They queue for their signatures; who is gone holds up nobody, and the others are all served."""
    hello, reset = hello_of(ca.trusting(), door.a), struct.pack("ii", 1, 0)
    staying, leaving, served = [], [], []
    for _ in range(60):
        for group in (staying, leaving):
            group.append(socket.create_connection(("127.0.0.1", door.port), 30))

    def shake(s):
        with ca.trusting().wrap_socket(s, server_hostname=door.a) as c:
            served.append(ask(c, door.a)[0])
    threads = [threading.Thread(target=shake, args=(s,)) for s in staying]
    for t, gone in zip(threads, leaving):
        gone.sendall(hello)
        t.start()
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        gone.close()
    for t in threads:
        t.join(60)
    assert served == [200] * 60


def test_the_certificate_of_last_resort_survives_a_restart(sampan, ns):
    host = f"plain.{ns}.test"
    sampan.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "plain"}, "spec": {
        "tls": [{"hosts": [host]}], "defaultBackend": {"service": {"name": "nobody", "port": {"number": 80}}}}}, namespace=ns)
    blind = ssl._create_unverified_context()

    def shown():
        try:
            with connect(sampan.gateway_tls_port, host, blind) as c:
                return serial(c)
        except OSError:
            return None

    before = wait_until(shown, "a certificate")
    kept = sampan.dir / "gateway" / "sampan-default.pem"
    assert kept.stat().st_mode & 0o777 == 0o600 and before in kept.read_text()
    old = sampan.role_pids()["gateway"]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: sampan.role_pids().get("gateway", old) != old, "the next gateway")
    assert wait_until(shown, "a certificate again") == before


def serial(connection):
    return ssl.DER_cert_to_PEM_cert(connection.getpeercert(True))


def test_a_new_certificate_under_load(sampan, ns, door, ca):
    """The Secret changes again and again while clients come: none is refused, open connections stay."""
    context, stop, seen, errors = ca.trusting(), threading.Event(), set(), []

    def come():
        while not stop.is_set():
            try:
                with connect(door.port, door.a, context, 20) as c:
                    seen.add(serial(c))
                    assert ask(c, door.a)[0] == 200
            except Exception as e:  # noqa: BLE001: whatever it is, it must not be
                errors.append(e)
                return

    with connect(door.port, door.a, context) as old:
        before = serial(old)
        clients = [threading.Thread(target=come, daemon=True) for _ in range(3)]
        for t in clients:
            t.start()
        for i in range(3):
            known = set(seen) | {before}
            sampan.apply(secret("cert-a", *ca.leaf(f"a{i}{ns}", door.a)), namespace=ns)
            wait_until(lambda: errors or set(seen) - known, "the new certificate")
        stop.set()
        for t in clients:
            t.join()
        assert not errors and len(seen) >= 4
        assert ask(old, door.a)[0] == 200 and serial(old) == before


def test_passed_through_and_tls_to_endpoints(sampan, ns, ca):
    port, passed, again = free_port(), f"pass.{ns}.test", f"again.{ns}.test"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    chain, key = ca.leaf("server" + ns, passed, "inside.test")
    (ca.dir / "s.pem").write_bytes(chain + key)
    context.load_cert_chain(ca.dir / "s.pem")
    server = backend("its own TLS", context)
    sampan.apply(*service("safe", server), secret("cert", *ca.leaf("again" + ns, again)),
                 {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": ca.pem.read_text()}},
                 {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "safe"}, "spec": {
                     "targetRefs": [{"group": "", "kind": "Service", "name": "safe"}],
                     "validation": {"hostname": "inside.test", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}},
                 *gateway({"name": "pass", "protocol": "TLS", "port": port, "hostname": passed, "tls": {"mode": "Passthrough"}},
                          https("again", port, again, "cert")),
                 *service("raw", server), route("TLSRoute", "pass", passed, "raw", "v1alpha2"), route("HTTPRoute", "again", again, "safe"),
                 namespace=ns)
    wait_until(lambda: is_served(port, passed, ca.trusting()) and is_served(port, again, ca.trusting()), "both ways")
    with connect(port, passed, ca.trusting()) as c:
        assert ("DNS", "inside.test") in c.getpeercert()["subjectAltName"]  # the server's own certificate
        assert ask(c, passed)[1] == "its own TLS None"
    with connect(port, again, ca.trusting()) as c:
        assert ("DNS", "inside.test") not in c.getpeercert()["subjectAltName"]
        assert ask(c, again)[1].startswith("its own TLS")
    server.shutdown()


def test_an_ingress_without_a_secret_answers_with_the_default_certificate(sampan, ns):
    server, host = backend("plain"), f"none.{ns}.test"
    sampan.apply(*service("web", server), {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
        "tls": [{"hosts": [host]}], "rules": [{"host": host, "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}, namespace=ns)
    trusting_all = ssl.create_default_context()
    trusting_all.check_hostname, trusting_all.verify_mode = False, ssl.CERT_NONE
    wait_until(lambda: is_served(sampan.gateway_tls_port, host, trusting_all), "an answer")
    assert serves(sampan.gateway_tls_port, host, trusting_all) == (200, "plain https")
    server.shutdown()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
def test_proxy_protocol_with_haproxy_on_both_sides(sampan, tmp_path):
    """haproxy says who the client is, we believe it, and tell haproxy; both versions of the header."""
    p = [free_port() for _ in range(7)]
    (tmp_path / "peer.cfg").write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen v1
  bind 127.0.0.1:{p[0]}
  server s 127.0.0.1:{p[2]} send-proxy
listen v2
  bind 127.0.0.1:{p[1]}
  server s 127.0.0.1:{p[2]} send-proxy-v2
frontend back
  bind 127.0.0.1:{p[3]} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[req.hdr(x-forwarded-for)]"
""")
    (tmp_path / "ours.cfg").write_text(f"""
frontend f
  mode http
  bind 127.0.0.1:{p[2]} accept-proxy
  default_backend b
backend b
  mode http
  server s 127.0.0.1:{p[3]} send-proxy-v2
frontend t
  mode tcp
  bind 127.0.0.1:{p[4]}
  default_backend tb
backend tb
  mode tcp
  server s 127.0.0.1:{p[3]} send-proxy
""")
    peers = [subprocess.Popen(["haproxy", "-db", "-f", tmp_path / "peer.cfg"], stderr=subprocess.DEVNULL),
             subprocess.Popen([sampan.binary, "gateway", "--haproxy-cfg", tmp_path / "ours.cfg", "--http-port", str(p[5]),
                               "--https-port", str(p[6])], stdout=subprocess.DEVNULL)]
    try:
        def get(port):
            return subprocess.run(["curl", "-sS", "--interface", "127.0.0.9", f"http://127.0.0.1:{port}/"],
                                  capture_output=True, text=True, timeout=60).stdout
        wait_until(lambda: get(p[0]) == "127.0.0.9 127.0.0.9", "version 1 in, version 2 out")
        wait_until(lambda: get(p[1]) == "127.0.0.9 127.0.0.9", "version 2 in")
        wait_until(lambda: get(p[4]).startswith("127.0.0.9"), "version 1 out")
        with socket.create_connection(("127.0.0.1", p[2]), 30) as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                c.recv(100)
    finally:
        for peer in peers:
            peer.terminate()
            peer.wait()


def test_a_port_behind_a_proxy_has_all_its_places(tmp_path):
    """Who waits to be admitted does not count as one who was."""
    server, port = backend("plain"), free_port()
    (tmp_path / "ours.cfg").write_text(f"""
frontend f
  mode http
  maxconn 2
  bind 127.0.0.1:{port} accept-proxy
  default_backend b
backend b
  mode http
  server s {server.server_address[0]}:{server.server_address[1]}
""")

    def enter():
        c = socket.create_connection(("127.0.0.1", port), 30)
        c.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
        try:
            return c, ask(c, "x")[0]
        except (AssertionError, ConnectionError):
            return c, None

    gw = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", tmp_path / "ours.cfg", "--http-port", str(free_port()),
                           "--https-port", str(free_port())], stdout=subprocess.DEVNULL)
    try:
        def first():
            try:
                c, status = enter()
            except ConnectionRefusedError:
                return None
            return c if status == 200 else c.close()
        with wait_until(first, "the gateway"):
            second, status = enter()
            assert status == 200
            third, status = enter()
            assert status is None
            second.close()
            third.close()
    finally:
        gw.terminate()
        assert gw.wait() == 0
        server.shutdown()


@pytest.fixture
def patient(tmp_path):
    """An API server whose gateway waits long for a server: as long as it takes to write one down."""
    s = Sampan(tmp_path / "platform", roles="apiserver").start()
    gw = subprocess.Popen([BINARY, "gateway", "--kubeconfig", s.kubeconfig, "--http-port", str(free_port()), "--https-port", str(free_port()),
                           "--cluster-ips", "off", "--endpoint-wait", "60s", "--grace", "0s"], stderr=subprocess.DEVNULL)
    yield s
    gw.terminate()
    code = gw.wait()
    s.stop()
    assert code == 0


def test_a_copy_outlives_the_client_whose_certificate_it_tells(patient, ca):
    host, port, seen = "m.copies.test", free_port(), []

    class Note(Hello):
        def do_GET(self):
            seen.append(self.headers.get("x-forwarded-client-cert"))
            Hello.do_GET(self)

    server, copies = backend("plain"), backend("copies")
    copies.RequestHandlerClass = Note
    objects = gateway(https("m", port, host, "cert"))
    objects[1]["spec"]["tls"] = {"frontend": {"default": {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}}}
    way = route("HTTPRoute", "m", host, "web")
    way["spec"]["rules"][0]["filters"] = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copies", "port": 80}}}]
    copy_service, copy_slice = service("copies", copies)
    late = {**copy_slice, "endpoints": []}
    patient.apply(*service("web", server), copy_service, late, secret("cert", *ca.leaf("m-copies", host)),
                  {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": ca.pem.read_text()}}, *objects, way)
    chain, key = ca.leaf("client-copies", "alice")
    (ca.dir / "c.pem").write_bytes(chain + key)
    context = ca.trusting()
    context.load_cert_chain(ca.dir / "c.pem")
    wait_until(lambda: is_served(port, host, context), "the route")  # and the client is gone; its copy waits for a server
    patient.apply(copy_slice)
    wait_until(lambda: seen, "the copy")
    assert seen[0].startswith("Hash=") and 'Subject="CN=alice"' in seen[0]
    server.shutdown()
    copies.shutdown()


def ocsp_response(ca, name):
    """What the CA says about this leaf, DER: good."""
    files = {n: ca.dir / f"{name}.{n}" for n in ("req", "der", "index")}
    serial = subprocess.run(["openssl", "x509", "-in", ca.dir / f"{name}.crt", "-noout", "-serial"], check=True, capture_output=True, text=True)
    files["index"].write_text(f"V\t400101000000Z\t\t{serial.stdout.strip().split('=')[1]}\tunknown\t/CN={name}\n")
    subprocess.run(["openssl", "ocsp", "-issuer", ca.dir / "mid.crt", "-cert", ca.dir / f"{name}.crt", "-no_nonce", "-reqout", files["req"]],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "ocsp", "-index", files["index"], "-CA", ca.dir / "mid.crt", "-rsigner", ca.dir / "mid.crt", "-rkey", ca.dir / "mid.key",
                    "-reqin", files["req"], "-respout", files["der"], "-ndays", "2"], check=True, capture_output=True)
    return files["der"].read_bytes()


def stapled(port, host):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", host, "-status"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    return re.search(r"Cert Status: (\w+)|OCSP response: (no response sent)", done.stdout + done.stderr)[0]


def test_what_the_ca_says_goes_along(sampan, ns, ca):
    """An OCSP response of the Secret is stapled; without one nothing is, and a new one needs no restart."""
    port, host = free_port(), f"ocsp.{ns}.test"
    server = backend("stapled")
    chain, key = ca.leaf("ocsp", host)
    plain = secret("cert", chain, key)
    sampan.apply(*service("web", server), plain, *gateway(https("own", port, host, "cert")), route("HTTPRoute", "own", host, "web"), namespace=ns)
    wait_until(lambda: is_served(port, host, ca.trusting()), "the name")
    assert stapled(port, host) == "OCSP response: no response sent"
    plain["data"]["tls.ocsp-staple"] = base64.b64encode(ocsp_response(ca, "ocsp")).decode()
    sampan.apply(plain, namespace=ns)
    wait_until(lambda: stapled(port, host) == "Cert Status: good", "the staple")
    done = subprocess.run(["curl", "-sS", "--cert-status", "--cacert", ca.pem, "--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("stapled"), done
    server.shutdown()
