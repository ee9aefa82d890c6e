"""Towards an etcd with certificates and users, and towards everything that is not as it should be: each time one sentence that
says which endpoint, what was wrong and what to do; nothing is lost; and what was mended is used without a restart."""
import concurrent.futures
import glob
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

import h2.config
import h2.connection
import h2.events
import pytest

from conftest import BINARY, free_port, wait_until
from test_cluster import endpoints
from test_etcd import CONFIGS, Api, Etcd, config

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")

FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


class Certificates:
    """A CA and what it signs."""

    def __init__(self, directory, name):
        self.dir = directory
        self.crt, self.key = directory / f"{name}.crt", directory / f"{name}.key"
        self.run("openssl", "req", "-x509", *self.ec, "-days", "30", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.crt)

    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    @staticmethod
    def run(*words):
        subprocess.run([str(w) for w in words], check=True, capture_output=True, timeout=60)

    def pair(self, name, days=30, usage="clientAuth", san=None):
        key, request, crt, extensions = (self.dir / f"{name}.{s}" for s in ("key", "csr", "crt", "ext"))
        self.run("openssl", "req", *self.ec, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions.write_text(f"extendedKeyUsage={usage}\n" + (f"subjectAltName={san}\n" if san else ""))
        self.run("openssl", "x509", "-req", "-in", request, "-days", days, "-extfile", extensions, "-out", crt, "-CA", self.crt, "-CAkey", self.key,
                 "-CAcreateserial")
        return crt, key


class TlsEtcd(Etcd):
    """etcd that takes only clients with a certificate."""

    def __init__(self, directory, ca, pair, *more):
        self.dir, self.port, self.peer = directory, free_port(), free_port()
        self.ca, self.pair, self.more = ca, pair, more
        self.url = f"https://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        peer = f"http://127.0.0.1:{self.peer}"
        args = ["etcd", "--name", "m", "--data-dir", self.dir / f"etcd-{self.port}", "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"m={peer}", "--cert-file", self.pair[0],
                "--key-file", self.pair[1], "--trusted-ca-file", self.ca.crt, "--client-cert-auth", *self.more]
        self.process = subprocess.Popen([str(a) for a in args], stdout=open(self.dir / f"etcd-{self.port}.log", "a"), stderr=subprocess.STDOUT)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def ctl(self, *args):
        return super().ctl("--cacert", str(self.ca.crt), "--cert", str(self.pair[0]), "--key", str(self.pair[1]), *args)


class World:
    def __init__(self, directory):
        self.dir = directory
        self.ca, self.other_ca = Certificates(directory, "ca"), Certificates(directory, "other")
        self.server = self.ca.pair("server", usage="serverAuth,clientAuth", san="IP:127.0.0.1")
        self.client = self.ca.pair("client")
        self.etcd = TlsEtcd(directory, self.ca, self.server)

    def flags(self, ca=None, pair=None):
        crt, key = pair or self.client
        return ["--etcd-cafile", str(ca or self.ca.crt), "--etcd-certfile", str(crt), "--etcd-keyfile", str(key)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("certificates"))
    wait_until(w.etcd.answers, "etcd with TLS")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # it tries for ten seconds: asked for now, looked at in the end
        w.without_tls = pool.submit(refusal, w.dir, w.etcd.url.replace("https", "http"))
        yield w
    w.etcd.stop()


class Other:
    """For Api: an address in place of an etcd."""

    def __init__(self, url):
        self.url = url


def refusal(directory, url, *flags):
    """The last that an API server says that cannot start with this."""
    done = subprocess.run(Api(directory, Other(url), "x", *flags).args, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


def all_refuse(directory, cases):
    """cases: name → (words, url, *flags); side by side."""
    Api(directory, Other(""))  # its file of tokens
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        said = {name: pool.submit(refusal, directory, *case[1:]) for name, case in cases.items()}
        for name, (words, url, *_) in cases.items():
            line = said[name].result()
            assert words in line and (url in line or "has ended" in line), (name, line)


def test_certificates_that_do_not_fit(world, tmp_path):
    url = world.etcd.url
    wrong_name = TlsEtcd(tmp_path, world.ca, world.ca.pair("wrong-name", usage="serverAuth,clientAuth", san="DNS:etcd.example"))
    plain = Etcd(tmp_path)
    try:
        wait_until(plain.answers, "an etcd without TLS")
        wait_until(wrong_name.listens, "one with another name")
        all_refuse(tmp_path, {
            "wrong CA": ("--etcd-cafile has to be the CA", url, *world.flags(ca=world.other_ca.crt)),
            "none": ("etcd does not take our certificate", url, "--etcd-cafile", str(world.ca.crt)),
            "foreign": ("etcd does not take our certificate", url, *world.flags(pair=world.other_ca.pair("foreign"))),
            "ended": ("has ended: make a new one, or look at the clock", url, *world.flags(pair=world.ca.pair("ended", days=-1))),
            "name": ("is for other names", wrong_name.url, *world.flags()),
            "https to http": ("is it http://?", plain.url.replace("http", "https"), *world.flags()),
        })
    finally:
        wrong_name.stop()
        plain.stop()


# --- what is not etcd ---

def listener(serve):
    """A server in a thread: serve(socket) for each connection; its port."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(20)

    def accept():
        while True:
            c, _ = s.accept()
            threading.Thread(target=guarded, args=(c,), daemon=True).start()

    def guarded(c):
        try:
            serve(c)
        except OSError:
            pass
        finally:
            c.close()

    threading.Thread(target=accept, daemon=True).start()
    return s.getsockname()[1]


def says(words):
    def serve(c):
        c.recv(4096)
        c.sendall(words)
        c.shutdown(socket.SHUT_WR)
        c.recv(4096)
    return serve


def http2(answer):
    """answer(connection, stream, path) to each request."""
    def serve(c):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        c.sendall(connection.data_to_send())
        while data := c.recv(65536):
            for e in connection.receive_data(data):
                if isinstance(e, h2.events.RequestReceived):
                    answer(connection, e.stream_id, dict(e.headers).get(b":path", b"").decode())
            c.sendall(connection.data_to_send())
    return serve


def grpc(status="0", message=None, words=""):
    def answer(connection, stream, path):
        head, end = [(":status", "200"), ("content-type", "application/grpc")], [("grpc-status", status), ("grpc-message", words)]
        body = message(path) if callable(message) else message
        if body is None:
            connection.send_headers(stream, head + end, end_stream=True)
            return
        connection.send_headers(stream, head)
        connection.send_data(stream, b"\0" + len(body).to_bytes(4, "big") + body)
        connection.send_headers(stream, end, end_stream=True)
    return answer


def status_of(version, cluster=7):
    return bytes([0x0A, 2, 0x08, cluster, 0x12, len(version)]) + version.encode()


def no_grpc(connection, stream, path):
    connection.send_headers(stream, [(":status", "404"), ("content-type", "text/plain")])
    connection.send_data(stream, b"no such page", end_stream=True)


def test_what_is_not_etcd(tmp_path):
    not_etcd = "this is not etcd 3.4 or newer: look at the address"
    well_met = lambda path: status_of("3.5.9") if path.endswith("/Status") else b""  # noqa: E731
    servers = {
        "HTTP/1.1": (says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), 'begins "HTTP/1.1 400 Bad Request'),
        "SSH": (says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), 'begins "SSH-2.0-OpenSSH_9.2p1'),
        "noise": (says(bytes(range(256)) * 20), "does not speak HTTP/2"),
        "HTTP/2 without gRPC": (http2(no_grpc), "HTTP status 404 in place of gRPC"),
        "another service": (http2(grpc("12", words="unknown service etcdserverpb.KV")), "unknown service etcdserverpb.KV"),
        "no protobuf": (http2(grpc(message=b"\xff\xff\xff\xff")), "an answer that is not a status"),
        "nothing in it": (http2(grpc(message=b"")), "an answer that is not a status"),
        "too old": (http2(grpc(message=status_of("3.3.27"))), "etcd 3.3.27 is too old"),
        "another version's KV": (http2(lambda c, s, path: grpc(message=status_of("9.0.0"))(c, s, path) if path.endswith("/Status") else
                                       grpc("12", words="unknown method Range")(c, s, path)), "unknown method Range"),
        "answers of another kind": (http2(grpc(message=well_met)), "of etcd (" + not_etcd),
    }
    cases = {}
    for name, (serve, words) in servers.items():
        cases[name] = (words, f"http://127.0.0.1:{listener(serve)}")
    all_refuse(tmp_path, cases)
    said = refusal(tmp_path, cases["SSH"][1])
    assert not_etcd in said, said


def test_one_bad_endpoint_of_two_is_passed_over(world, tmp_path):
    bad = f"http://127.0.0.1:{listener(http2(no_grpc))}"
    server = Api(tmp_path, Other(f"{bad},{world.etcd.url}"), "a", *world.flags(), "--etcd-prefix", "/two").start()
    try:
        wait_until(server.ready, "the API server")
        assert server.call("POST", CONFIGS, config("c"))[0] == 201
        wait_until(lambda: f'"endpoint":"{bad}","why":"HTTP status 404 in place of gRPC' in server.log.read_text(), "what is wrong with the other")
    finally:
        server.stop()


def test_another_cluster_is_not_written_to(tmp_path):
    """Two endpoints that are not of one cluster: what was written to the second one would be lost."""
    (tmp_path / "other").mkdir()
    one, other = Etcd(tmp_path), Etcd(tmp_path / "other")
    wait_until(lambda: one.answers() and other.answers(), "two etcds")  # else the first endpoint is left before it is used
    server = Api(tmp_path, Other(f"{one.url},{other.url}")).start()
    try:
        wait_until(server.ready, "the API server")
        assert server.call("POST", CONFIGS, config("kept"))[0] == 201
        one.stop()
        wait_until(lambda: not server.ready(), "readyz says so")
        status, said = server.call("POST", CONFIGS, config("late"))
        assert status == 503, said
        wait_until(lambda: "this is another etcd cluster" in server.log.read_text(), "why it does not go there")
        assert json.loads(other.ctl("get", "--prefix", "/", "-w", "json")).get("kvs") is None
        one.start()
        wait_until(server.ready, "it is back")
        assert server.call("POST", CONFIGS, config("late"))[0] == 201
        assert {o["metadata"]["name"] for o in server.call("GET", CONFIGS)[1]["items"]} >= {"kept", "late"}
    finally:
        one.stop()
        other.stop()
        server.stop()


# --- mended ---

def follow(server, seen):
    """Names of config maps as a watch tells them; starts it again when it ends."""
    def run():
        request = urllib.request.Request(server.url(f"{CONFIGS}?watch=1"), headers={"Authorization": "Bearer tok"})
        while True:
            try:
                for line in urllib.request.urlopen(request, timeout=100):
                    seen.append(json.loads(line)["object"]["metadata"].get("name"))
            except OSError:
                if server.process.poll() is not None:
                    return
            time.sleep(0.1)
    threading.Thread(target=run, daemon=True).start()


def test_renewed_certificates_need_no_restart(world, tmp_path):
    """etcd moves to another CA; the API server says what is wrong, and goes on with the new files."""
    etcd = TlsEtcd(tmp_path, world.ca, world.server)
    files = [tmp_path / n for n in ("ca.pem", "client.pem", "client-key.pem")]

    def put(ca, pair):
        for source, target in zip((ca.crt, *pair), files):
            shutil.copy(source, target.with_suffix(".new"))
            os.replace(target.with_suffix(".new"), target)

    put(world.ca, world.client)
    server = Api(tmp_path, etcd, "a", *world.flags(ca=files[0], pair=files[1:])).start()
    seen = []
    try:
        wait_until(server.ready, "the API server")
        follow(server, seen)
        assert server.call("POST", CONFIGS, config("before"))[0] == 201
        etcd.stop()
        etcd.ca, etcd.pair = world.other_ca, world.other_ca.pair("server2", usage="serverAuth,clientAuth", san="IP:127.0.0.1")
        etcd.start()
        wait_until(lambda: "--etcd-cafile has to be the CA" in server.log.read_text(), "it says what is wrong")
        wait_until(lambda: not server.ready(), "readyz says so")
        status, said = server.call("POST", CONFIGS, config("meanwhile"))
        assert status == 503 and "--etcd-cafile" in said["message"] and etcd.url in said["message"], said
        put(world.other_ca, world.client)  # the CA first: now etcd does not like ours
        wait_until(lambda: "etcd does not take our certificate" in server.log.read_text(), "and what is next")
        put(world.other_ca, world.other_ca.pair("client2"))
        wait_until(server.ready, "it is used")
        assert server.call("POST", CONFIGS, config("after"))[0] == 201
        wait_until(lambda: {"before", "after"} <= set(seen), "the watch goes on")
        wait_until(lambda: members(server)[0]["healthy"], "the members are asked with the new files, too")
    finally:
        etcd.stop()
        server.stop()


# --- how the members are ---

def members(server):
    status, said = server.call("GET", "/sampan/v1/cluster")
    assert status == 200, said
    return said["members"] or [{"healthy": False}]


def test_an_end_that_is_near_is_said_once(world, tmp_path):
    """Each look at the members makes clients; the certificate is the same."""
    server = Api(tmp_path, world.etcd, "a", *world.flags(pair=world.ca.pair("soon", days=5)), "--etcd-prefix", "/soon").start()
    try:
        wait_until(server.ready, "the API server")
        for _ in range(3):
            assert members(server)[0]["healthy"]
        assert server.log.read_text().count("the client certificate for etcd ends soon") == 1
    finally:
        server.stop()


def pipe(target, pause_s):
    """To the port target() says; the first bytes of each connection wait. Its own port."""
    def carry(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        b.close()

    def serve(c):
        with socket.create_connection(("127.0.0.1", target())) as out:
            time.sleep(pause_s)
            threading.Thread(target=carry, args=(out, c), daemon=True).start()
            carry(c, out)
    return listener(serve)


def test_the_latency_is_of_an_answer(world, tmp_path):
    """Not of the connection, of TLS and of the greeting, which are slow here."""
    at, pause = [], 1
    slow = pipe(lambda: at[0].port, pause)
    etcd = TlsEtcd(tmp_path, world.ca, world.server, f"--advertise-client-urls=https://127.0.0.1:{slow}")
    at.append(etcd)
    server = Api(tmp_path, etcd, "a", *world.flags()).start()
    try:
        wait_until(server.ready, "the API server")

        def look():
            began = time.monotonic()
            one = members(server)[0]
            return one["healthy"] and (one, time.monotonic() - began)
        one, took = wait_until(look, "a machine that is slow, too, may need more than one look")
        assert str(slow) in one["clientURLs"][0], one
        assert took >= pause and 0 < one["latencyMicroseconds"] <= (took - pause) * 1e6, (one, took)
    finally:
        etcd.stop()
        server.stop()


# --- users ---

def test_users_and_their_tokens(world, tmp_path):
    """Tokens of one second; a user that is made, bound, robbed of its role and given it back."""
    etcd = TlsEtcd(tmp_path, world.ca, world.ca.pair("root", usage="serverAuth,clientAuth", san="IP:127.0.0.1"), "--auth-token-ttl", "1")
    password = tmp_path / "password"
    password.write_text("secret\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    nobody = world.ca.pair("nobody")
    as_sampan = ["--etcd-user", "sampan", "--etcd-password-file", str(password)]
    server = Api(tmp_path, etcd, "a", *world.flags(pair=nobody), *as_sampan)
    seen = []
    try:
        wait_until(etcd.answers, "etcd")
        for words in ("user add root:toor", "user grant-role root root", "user add sampan:secret", "role add sampan",
                      "role grant-permission sampan readwrite --prefix=true /sampan", "user grant-role sampan sampan", "user add poor:secret",
                      "auth enable"):
            etcd.ctl(*words.split())
        all_refuse(tmp_path, {
            "wrong password": ("cannot sign in as sampan", etcd.url, *world.flags(pair=nobody), "--etcd-user", "sampan", "--etcd-password-file", str(wrong)),
            "no role": ("needs a role that may read and write all below the prefix", etcd.url, *world.flags(pair=nobody), "--etcd-user", "poor",
                        "--etcd-password-file", str(password)),
            "unknown": ("needs a role that may read and write", etcd.url, *world.flags(pair=nobody)),
        })
        server.start()
        wait_until(server.ready, "the API server signs in")
        follow(server, seen)
        for n in range(3):  # each with a token that has ended meanwhile
            assert server.call("POST", CONFIGS, config(f"t{n}"))[0] == 201
            time.sleep(1.2)
        etcd.stop()  # tokens are in its memory only
        etcd.start()
        wait_until(lambda: server.ready() and server.call("POST", CONFIGS, config("restarted"))[0] in (201, 409), "it signs in again")
        etcd.ctl("user", "revoke-role", "sampan", "sampan")
        wait_until(lambda: not server.ready(), "readyz says so")
        status, said = server.call("POST", CONFIGS, config("robbed"))
        assert status == 503 and "needs a role" in said["message"], said
        etcd.ctl("user", "grant-role", "sampan", "sampan")
        wait_until(server.ready, "it is back")
        etcd.ctl("auth", "disable")
        wait_until(lambda: server.call("POST", CONFIGS, config("free"))[0] in (201, 409), "users are not needed any more")
        wait_until(server.ready, "readyz says so")
        etcd.ctl("auth", "enable")
        wait_until(lambda: server.call("POST", CONFIGS, config("bound"))[0] in (201, 409), "and are again")
        wait_until(lambda: {f"t{n}" for n in range(3)} | {"restarted", "free", "bound"} <= set(seen), "the watch has seen everything")
    finally:
        etcd.stop()
        server.stop()


# --- whose keys ---

def test_a_prefix_of_others(world, tmp_path):
    put = lambda k, v: world.etcd.ctl("put", k, v)  # noqa: E731
    put("/theirs/registry/pods/x", "protobuf")
    put("/newer/sampan", '{"store":"sampan","version":2}')
    put("/mixed/sampan", '{"store":"sampan","version":1}')
    put("/mixed/registry/core/pods/x", "k8s:protobuf")
    before = world.etcd.ctl("get", "--prefix", "/")
    all_refuse(tmp_path, {
        "theirs": ("1 keys below /theirs/registry/ that are not Sampan's: give another --etcd-prefix", world.etcd.url, *world.flags(), "--etcd-prefix", "/theirs"),
        "newer": ("belongs to another program or a newer Sampan", world.etcd.url, *world.flags(), "--etcd-prefix", "/newer"),
        "mixed": ("the key /mixed/registry/core/pods/x in etcd at", world.etcd.url, *world.flags(), "--etcd-prefix", "/mixed"),
    })
    assert world.etcd.ctl("get", "--prefix", "/") == before


# --- full ---

def test_a_full_etcd_is_read_and_comes_back(tmp_path):
    etcd = Etcd(tmp_path, quota=8 << 20)
    server, seen = Api(tmp_path, etcd).start(), []
    try:
        wait_until(server.ready, "the API server")
        follow(server, seen)
        assert server.call("POST", CONFIGS, config("small", k="v"))[0] == 201
        assert server.call("POST", CONFIGS, config("big"))[0] == 201
        status, n, said = 200, 0, None
        while status == 200 and n < 40:  # what is superseded fills it
            n += 1
            status, said = server.call("PATCH", f"{CONFIGS}/big", {"data": {"k": str(n) * 400000, "n": str(n)}})
        assert status == 503 and "etcd is full" in said["message"] and "alarm disarm" in said["message"] and etcd.url in said["message"], said
        assert server.headers["Retry-After"]
        there = server.call("GET", f"{CONFIGS}/big")[1]["data"]["n"]
        assert there == str(n - 1)  # though etcd may make the write that raises the alarm: that one is told to be made
        for _ in range(3):  # as long as it takes
            assert server.call("GET", f"{CONFIGS}/big")[1]["data"]["n"] == there and server.ready()
            assert server.call("PATCH", f"{CONFIGS}/small", {"data": {"k": "w"}})[0] == 503
            assert server.call("DELETE", f"{CONFIGS}/small")[0] == 503
            time.sleep(0.3)
        revision = json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]
        etcd.ctl("compact", str(revision), "--physical")
        etcd.ctl("defrag")
        etcd.ctl("alarm", "disarm")
        assert server.call("PATCH", f"{CONFIGS}/small", {"data": {"k": "w"}})[0] == 200
        assert server.call("POST", CONFIGS, config("after"))[0] == 201
        assert server.call("GET", f"{CONFIGS}/big")[1]["data"]["n"] == there
        wait_until(lambda: "after" in seen, "the watch goes on")
    finally:
        etcd.stop()
        server.stop()


# --- clocks ---

def jump(rc, by):
    rc.write_text(by)


@pytest.mark.skipif(not FAKETIME, reason="needs libfaketime")
def test_a_clock_that_jumps(tmp_path):
    """An API server and the controllers that act live through jumps of days; nobody is taken for dead because of them."""
    etcd, rc = Etcd(tmp_path), tmp_path / "faketime"
    asan = [line.split()[2] for line in subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout.splitlines() if "libasan" in line]
    jumping = {**os.environ, "LD_PRELOAD": ":".join(asan + FAKETIME[:1]), "FAKETIME_TIMESTAMP_FILE": str(rc), "FAKETIME_NO_CACHE": "1",
               "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    jump(rc, "+0")
    steady = Api(tmp_path, etcd, "0", "--advertise-address", "192.0.2.10").start()
    shaken = Api(tmp_path, etcd, "1", "--advertise-address", "192.0.2.11")
    shaken.process = subprocess.Popen(shaken.args, stdout=open(shaken.log, "a"), stderr=subprocess.STDOUT, env=jumping)
    kubeconfig, acting, seen = tmp_path / "conf", [], []
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [{"name": "x", "cluster": {
        "server": steady.url("")}}], "users": [{"name": "x", "user": {"token": "tok"}}], "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}))
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/sampan-controllers"

    def controllers(name, env):
        acting.append(subprocess.Popen([BINARY, "controllers", "--kubeconfig", str(kubeconfig), "--leader-elect", "--leader-elect-lease-duration", "6s",
                                        "--leader-elect-renew-deadline", "5s", "--leader-elect-retry-period", "1s"],
                                       stdout=open(tmp_path / f"{name}.log", "a"), stderr=subprocess.STDOUT, env=env))

    def spec():
        return steady.call("GET", lease)[1].get("spec", {})

    try:
        wait_until(lambda: steady.ready() and shaken.ready(), "two API servers")
        wait_until(lambda: len(endpoints(steady)) == 2, "both are endpoints")
        follow(steady, seen)
        follow(shaken, seen)
        controllers("one", jumping)
        leader = wait_until(lambda: spec().get("holderIdentity"), "it leads")
        controllers("two", os.environ)
        transitions = spec().get("leaseTransitions")
        for n, by in enumerate(["+3d", "-400d", "+0"]):
            jump(rc, by)
            status, made = shaken.call("POST", CONFIGS, config(f"j{n}"))
            assert status == 201, made
            assert steady.call("GET", f"{CONFIGS}/j{n}")[1] == made
            renewed = spec()["renewTime"]
            wait_until(lambda: spec()["renewTime"] != renewed, "it renews by its own clock")
            assert spec()["holderIdentity"] == leader and spec().get("leaseTransitions") == transitions
            assert shaken.ready() and steady.ready() and len(endpoints(steady)) == 2
        time.sleep(7)  # longer than the lease
        assert spec()["holderIdentity"] == leader and spec().get("leaseTransitions") == transitions
        born = [steady.call("GET", f"{CONFIGS}/j{n}")[1]["metadata"]["creationTimestamp"] for n in range(3)]
        assert born[1] < born[2] < born[0]  # the clock did jump
        wait_until(lambda: all(seen.count(f"j{n}") == 2 for n in range(3)), "both watches have seen everything once")
        assert acting[0].poll() is None and acting[1].poll() is None
    finally:
        for p in acting:
            p.terminate()
            p.wait(30)
        steady.stop()
        shaken.stop()
        etcd.stop()


def test_no_tls_towards_a_port_that_wants_it(world):
    said = world.without_tls.result()
    assert "hung up without a word" in said and "is it https://?" in said and world.etcd.url.replace("https", "http") in said, said


# --- commands ---

def sampan_run(*words, code=0):
    done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr or done.stdout
    return done.stdout + done.stderr


def backed_up(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return lines[0]["revision"], {line["key"].rsplit("/", 1)[1]: line["value"] for line in lines[1:-1] if "/configmaps/default/" in line["key"]}


def test_moving_and_backing_up_with_certificates(world, tmp_path):
    """From an etcd with certificates into a file, and back into another prefix; and the state before somebody's mistake."""
    target = f"etcds://127.0.0.1:{world.etcd.port}"
    login = world.flags()
    nothing = sampan_run("backup", "create", tmp_path / "no", "--store", f"{target}/slip", *login, code=1)
    assert 'no store of Sampan below the prefix "/slip"' in nothing and world.etcd.ctl("get", "--prefix", "/slip") == ""
    stranger = sampan_run("backup", "create", tmp_path / "no", "--store", f"{target}/moving", "--etcd-cafile", world.ca.crt, code=1)
    assert "etcd does not take our certificate" in stranger
    server = Api(tmp_path, world.etcd, "a", *login, "--etcd-prefix", "/moving").start()
    try:
        wait_until(server.ready, "the API server")
        for n in range(20):
            assert server.call("POST", CONFIGS, config(f"c{n}", n=str(n)))[0] == 201
        _, before = server.call("GET", CONFIGS)
        good = int(before["metadata"]["resourceVersion"])
        assert server.call("DELETE", CONFIGS)[0] == 200  # the mistake
        assert server.call("POST", CONFIGS, config("later"))[0] == 201
        kubeconfig = tmp_path / "conf"
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [{"name": "x", "cluster": {
            "server": server.url("")}}], "users": [{"name": "x", "user": {"token": "tok"}}], "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}))
        sampan_run("backup", "create", tmp_path / "served", "--kubeconfig", kubeconfig, "--revision", good)
        assert "no longer known" in sampan_run("backup", "create", tmp_path / "no", "--kubeconfig", kubeconfig, "--revision", 1, code=1)
        sampan_run("backup", "create", tmp_path / "then", "--store", f"{target}/moving", *login, "--revision", good)
    finally:
        server.stop()
    revision, then = backed_up(tmp_path / "then")
    assert revision == good and {o["metadata"]["name"]: o["metadata"]["uid"] for o in before["items"]} == {k: v["metadata"]["uid"] for k, v in then.items()}
    assert (revision, then) == backed_up(tmp_path / "served")
    assert "etcd has not come so far" in sampan_run("backup", "create", tmp_path / "no", "--store", f"{target}/moving", *login, "--revision", 10**9, code=1)
    assert "--revision is for etcd" in sampan_run("backup", "create", tmp_path / "no", "--store", f"sqlite:{tmp_path}/then", "--revision", 5, code=1)
    sampan_run("backup", "restore", tmp_path / "then", "--store", f"{target}/back", *login)
    sampan_run("store", "migrate", "--from", f"{target}/back", "--to", f"sqlite:{tmp_path}/back.db", *login)
    sampan_run("store", "migrate", "--from", f"sqlite:{tmp_path}/back.db", "--to", f"{target}/again", *login)
    sampan_run("backup", "create", tmp_path / "end", "--store", f"{target}/again", *login)
    assert backed_up(tmp_path / "end")[1] == then
    world.etcd.ctl("compact", str(revision + 20))
    assert "etcd has forgotten that state" in sampan_run("backup", "create", tmp_path / "no", "--store", f"{target}/moving", *login, "--revision", good, code=1)
