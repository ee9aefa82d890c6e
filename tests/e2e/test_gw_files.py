"""haproxy.cfg and keepalived.conf served by the gateway: the printed files, and behaviour beside real haproxy."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from conftest import BINARY, TOP, free_port, wait_until
from test_gw_tls import Ca, ocsp_response, stapled

EXAMPLE = TOP / "examples" / "12-highly-available-api"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
needs_haproxy = pytest.mark.skipif(not os.access(HAPROXY, os.X_OK), reason="haproxy is not installed")


def gateway(*words):
    return subprocess.run([BINARY, "gateway", *map(str, words)], capture_output=True, text=True, timeout=60)


# --- the printed files ---

def test_the_printed_files_are_valid_and_every_note_has_its_line():
    done = gateway("--haproxy-cfg", EXAMPLE / "haproxy.cfg", "--keepalived-conf", EXAMPLE / "keepalived.conf", "--check")
    assert done.returncode == 0 and "configuration is valid" in done.stdout, done
    lines = (EXAMPLE / "haproxy.cfg").read_text().splitlines()
    notes = [n.split(":", 3) for n in done.stderr.splitlines() if "haproxy.cfg" in n]
    assert len(notes) == 5 and all(kind == " note" for _, _, kind, _ in notes)
    for _, number, _, text in notes:
        assert text.split(":")[0].split()[0] in lines[int(number) - 1]


def test_the_printed_files_as_objects_are_taken_by_the_api(sampan, ns):
    done = gateway("--haproxy-cfg", EXAMPLE / "haproxy.cfg", "--print-objects")
    assert done.returncode == 0, done
    objects = [o for o in yaml.safe_load_all(done.stdout) if o]
    assert {o["kind"] for o in objects} >= {"Service", "EndpointSlice", "Gateway", "TCPRoute", "BackendPolicy"}
    slices = [o for o in objects if o["kind"] == "EndpointSlice"]
    assert [e["addresses"][0] for e in slices[0]["endpoints"]] == ["10.53.61.195", "10.53.61.43", "10.53.61.159"]
    for o in objects:
        if "namespace" in o["metadata"]:
            o["metadata"]["namespace"] = ns
    sampan.apply(*objects, namespace=ns)
    done = gateway("--keepalived-conf", EXAMPLE / "keepalived.conf", "--print-objects")
    address = yaml.safe_load(done.stdout)
    assert address["kind"] == "VirtualAddress" and address["spec"]["addresses"] == ["10.53.61.200/32"]
    sampan.kubectl("apply", "--dry-run=server", "-f", "-", stdin=done.stdout)
    stored = sampan.get("tcproute", "kubernetes-apiserver-tcp-9443", namespace=ns)
    assert stored["spec"]["rules"][0]["backendRefs"][0]["name"] == "kubernetes-apiserver"


def test_what_is_made_of_other_words_is_taken_by_the_api(sampan, ns, tmp_path):
    cfg = tmp_path / "x.cfg"
    cfg.write_text("frontend f\n mode http\n bind :18080\n stick-table type ip size 9 store http_req_rate(10s)\n http-request track-sc0 src\n"
                   " http-request deny deny_status 429 if { sc_http_req_rate(0) gt 7 }\n default_backend b\nbackend b\n mode http\n option tcp-check\n"
                   " tcp-check send-binary 00ff\n tcp-check expect ! min-recv 3 rstring ^ERR\n server s 10.0.0.1:80 check on-marked-down shutdown-sessions\n")
    done = gateway("--haproxy-cfg", cfg, "--print-objects")
    assert done.returncode == 0, done
    sampan.kubectl("apply", "--validate=strict", "-f", "-", stdin=done.stdout.replace("namespace: default", f"namespace: {ns}"))
    limits = sampan.get("trafficpolicy", "f-http-18080", namespace=ns)["spec"]["rateLimits"]
    assert limits == [{"bucket": "f-sc0-7", "by": "Source", "requests": 7, "period": "10s"}]
    steps = sampan.get("backendpolicy", "b", namespace=ns)["spec"]["check"]["tcp"]["steps"]
    assert steps == [{"sendBase64": "AP8="}, {"expectRegex": "^ERR", "not": True, "minBytes": 3}]


@pytest.mark.parametrize("text,line,says", [
    ("frontend a\n  bind :80\n  frobnicate 3\n", 3, "frobnicate"),
    ("frontend a\n  compression algo gzip\n", 2, "compression"),
    ("frontend a\n  mode http\n  http-request deny if { req.hdr(X-Forwarded-For) -m ip 10.0.0.0/8 }\n", 3, "-m knows"),
    ("frontend a\n  mode http\n  http-request deny if { req.hdr(content-length) -m int gt 1000 }\n", 3, "-m knows"),
    ("backend b\n  server s 10.0.0.1:80 chekc\n", 2, "chekc"),
    ("frontend a\n  bind :80\n  use_backend x if nobody\n", 3, "nobody"),
    ("frontend a\n  bind :80\n  default_backend gone\n", 3, "gone"),
    ("listen a\n  bind \"unclosed\n", 2, "quote"),
])
def test_what_is_not_supported_is_named_with_its_line(tmp_path, text, line, says):
    cfg = tmp_path / "x.cfg"
    cfg.write_text(text)
    done = gateway("--haproxy-cfg", cfg, "--check")
    errors = [e for e in done.stderr.splitlines() if ": error: " in e]
    assert done.returncode == 1 and "valid" not in done.stdout
    assert any(e.startswith(f"{cfg}:{line}: error: ") and says in e for e in errors), done.stderr


def test_what_checks_are_made_of(tmp_path):
    """http-check lines hold wherever they stand; a port of its own for checks is asked without the TLS of the traffic; what is
    only taken as true is told."""
    cfg = tmp_path / "x.cfg"
    cfg.write_text("""defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen early
  bind 127.0.0.1:18001
  http-check send meth GET uri /hc hdr X-A b
  http-check expect status 404
  option httpchk
  server s 10.0.0.1:443 ssl verify none check port 8080
listen late
  bind 127.0.0.1:18002
  option httpchk GET /b
  http-check expect status 200
  server s 10.0.0.1:443 ssl verify none check
frontend tls
  mode tcp
  bind 127.0.0.1:18003
  tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend tcp if HTTP
  default_backend tcp
backend tcp
  mode tcp
  http-check expect status 404
  server s 10.0.0.1:443 check
""")
    done = gateway("--haproxy-cfg", cfg, "--print-objects")
    assert done.returncode == 0, done.stderr
    found = {o["metadata"]["name"]: o["spec"]["check"] for o in yaml.safe_load_all(done.stdout) if o["kind"] == "BackendPolicy"}
    assert found["early"]["http"] == {"method": "GET", "path": "/hc", "headers": [{"name": "X-A", "value": "b"}], "status": {"min": 404, "max": 404}}
    assert "tls" not in found["early"] and found["late"]["tls"] is True
    assert found["late"]["http"] == {"method": "GET", "path": "/b", "status": {"min": 200, "max": 200}}
    assert found["tcp"]["type"] == "TCP"
    assert f"{cfg}:21: warning: req.ssl_hello_type is taken as true" in done.stderr
    assert f"{cfg}:22: warning: HTTP is taken as true" in done.stderr


# --- beside real haproxy ---

class Answerer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps({"server": self.server.name, "method": self.command, "path": self.path,
                           "headers": sorted([k.lower(), v] for k, v in self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Server", self.server.name)
        self.send_header("X-Secret", "42")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, *a):
        pass


@pytest.fixture(scope="module")
def servers():
    """Four servers that tell what they were asked; name → port."""
    running = {}
    for name in ("s1", "s2", "s3", "s4"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
        server.name = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running[name] = server
    yield {name: s.server_address[1] for name, s in running.items()}
    for s in running.values():
        s.shutdown()
        s.server_close()


HEAD = """
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
"""


@contextlib.contextmanager
def serving(tmp_path, text, servers, ports):
    """Both programs with the same file, each on ports of its own; yields [(name, {P: port})]."""
    processes, result = [], []
    for name in ("ours", "haproxy"):
        own = {p: free_port() for p in ports}
        cfg = tmp_path / f"{name}.cfg"
        filled = HEAD + text
        for key, port in {**own, **{k.upper(): v for k, v in servers.items()}}.items():
            filled = filled.replace(f"@{key}@", str(port))
        cfg.write_text(filled)
        words = [BINARY, "gateway", "--haproxy-cfg", cfg, "--grace", "1s"] if name == "ours" else [HAPROXY, "-db", "-f", cfg]
        log = open(tmp_path / f"{name}.log", "w")
        processes.append(subprocess.Popen([str(w) for w in words], stdout=log, stderr=subprocess.STDOUT))
        result.append((name, own))
    try:
        for (name, own), p in zip(result, processes):
            for port in own.values():
                wait_until(lambda: p.poll() is not None or can_connect(port), f"{name} at {port}")
            assert p.poll() is None, (tmp_path / f"{name}.log").read_text()
        yield result
    finally:
        for p in processes:
            p.terminate()
        for p in processes:
            p.wait(30)


def can_connect(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def ask(port, method="GET", path="/", headers=(), body=None, tls=False):
    """What a client sees, without what programs may choose."""
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    more = {"context": ssl._create_unverified_context()} if tls else {}
    c = kind("127.0.0.1", port, timeout=60, **more)
    try:
        c.request(method, path, body=body, headers={"Host": "www.example.com", **dict(headers)})
        r = c.getresponse()
        text = r.read()
    finally:
        c.close()
    seen = {"status": r.status, "location": r.headers.get("location"), "x": sorted((k.lower(), v) for k, v in r.headers.items() if k.lower().startswith("x-"))}
    if text.startswith(b"{"):
        got = json.loads(text)
        own = ("x-forwarded-", "x-request-id", "traceparent", "connection")
        seen["asked"] = [got["server"], got["method"], got["path"], [h for h in got["headers"] if not h[0].startswith(own)]]
    elif r.status == 200:
        seen["text"] = text.decode()
    return seen


ROUTING = ("""
frontend web
    bind 127.0.0.1:@P@
    acl api path_beg /api /v2
    acl img path_end -i .png .jpg
    acl dir path_dir assets
    acl sub path_sub needle
    acl num path_reg ^/[0-9]+$
    acl www hdr(host) -i www.example.com
    acl blog hdr_end(host) -i .blog.test
    acl dom hdr_dom(host) -i shop
    acl canary req.hdr(x-canary) yes on
    acl cook cook(mode) -m beg b
    acl q url_param(v) 2
    acl writes method POST PUT
    acl agent hdr_sub(user-agent) -i bot
    acl has hdr(x-here) -m found
    use_backend two if api !writes
    use_backend three if api writes || sub
    use_backend four if img !dir or num
    use_backend two if blog or canary
    use_backend three if cook or q
    use_backend four if dom
    use_backend two if agent
    use_backend four unless !has
    default_backend one
backend one
    server s1 127.0.0.1:@S1@
backend two
    server s2 127.0.0.1:@S2@
backend three
    server s3 127.0.0.1:@S3@
backend four
    server s4 127.0.0.1:@S4@
""", [dict(path=p) for p in ("/", "/api", "/api/x", "/apix", "/v2/y", "/a.png", "/a.PNG", "/assets/a.png", "/x/assets", "/assetsx/a.jpg", "/a/needle/b",
                             "/needles", "/123", "/12a", "/?v=2", "/?v=3", "/?a=1&v=2", "/api?x=1")]
     + [dict(path="/api", method=m) for m in ("POST", "PUT", "DELETE", "HEAD")]
     + [dict(headers={"Host": h}) for h in ("a.blog.test", "b.a.blog.test", "blog.test", "shop.test", "my.shop", "myshop.test", "WWW.EXAMPLE.COM")]
     + [dict(headers={"x-canary": v}) for v in ("yes", "no", "no, on", "YES", "yesno")]
     + [dict(headers={"Cookie": v}) for v in ("mode=beta", "a=1; mode=b", "mode=a", "xmode=b")]
     + [dict(headers={"User-Agent": "GoogleBot/1"}), dict(headers={"x-here": "1"})])

CHANGES = ("""
frontend web
    bind 127.0.0.1:@P@
    http-request deny if { path /no }
    http-request deny deny_status 429 if { path /slow }
    http-request return status 200 content-type text/plain string "hello" if { path /hello }
    http-request redirect location /new code 301 if { path /old }
    http-request redirect location https://else.example.com/x?y=1 if { path /far }
    http-request redirect prefix https://pre.example.com code 308 if { hdr(host) -i pre.test }
    http-request set-header X-Set one
    http-request set-header X-Set two if { path_beg /two }
    http-request add-header X-Add more if { path_beg /two }
    http-request del-header X-Gone
    http-request set-header X-Port %[dst_port] if { path /port }
    http-request set-path /fixed if { path /moved }
    http-request replace-path ^/strip/(.*) /\\1
    http-request deny if { path_beg /admin } !{ src 127.0.0.1 }
    http-request deny if { path_beg /local } { src 127.0.0.0/8 }
    http-response set-header X-Answer yes
    http-response del-header X-Secret
    redirect location /late if { path /late }
    default_backend one
backend one
    http-request set-header X-Backend one
    server s1 127.0.0.1:@S1@
""", [dict(path=p) for p in ("/", "/no", "/slow", "/hello", "/old", "/old?q=1", "/far", "/far?q=2", "/two", "/moved", "/moved?a=b", "/strip/a/b",
                             "/strip/a?x=y", "/stripped", "/admin/x", "/local", "/late")]
     + [dict(headers={"Host": "pre.test"}, path="/a/b?c=d"), dict(headers={"X-Gone": "x", "X-Set": "mine"}), dict(method="POST", body="abc", path="/two")])

EDGES = ("""
frontend a
    bind 127.0.0.1:@P@
    acl yes always_true
    acl empty path /never
    http-request allow if { path /open }
    http-request deny if { path /open } or { path /shut }
    use_backend none if { path /none }
    use_backend two if yes !empty { path /two }
    default_backend one
frontend b
    bind 127.0.0.1:@Q@
    monitor-uri /alive
frontend c
    bind 127.0.0.1:@R@
    mode tcp
    default_backend stream
backend one
    balance source
    server s1 127.0.0.1:@S1@
    server dead 127.0.0.1:1 backup
backend two
    option redispatch
    retries 2
    server gone 127.0.0.1:1 weight 10
    server s2 127.0.0.1:@S2@ backup
    server off 127.0.0.1:1 disabled
backend none
backend stream
    mode tcp
    server s3 127.0.0.1:@S3@
""", [dict(path=p) for p in ("/", "/open", "/shut", "/none")] + [dict(port="Q", path=p) for p in ("/alive", "/other")] + [dict(port="R", path="/x")])

VALUES = ("""
frontend web
    bind 127.0.0.1:@P@
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Client %ci
    http-request set-header X-Way "from %[src] to %[dst], all of it 100%%"
    http-request set-header X-Tls %[ssl_fc]
    http-request set-header X-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Sni a%[ssl_fc_sni]b
    http-request set-header X-Asked "%[method] %[path]"
    http-request set-header X-Query %[query]
    http-request set-header X-Pathq %[pathq]
    http-request set-header X-Url %[url]
    http-request set-header X-Host %[req.hdr(Host)]
    http-request set-header X-Last %[hdr(x-in)]
    http-request set-header X-Line %[req.fhdr(X-In)]
    http-request add-header X-Also %[src] if { path_beg /two }
    http-request set-header X-Forwarded-Proto https if { path /two }
    default_backend one
backend one
    http-request set-header X-Backend %[src]
    server s1 127.0.0.1:@S1@
""", [dict(path=p) for p in ("/", "/a?b=c", "/a?", "/two", "/a%20b", "/a//b?c=d&e")] + [dict(method="POST", body="abc", path="/two?x=%41")]
     + [dict(headers={"X-In": v, "X-Also": "mine", "X-Real-IP": "6.6.6.6"}) for v in ("a", "a, b", "a,", 'a, "b, c"', "")]
     + [dict(headers={"Host": h}) for h in ("WWW.example.com:81", "[::1]:80")])

TABLE = {"routing": ROUTING, "changes": CHANGES, "edges": EDGES, "values": VALUES}


@needs_haproxy
@pytest.mark.parametrize("name", TABLE)
def test_answers_are_those_of_haproxy(tmp_path, servers, name):
    text, requests = TABLE[name]
    ports = [p for p in "PQR" if f"@{p}@" in text]
    with serving(tmp_path, text, servers, ports) as programs:
        wrong = []
        for r in requests:
            r = dict(r)
            port = r.pop("port", "P")
            ours, theirs = (ask(own[port], **r) for _, own in programs)
            if r.get("path") == "/alive":  # haproxy's body is a page
                ours.pop("text", None), theirs.pop("text", None)
            if ours != theirs:
                wrong.append(f"{r}:\n  ours    {ours}\n  haproxy {theirs}")
        assert not wrong, "\n".join(wrong)


def test_what_a_rule_says_of_the_client_is_said_once(tmp_path, servers):
    """In place of what the gateway would say. And the port, which differs from client to client."""
    port, cfg = free_port(), tmp_path / "x.cfg"
    cfg.write_text(HEAD + f"""
frontend web
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto https if {{ path /set }}
    http-request add-header X-Forwarded-Proto https if {{ path /add }}
    http-request set-header X-Forwarded-Port 8443
    http-request set-header X-Port %[src_port]
    http-request set-header X-Id %[unique-id]
    default_backend one
backend one
    server s1 127.0.0.1:{servers["s1"]}
""")
    process = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", cfg, "--grace", "1s"])
    try:
        wait_until(lambda: can_connect(port), "the gateway")
        for path, proto in (("/", "http"), ("/set", "https"), ("/add", "https")):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            c.request("GET", path, headers={"X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "70"})
            mine = c.sock.getsockname()[1]
            got = json.loads(c.getresponse().read())["headers"]
            assert [v for k, v in got if k == "x-forwarded-proto"] == [proto]
            assert [v for k, v in got if k == "x-forwarded-port"] == ["8443"]
            assert [v for k, v in got if k == "x-port"] == [str(mine)]
            assert [v for k, v in got if k == "x-id"] == [v for k, v in got if k == "x-request-id"]
            c.close()
    finally:
        process.terminate()
        process.wait(30)


@needs_haproxy
def test_tls_and_what_depends_on_the_listener(tmp_path, servers):
    pem = tmp_path / "site.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=www.example.com",
                    "-keyout", tmp_path / "key", "-out", tmp_path / "crt", "-days", "2"], check=True, capture_output=True)
    pem.write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    text = f"""
frontend web
    bind 127.0.0.1:@P@
    bind 127.0.0.1:@Q@ ssl crt {pem} alpn http/1.1
    http-request redirect scheme https code 301 if {{ path_beg /safe }} !{{ ssl_fc }}
    http-request set-header X-Tls yes if {{ ssl_fc }}
    http-request set-header X-How "%[ssl_fc] %[ssl_fc_sni] %[ssl_fc,iif(https,http)] %[req.hdr(host)]"
    default_backend one
backend one
    server s1 127.0.0.1:@S1@
"""
    with serving(tmp_path, text, servers, ["P", "Q"]) as programs:
        for r in (dict(path="/"), dict(path="/safe/a?b=c")):
            ours, theirs = (ask(own["P"], **r) for _, own in programs)
            assert ours == theirs
            ours, theirs = (ask(own["Q"], tls=True, **r) for _, own in programs)
            assert ours == theirs and ["x-tls", "yes"] in ours["asked"][3]


@needs_haproxy
def test_what_stands_beside_a_certificate(tmp_path, servers):
    """FILE.key and FILE.ocsp; and, with ssl-load-extra-del-ext, NAME.key of NAME.crt."""
    ca = Ca(tmp_path / "ca")
    chain, key = ca.leaf("site", "www.example.com")
    for name in ("site.pem", "site.pem.key", "other.crt", "other.key"):
        (tmp_path / name).write_bytes(key if name.endswith("key") else chain)
    (tmp_path / "site.pem.ocsp").write_bytes(ocsp_response(ca, "site"))
    text = f"""
global
    ssl-load-extra-del-ext
    crt-base {tmp_path}
frontend web
    bind 127.0.0.1:@P@ ssl crt site.pem
    bind 127.0.0.1:@Q@ ssl crt other.crt
    default_backend one
backend one
    server s1 127.0.0.1:@S1@
"""
    with serving(tmp_path, text, servers, ["P", "Q"]) as programs:
        for _, own in programs:
            assert stapled(own["P"], "www.example.com") == "Cert Status: good"
            assert stapled(own["Q"], "www.example.com") == "OCSP response: no response sent"


@needs_haproxy
def test_the_address_of_all_zeros_takes_ipv4_too(tmp_path, servers):
    """Unless it is told not to; who says an IPv4 address gets its clients."""
    text = """
frontend six
    bind :::@P@ v4v6
    bind :::@Q@
    bind :::@R@ v6only
    http-request return status 200 content-type text/plain string six
frontend four
    bind 0.0.0.0:@R@
    http-request return status 200 content-type text/plain string four
frontend own
    bind *:@Q@
    http-request return status 200 content-type text/plain string own
"""

    def who(host, port):
        c = http.client.HTTPConnection(host, port, timeout=60)
        c.request("GET", "/")
        return c.getresponse().read().decode()

    with serving(tmp_path, text, servers, ["P", "Q", "R"]) as programs:
        for name, own in programs:
            seen = {p: (who("127.0.0.1", own[p]), who("::1", own[p])) for p in "PQR"}
            assert seen == {"P": ("six", "six"), "Q": ("own", "six"), "R": ("four", "six")}, name


@needs_haproxy
def test_cookies_keep_a_client_at_its_server(tmp_path, servers):
    text = """
frontend web
    bind 127.0.0.1:@P@
    default_backend all
backend all
    cookie SRV insert indirect nocache
    server s1 127.0.0.1:@S1@ cookie one
    server s2 127.0.0.1:@S2@ cookie two
    server s3 127.0.0.1:@S3@ cookie three
"""
    with serving(tmp_path, text, servers, ["P"]) as programs:
        for name, own in programs:
            def visit(cookie=None):
                c = http.client.HTTPConnection("127.0.0.1", own["P"], timeout=60)
                c.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
                r = c.getresponse()
                r.read()
                c.close()
                return r.headers["x-server"], (r.headers.get("set-cookie") or "").split(";")[0]
            server, cookie = visit()
            assert cookie.startswith("SRV="), name
            assert {visit(cookie)[0] for _ in range(6)} == {server}, name
            drawn = set()  # each loop of the gateway draws for itself
            wait_until(lambda: drawn.add(visit()[0]) or len(drawn) == 3, f"{name}: strangers come to all of them")


@contextlib.contextmanager
def raw_server(answer=b""):
    """Says this to every client and keeps its connection; yields its port and a function that closes the door."""
    door, held = socket.create_server(("127.0.0.1", 0)), []

    def speak(client):
        with contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(answer)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                held.append(door.accept()[0])
                if answer:
                    threading.Thread(target=speak, args=[held[-1]], daemon=True).start()

    def close():
        with contextlib.suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        door.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield door.getsockname()[1], close
    finally:
        close()
        for s in held:
            s.close()


def sees_the_end(c):
    c.settimeout(60)
    with contextlib.suppress(ConnectionResetError):
        return c.recv(1) == b""
    return True


@needs_haproxy
def test_connections_of_a_server_that_is_marked_down_are_ended(tmp_path):
    text = ("listen a\n mode tcp\n timeout client 10m\n timeout server 10m\n bind 127.0.0.1:@P@\n"
            " server s 127.0.0.1:@S@ check port @C@ inter 200ms fall 2 on-marked-down shutdown-sessions\n")
    with raw_server(b"hello") as (port, _), raw_server() as (checked, fail), contextlib.ExitStack() as stack:
        with serving(tmp_path, text, {"S": port, "C": checked}, "P") as running:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", ports["P"]), 60)) for _, ports in running]
            for c in clients:
                c.sendall(b"hello")
                assert c.recv(5) == b"hello"
            fail()
            assert all(sees_the_end(c) for c in clients)


@needs_haproxy
def test_an_upgraded_connection_without_traffic_has_timeout_tunnel(tmp_path):
    """Said where haproxy wants it: in the backend."""
    text = ("frontend f\n timeout client 10m\n bind 127.0.0.1:@P@\n default_backend b\n"
            "backend b\n timeout server 10m\n timeout tunnel 1s\n server s 127.0.0.1:@S@\n")
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n"
    with raw_server(upgraded) as (port, _), contextlib.ExitStack() as stack:
        with serving(tmp_path, text, {"S": port}, "P") as running:
            for name, ports in running:
                c = stack.enter_context(socket.create_connection(("127.0.0.1", ports["P"]), 60))
                c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
                seen = b""
                while b"\r\n\r\n" not in seen:
                    assert (more := c.recv(4096)), (name, seen)
                    seen += more
                assert seen.startswith(b"HTTP/1.1 101 "), (name, seen)
                assert sees_the_end(c), name


@needs_haproxy
def test_a_connection_between_requests_has_timeout_client(tmp_path, servers):
    """Where neither timeout http-keep-alive nor http-request is said."""
    text = "frontend f\n timeout client 1s\n bind 127.0.0.1:@P@\n default_backend b\nbackend b\n server s 127.0.0.1:@S1@\n"
    with serving(tmp_path, text, servers, "P") as running:
        for name, ports in running:
            c = http.client.HTTPConnection("127.0.0.1", ports["P"], timeout=60)
            c.request("GET", "/")
            assert c.getresponse().read() and c.sock, name
            assert sees_the_end(c.sock), name


class Redis:
    """As much of redis as checks ask for; to "who" it tells its name."""

    def __init__(self, name, role):
        self.name, self.role, self.door = name, role, socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.speak, args=[self.door.accept()[0]], daemon=True).start()

    def speak(self, client):
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            for line in lines:
                said = {b"ping": "+PONG", b"who": self.name, b"quit": "+OK",
                        b"info replication": f"$11\r\nrole:{self.role}"}.get(line.strip().lower())
                if said:
                    client.sendall(said.encode() + b"\r\n")

    def close(self):
        with contextlib.suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()


@needs_haproxy
def test_checks_that_speak_find_the_primary(tmp_path):
    """The recipe that everybody has for redis: traffic goes where role:master is said."""
    text = ("listen a\n mode tcp\n bind 127.0.0.1:@P@\n option tcp-check\n tcp-check connect\n tcp-check send PING\\r\\n\n"
            " tcp-check expect string +PONG\n tcp-check send info\\ replication\\r\\n\n tcp-check expect string role:master\n"
            " tcp-check send QUIT\\r\\n\n tcp-check expect string +OK\n timeout check 1s\n"
            " default-server check inter 100ms fall 1 rise 1\n server r1 127.0.0.1:@A@\n server r2 127.0.0.1:@B@\n"
            "listen pings\n mode tcp\n bind 127.0.0.1:@Q@\n option redis-check\n server r 127.0.0.1:@A@ check inter 100ms\n")

    def who(port):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as c:
            c.sendall(b"who\r\n")
            return c.recv(100).strip().decode()

    a, b = Redis("r1", "slave"), Redis("r2", "master")
    try:
        with serving(tmp_path, text, {"A": a.port, "B": b.port}, "PQ") as running:
            for name, ports in running:
                wait_until(lambda: {who(ports["P"]) for _ in range(6)} == {"r2"}, f"{name}: the primary alone")
                assert who(ports["Q"]) == "r1", name
            b.role = "slave"
            for name, ports in running:
                wait_until(lambda: {who(ports["P"]) for _ in range(3)} <= {"", None}, f"{name}: nobody is")
            a.role = "master"
            for name, ports in running:
                wait_until(lambda: {who(ports["P"]) for _ in range(6)} == {"r1"}, f"{name}: the other one")
    finally:
        a.close()
        b.close()


@needs_haproxy
def test_rates_of_requests_are_limited(tmp_path, servers):
    """Counted by a table of its own, over both ports; a client with another key is another one."""
    text = ("frontend f\n bind 127.0.0.1:@P@\n bind 127.0.0.1:@Q@\n http-request track-sc0 hdr(X-Key) table keys\n"
            " acl fast sc_http_req_rate(0) gt 4\n http-request deny deny_status 429 if fast\n"
            " http-request deny if { src 192.0.2.1 } { path_beg /a }\n default_backend b\nbackend b\n server s 127.0.0.1:@S1@\n"
            "backend keys\n stick-table type string len 40 size 1k expire 1h store http_req_rate(1h)\n")
    with serving(tmp_path, text, servers, "PQ") as running:
        for name, ports in running:
            got = [ask(ports[p], path=path, headers=[("X-Key", "a")])["status"]
                   for p, path in [("P", "/"), ("Q", "/"), ("P", "/a"), ("Q", "/a"), ("P", "/"), ("Q", "/a"), ("P", "/")]]
            assert got == [200] * 4 + [429] * 3, name
            assert ask(ports["P"], headers=[("X-Key", "b")])["status"] == 200, name


# --- life ---

def test_sighup_reads_again_and_a_bad_file_changes_nothing(tmp_path, servers):
    cfg, port = tmp_path / "x.cfg", free_port()
    body = HEAD + f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:%d\n"
    cfg.write_text(body % servers["s1"])
    log = open(tmp_path / "log", "w")
    p = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", cfg], stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "SAMPAN_LOG": "json"})
    who = lambda: ask(port)["asked"][0]
    said = lambda: (tmp_path / "log").read_text()
    try:
        wait_until(lambda: can_connect(port), "the listener")
        assert who() == "s1"
        cfg.write_text(body % servers["s2"])
        p.send_signal(signal.SIGHUP)
        wait_until(lambda: who() == "s2", "the new file")
        cfg.write_text(body % servers["s3"] + " nonsense\n")
        p.send_signal(signal.SIGHUP)
        wait_until(lambda: "nonsense" in said() and "not taken" in said(), "the error")
        assert who() == "s2"
        cfg.unlink()
        p.send_signal(signal.SIGHUP)
        wait_until(lambda: "cannot be read" in said(), "the missing file")
        assert who() == "s2"
    finally:
        p.terminate()
        assert p.wait(30) == 0, said()


def test_the_documentation_names_every_keyword():
    import re
    source = (TOP / "src/gateway/haproxy/keywords.c").read_text()
    page = (TOP / "docs/gateway/from-haproxy.md").read_text()
    rows = re.findall(r'\b(?:RUN|NOTE|SILENT|REFUSE)\("([^"]+)"', source)
    assert len(rows) > 250
    assert [w for w in rows if f"`{w}`" not in page] == []


def test_the_log_names_no_port_that_the_file_does_not_have(tmp_path, servers):
    cfg, port = tmp_path / "x.cfg", free_port()
    cfg.write_text(f"listen a\n  mode http\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{servers['s1']}\n")
    with open(tmp_path / "log", "w+") as log:
        p = subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", cfg], stdout=log, stderr=log)
        try:
            line = wait_until(lambda: next((x for x in (tmp_path / "log").read_text().splitlines() if "gateway is ready" in x), None), "ready")
        finally:
            p.terminate()
            p.wait(30)
    assert str(cfg) in line and "http_port" not in line and "8443" not in line
