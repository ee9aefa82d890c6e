"""An API server that is cut off from etcd while others write: nobody who watches there is left in the dark."""
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
import pytest

from conftest import needs_root, wait_until
from test_etcd import CONFIGS, Api, Etcd, config

pytestmark = [needs_root, pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")]

NEAR, FAR = "10.99.8.1", "10.99.8.2"


class FarApi(Api):
    """In a network namespace of its own, whose way to etcd can be cut without a word."""

    def __init__(self, directory, etcd, netns):
        super().__init__(directory, etcd, "far")
        self.args[self.args.index("127.0.0.1")] = FAR
        self.args[self.args.index(etcd.url)] = f"http://{NEAR}:{etcd.port}"
        self.args = ["nsenter", f"--net=/run/netns/{netns}", *self.args]

    def url(self, path):
        return f"http://{FAR}:{self.port}{path}"


class NearEtcd(Etcd):
    def start(self):
        peer = f"http://127.0.0.1:{self.peer}"
        urls = f"{self.url},http://{NEAR}:{self.port}"
        self.process = subprocess.Popen(["etcd", "--data-dir", str(self.dir / "etcd"), "--listen-client-urls", urls, "--advertise-client-urls", urls,
                                         "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
                                        stdout=open(self.dir / "etcd.log", "a"), stderr=subprocess.STDOUT)


@pytest.fixture
def netns():
    name = f"cut{os.getpid()}"
    ip = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
    ip("netns", "add", name)
    try:
        ip("link", "add", "tocut", "type", "veth", "peer", "name", "toetcd", "netns", name)
        ip("address", "add", f"{NEAR}/24", "dev", "tocut")
        ip("link", "set", "tocut", "up")
        ip("-n", name, "address", "add", f"{FAR}/24", "dev", "toetcd")
        ip("-n", name, "link", "set", "toetcd", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", "tocut"])  # at once: the namespace takes it along only some time later
        ip("netns", "del", name)


def nft(netns, rules):
    subprocess.run(["ip", "netns", "exec", netns, "nft", "-f", "-"], input=rules, text=True, check=True)


def cut(netns, port):
    nft(netns, f"table inet cut {{ chain out {{ type filter hook output priority 0; tcp dport {port} drop; }}; "
               f"chain in {{ type filter hook input priority 0; tcp sport {port} drop; }}; }}")


class Watch:
    """One watch by HTTP/1.1; what it told, and whether it has ended."""

    def __init__(self, server, rev):
        self.events, self.over = [], False
        request = urllib.request.Request(server.url(f"{CONFIGS}?watch=1&resourceVersion={rev}&allowWatchBookmarks=true"), headers={"Authorization": "Bearer tok"})
        self.stream = urllib.request.urlopen(request, timeout=120)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        for line in self.stream:
            e = json.loads(line)
            self.events.append((e["type"], e["object"]["metadata"].get("name"), int(e["object"]["metadata"]["resourceVersion"])))
        self.over = True

    def names(self):
        """Of what was changed: bookmarks have none, and come when a minute is over."""
        return [name for kind, name, _ in self.events if kind != "BOOKMARK"]


class Http2Watch:
    """The same by HTTP/2: is the connection asked to leave?"""

    def __init__(self, server, rev):
        self.socket = socket.create_connection((FAR, server.port), 60)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.goaway = self.ended = False
        self.connection.initiate_connection()
        self.connection.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", f"{CONFIGS}?watch=1&resourceVersion={rev}"),
                                         ("authorization", "Bearer tok")], end_stream=True)
        self.socket.sendall(self.connection.data_to_send())
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        data = b""
        while more := self.socket.recv(65536):
            data += more
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                kind, flags = data[3], data[4]
                self.goaway |= kind == 7
                self.ended |= kind == 0 and flags & 1 == 1
                data = data[9 + int.from_bytes(data[:3], "big"):]
        self.socket.close()


def test_watches_do_not_stay_silent(tmp_path, netns):
    etcd = NearEtcd(tmp_path)
    near, far = Api(tmp_path, etcd, "near").start(), FarApi(tmp_path, etcd, netns).start()
    try:
        wait_until(lambda: near.ready() and far.ready(), "two API servers")
        assert near.call("POST", CONFIGS, config("before"))[0] == 201
        rev = far.call("GET", CONFIGS)[1]["metadata"]["resourceVersion"]
        here, there, modern = Watch(near, rev), Watch(far, rev), Http2Watch(far, rev)
        time.sleep(12)  # nothing is written: that alone ends nothing
        assert near.call("POST", CONFIGS, config("seen"))[0] == 201
        wait_until(lambda: "seen" in here.names() and "seen" in there.names(), "both tell it")
        cut(netns, etcd.port)
        assert near.call("POST", CONFIGS, config("unseen"))[0] == 201
        wait_until(lambda: "unseen" in here.names(), "the one that is not cut off tells it")
        wait_until(lambda: not far.ready(), "readyz says so")
        wait_until(lambda: there.over and modern.ended and modern.goaway, "its watches end, and clients are asked to connect anew")
        assert "unseen" not in there.names() and not here.over and near.ready()
        status, said = far.call("GET", f"{CONFIGS}?watch=1&resourceVersion={rev}")
        assert status == 503 and "cut off from the store" in said["message"] and far.headers["Retry-After"], said
        nft(netns, "delete table inet cut")
        wait_until(far.ready, "it is back")
        again = Watch(far, there.events[-1][2])
        wait_until(lambda: again.names() == ["unseen"], "the watch goes on where it ended")
        wait_until(lambda: far.call("POST", CONFIGS, config("after"))[0] == 201, "writes, too")
        wait_until(lambda: here.names() == ["seen", "unseen", "after"] and again.names() == ["unseen", "after"], "nothing twice, nothing missing")
    finally:
        near.stop()
        far.stop()
        etcd.stop()
