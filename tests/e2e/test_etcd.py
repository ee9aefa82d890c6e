"""Several API servers on one etcd: any of them answers for all."""
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from conftest import BINARY, free_port, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")


class Etcd:
    def __init__(self, directory, quota=16 << 20, flags=()):
        self.dir, self.port, self.peer, self.quota, self.flags = directory, free_port(), free_port(), quota, flags
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        peer = f"http://127.0.0.1:{self.peer}"
        self.process = subprocess.Popen(["etcd", "--data-dir", str(self.dir / "etcd"), "--listen-client-urls", self.url, "--advertise-client-urls",
                                         self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
                                         f"default={peer}", "--quota-backend-bytes", str(self.quota), *self.flags],
                                        stdout=open(self.dir / "etcd.log", "a"), stderr=subprocess.STDOUT)

    def ctl(self, *args):
        return subprocess.run(["etcdctl", "--endpoints", self.url, *args], env={**os.environ, "ETCDCTL_API": "3"}, check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def answers(self):
        try:
            self.ctl("endpoint", "health")
            return True
        except subprocess.CalledProcessError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()


class Api:
    """One `sampan apiserver`."""

    def __init__(self, directory, etcd, name="a", *flags):
        self.port, self.log = free_port(), directory / f"api-{name}.log"
        tokens = directory / "tokens"
        if not tokens.exists():  # once: another server may be reading it
            tokens.write_text('tok,admin,1,"system:masters"\n')
        self.args = [BINARY, "apiserver", "--plain-http", "--bind-address", "127.0.0.1", "--port", str(self.port), "--token-auth-file",
                     str(tokens), "--etcd-servers", etcd.url, *flags]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=open(self.log, "a"), stderr=subprocess.STDOUT)
        return self

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def call(self, method, path, body=None, timeout=60, headers=None):
        request = urllib.request.Request(self.url(path), method=method, data=body and json.dumps(body).encode(),
                                         headers={"Authorization": "Bearer tok", "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json", **(headers or {})})
        try:
            answer = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as e:
            answer = e
        text = answer.read().decode()
        self.headers = answer.headers
        return answer.status, json.loads(text) if text.startswith("{") else text

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0, self.log.read_text()


CONFIGS = "/api/v1/namespaces/default/configmaps"


def config(name, **data):
    return {"metadata": {"name": name}, "data": data}


@pytest.fixture
def etcd(tmp_path):
    e = Etcd(tmp_path)
    yield e
    e.stop()


@pytest.fixture
def servers(tmp_path, etcd):
    three = [Api(tmp_path, etcd, str(i)).start() for i in range(3)]
    wait_until(lambda: all(s.ready() for s in three), "three API servers")
    yield three
    for s in three:
        s.stop()


def test_what_one_server_acknowledged_every_other_one_reads(servers, etcd):
    for n in range(60):
        writer, reader = servers[n % 3], servers[(n + 1) % 3]
        status, made = writer.call("POST", CONFIGS, config(f"c{n}", k=str(n)))
        assert status == 201
        status, seen = reader.call("GET", f"{CONFIGS}/c{n}")
        assert status == 200 and seen == made
        made["data"]["k"] = "changed"
        status, changed = reader.call("PUT", f"{CONFIGS}/c{n}", made)
        assert status == 200, changed
        assert writer.call("PUT", f"{CONFIGS}/c{n}", made)[0] == 409  # its revision is gone, also here
        if n % 2:
            assert writer.call("DELETE", f"{CONFIGS}/c{n}")[0] == 200
        assert reader.call("GET", f"{CONFIGS}/c{n}")[0] == (404 if n % 2 else 200)
    lists = [s.call("GET", CONFIGS)[1] for s in servers]
    assert lists[0]["items"] == lists[1]["items"] == lists[2]["items"] and len(lists[0]["items"]) == 30
    # Readable where it lies, without what only a server can know.
    text = etcd.ctl("get", "/sampan/registry/core/configmaps/default/c0", "--print-value-only")
    assert json.loads(text)["data"] == {"k": "changed"} and json.loads(text)["metadata"]["resourceVersion"] == ""


def test_several_begin_at_once_on_an_empty_etcd(tmp_path, etcd):
    for n in range(3):
        several = [Api(tmp_path, etcd, f"{n}-{i}", "--etcd-prefix", f"/p{n}").start() for i in range(4)]
        wait_until(lambda: all(s.ready() for s in several), "all of them serve")
        for s in several:
            s.stop()


def test_a_watch_at_one_server_sees_the_writes_of_all(servers):
    start = servers[0].call("GET", CONFIGS)[1]["metadata"]["resourceVersion"]
    seen = [[], [], []]

    def follow(i):
        request = urllib.request.Request(f"http://127.0.0.1:{servers[i].port}{CONFIGS}?watch=1&resourceVersion={start}&timeoutSeconds=60",
                                         headers={"Authorization": "Bearer tok"})
        for line in urllib.request.urlopen(request, timeout=70):
            e = json.loads(line)
            seen[i].append((e["type"], e["object"]["metadata"]["name"], int(e["object"]["metadata"]["resourceVersion"])))
            if e["object"]["metadata"]["name"] == "last":
                return

    threads = [threading.Thread(target=follow, args=(i,), daemon=True) for i in range(3)]
    for t in threads:
        t.start()

    def write(i):
        for n in range(40):
            servers[i].call("POST", CONFIGS, config(f"w{i}-{n}"))
            if n % 3 == 0:
                servers[(i + 1) % 3].call("PATCH", f"{CONFIGS}/w{i}-{n}", {"data": {"x": "y"}})
            if n % 4 == 0:
                servers[(i + 2) % 3].call("DELETE", f"{CONFIGS}/w{i}-{n}")

    writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for t in writers:
        t.start()
    for t in writers:
        t.join()
    servers[1].call("POST", CONFIGS, config("last"))
    for t in threads:
        t.join(60)
    assert seen[0] == seen[1] == seen[2]
    revisions = [r for _, _, r in seen[0]]
    assert revisions == sorted(revisions) and len(revisions) >= 120 + 30


def test_concurrent_increments_lose_nothing(servers):
    servers[0].call("POST", CONFIGS, config("counter", n="0"))

    def count(s):
        done = 0
        while done < 15:
            _, obj = s.call("GET", f"{CONFIGS}/counter")
            obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
            done += s.call("PUT", f"{CONFIGS}/counter", obj)[0] == 200

    threads = [threading.Thread(target=count, args=(s,)) for s in servers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {s.call("GET", f"{CONFIGS}/counter")[1]["data"]["n"] for s in servers} == {"45"}


def test_without_a_quorum_it_says_so_and_comes_back(tmp_path, etcd):
    server = Api(tmp_path, etcd).start()
    wait_until(server.ready, "the API server")
    try:
        server.call("POST", CONFIGS, config("kept", k="v"))
        etcd.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not server.ready(), "readyz says so")
        status, said = server.call("GET", f"{CONFIGS}/kept")
        assert status == 503 and "etcd" in said["message"] and server.headers["Retry-After"], said
        status, said = server.call("POST", CONFIGS, config("late"))
        assert status == 503, said
        status, stale = server.call("GET", f"{CONFIGS}/kept?resourceVersion=0")
        assert status == 200 and stale["data"] == {"k": "v"} and "out of date" in server.headers["Warning"]
        etcd.process.send_signal(signal.SIGCONT)
        wait_until(server.ready, "it comes back")
        assert server.call("POST", CONFIGS, config("late"))[0] == 201
        # Killed and started again, with everything that was acknowledged.
        etcd.stop()
        etcd.start()
        wait_until(lambda: server.call("POST", CONFIGS, config("later"))[0] in (201, 409), "it comes back again")
        names = {o["metadata"]["name"] for o in server.call("GET", CONFIGS)[1]["items"]}
        assert names >= {"kept", "late", "later"}
    finally:
        etcd.process.send_signal(signal.SIGCONT)
        server.stop()


def test_a_watch_goes_on_behind_a_compaction(tmp_path, etcd):
    """The server misses changes while it is frozen, and etcd forgets them before it is back."""
    a, b = Api(tmp_path, etcd, "a").start(), Api(tmp_path, etcd, "b").start()
    wait_until(lambda: a.ready() and b.ready(), "two API servers")
    try:
        a.call("POST", CONFIGS, config("stays", v="1"))
        a.call("POST", CONFIGS, config("goes"))
        rev = b.call("GET", CONFIGS)[1]["metadata"]["resourceVersion"]
        seen, begun = [], threading.Event()

        def follow():
            request = urllib.request.Request(f"http://127.0.0.1:{b.port}{CONFIGS}?watch=1&resourceVersion={rev}", headers={"Authorization": "Bearer tok"})
            lines = urllib.request.urlopen(request, timeout=100)
            begun.set()
            for line in lines:
                e = json.loads(line)
                seen.append((e["type"], e["object"]["metadata"]["name"]))

        threading.Thread(target=follow, daemon=True).start()
        assert begun.wait(60)  # it is the watch that lives through this, not one that is asked for behind it
        b.process.send_signal(signal.SIGSTOP)
        etcd.stop()  # so that no event waits in b's socket
        etcd.start()
        wait_until(lambda: a.call("PATCH", f"{CONFIGS}/stays", {"data": {"v": "2"}})[0] == 200, "a is back")
        a.call("DELETE", f"{CONFIGS}/goes")
        _, new = a.call("POST", CONFIGS, config("new"))
        etcd.ctl("compact", new["metadata"]["resourceVersion"])
        b.process.send_signal(signal.SIGCONT)
        wait_until(lambda: {("MODIFIED", "stays"), ("DELETED", "goes"), ("ADDED", "new")} <= set(seen), "the watch ends in the right state")
        assert b.call("GET", CONFIGS)[1]["items"] == a.call("GET", CONFIGS)[1]["items"]
    finally:
        b.process.send_signal(signal.SIGCONT)
        a.stop()
        b.stop()


def test_a_full_etcd_is_explained(tmp_path, etcd):
    server = Api(tmp_path, etcd).start()
    wait_until(server.ready, "the API server")
    try:
        big = "x" * 1000000
        status, said = 201, None
        for n in range(40):
            status, said = server.call("POST", CONFIGS, config(f"big{n}", k=big))
            if status != 201:
                break
        assert status == 503 and "etcd is full" in said["message"] and "alarm disarm" in said["message"], said
        assert server.call("GET", f"{CONFIGS}/big0")[0] == 200
    finally:
        server.stop()


@pytest.mark.parametrize("flags,words", [
    (["--etcd-prefix", "x"], "has to begin with a slash"),
    (["--store", "mysql://x"], "sqlite:FILE or etcd://HOST:PORT"),
    (["--etcd-cafile", "/nonexistent"], "--etcd-cafile"),
    (["--etcd-certfile", "/etc/hostname"], "--etcd-certfile and --etcd-keyfile go together"),
])
def test_flags_that_cannot_be(tmp_path, etcd, flags, words):
    done = subprocess.run(Api(tmp_path, etcd, "x", *flags).args, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and words in done.stderr, done.stderr
