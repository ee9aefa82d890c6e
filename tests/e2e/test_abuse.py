"""Clients that behave badly: the server stays up, serves the others and does not grow."""
import http.client
import json
import socket
import ssl
import struct
import time

import pytest

from conftest import PATIENCE, Sampan, wait_until

BIG, COUNT = 1_000_000, 20  # 20 MB of ConfigMaps
PATH = "/api/v1/namespaces/default/configmaps"
LIST_FORM = "GET /api/v1/configmaps{} HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def victim(workdir):
    s = Sampan(workdir / "victim", roles="apiserver").start()
    for i in range(COUNT):
        assert s.api("POST", PATH, {"metadata": {"name": f"big{i:02}"}, "data": {"a": "x" * BIG}})[0] == 201
    yield s
    assert s.stop() == 0, s.logs()


def connect(s, alpn="http/1.1", anonymous=False, small_window=False):
    context = ssl._create_unverified_context() if anonymous else s._tls()
    context.set_alpn_protocols([alpn])
    raw = socket.socket()
    if small_window:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", s.api_port))
    raw.settimeout(PATIENCE)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


def resident_mb(s):
    with open(f"/proc/{s.role_pids()['apiserver']}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) // 1024


def serves_others(s):
    """Those who do harm never stop by themselves: whoever waited for them would wait longer than this."""
    assert s.api("GET", f"{PATH}?limit=1")[0] == 200
    assert s.api("POST", f"{PATH}?dryRun=All", {"metadata": {"name": "other"}})[0] == 201


@pytest.mark.parametrize("query", ["", "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"])
def test_readers_that_never_read(victim, query):
    """40 of them ask for 20 MB each: what waits for them is not copied."""
    before = resident_mb(victim)
    clients = []
    for _ in range(40):
        clients.append(connect(victim, small_window=True))
        clients[-1].sendall(LIST_FORM.format(query).encode())
    time.sleep(1)
    serves_others(victim)
    grown = resident_mb(victim) - before
    for c in clients:
        c.close()
    assert grown < 400, f"{grown} MB more"


def test_a_slow_reader_gets_all_of_a_long_list(victim):
    client = connect(victim, small_window=True)
    client.sendall(LIST_FORM.format("").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
    answer = http.client.HTTPResponse(client)
    answer.begin()
    time.sleep(0.5)
    body = answer.read()
    assert len(body) == int(answer.headers["content-length"])
    assert [i["metadata"]["name"] for i in json.loads(body)["items"]][:COUNT] == [f"big{i:02}" for i in range(COUNT)]


def test_a_long_initial_state_is_followed_by_events(victim):
    """More than a watcher may have waiting, and changes while it is told: neither cuts it off."""
    events = victim.watch("/api/v1/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                          "&allowWatchBookmarks=true&timeoutSeconds=60")
    assert next(events)["type"] == "ADDED"
    status, changed = victim.api("PATCH", f"{PATH}/big07", {"data": {"b": str(time.time())}},
                                 headers={"Content-Type": "application/merge-patch+json"})
    assert status == 200
    seen = []
    for event in events:
        seen.append((event["type"], event["object"]["metadata"].get("name")))
        if event["type"] == "MODIFIED":
            break
    assert seen.count(("BOOKMARK", None)) == 1 and seen.index(("BOOKMARK", None)) == len(seen) - 2
    assert seen[-1] == ("MODIFIED", "big07")
    assert event["object"]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def fields(**pairs):
    pairs = {":" + k: v.encode() for k, v in pairs.items()}
    return b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v for k, v in pairs.items())


def test_rapid_reset(victim):
    """CVE-2023-44487: streams opened and cancelled in one breath."""
    head = fields(method="GET", path="/api/v1/configmaps", scheme="https", authority="x")
    for _ in range(5):
        client = connect(victim, alpn="h2")
        try:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            for first in range(1, 4001, 200):
                client.sendall(b"".join(frame(1, 5, i, head) + frame(3, 0, i, struct.pack(">I", 8))
                                        for i in range(first, first + 200, 2)))
        except OSError:
            pass  # cut off, as it should be
        client.close()
    serves_others(victim)


def test_bodies_that_never_end(victim):
    """Strangers may send bodies before anybody asks who they are: together they are bounded."""
    clients, answers = [], []
    for _ in range(60):
        client = connect(victim, anonymous=True)
        clients.append(client)
        try:
            client.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n".encode() + b"x" * 2_900_000)
        except OSError:
            pass

    def refused():
        for client in clients:
            client.settimeout(0.01)
            try:
                answers.append(client.recv(12))
            except OSError:
                pass
        return answers.count(b"HTTP/1.1 503") > 10

    wait_until(refused, "some are told that it is too much")
    for client in clients:
        client.close()
    time.sleep(0.2)
    serves_others(victim)
