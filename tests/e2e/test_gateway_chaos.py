"""Clients and servers that break every rule, at random; the gateway must neither die nor get stuck.

CHAOS_SEED repeats a run, CHAOS_SECONDS makes it longer. Most useful with a sanitized binary.
"""
import http.client
import os
import random
import socket
import struct
import threading
import time

import pytest

from conftest import Sampan, free_port, wait_until
from test_gateway_soak import Server, write_slice

SECONDS = float(os.environ.get("CHAOS_SECONDS", "6"))
SEED = int(os.environ.get("CHAOS_SEED", time.time()))
dice = random.Random(SEED)

OK = b"HTTP/1.1 200 OK\r\n"


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def bytewise(connection, data):
    for i in range(len(data)):
        connection.sendall(data[i:i + 1])


# What a server may do after each piece it received; False ends the connection.
def lengthy(c):
    body = b"x" * dice.choice((0, 1, 100, 5000, 300000))
    c.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def tiny_chunks(c):
    c.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * dice.choice((1, 500)) + b"0\r\n\r\n")


ANSWERS = [
    lengthy, lengthy, lengthy, lengthy, tiny_chunks,
    lambda c: c.sendall(OK + b"\r\nuntil the end") and False,
    lambda c: (c.sendall(OK + b"Content-Length: 1000\r\n\r\nshort"), False)[1],
    lambda c: c.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
    lambda c: (c.sendall(b"garbage\r\n\r\n"), False)[1],
    lambda c: c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello"),
    lambda c: bytewise(c, OK + b"Content-Length: 2\r\n\r\nok"),
    lambda c: (c.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), False)[1],
    lambda c: c.sendall(OK + b"Content-Length: 2\r\n\r\nok and more than was said"),
    lambda c: (c.sendall(b"HTTP/1.1 200 OK\r\nConte"), reset(c), False)[2],
    lambda c: (reset(c), False)[1],
    lambda c: False,
    lambda c: time.sleep(0.05),
]


class Unruly(Server):
    def serve(self, connection):
        connection.settimeout(5)
        try:
            while connection.recv(dice.choice((1, 100, 65536))) and dice.choice(ANSWERS)(connection) is not False:
                pass
        except OSError:
            pass
        connection.close()


def request(method, more=b"", version=b"1.1", host=b"chaos.test"):
    return method + b" / HTTP/" + version + b"\r\nHost: " + host + b"\r\n" + more


REQUESTS = [
    request(b"GET", b"\r\n"), request(b"HEAD", b"\r\n"), request(b"GET", b"\r\n", b"1.0"), request(b"GET", b"\r\n", host=b"nobody"),
    request(b"GET", b"Connection: close\r\n\r\n"), request(b"GET", b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    request(b"POST", b"Content-Length: 5\r\n\r\nhello"), request(b"POST", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    request(b"PUT", b"Content-Length: 300000\r\n\r\n" + b"z" * 300000), request(b"PUT", b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
    b"BAD\r\n\r\n",
]


def misbehave(connection):
    """True: go on with this connection."""
    data = b"".join(dice.choice(REQUESTS) for _ in range(dice.choice((1, 1, 1, 3))))
    if dice.random() < 0.15:
        data = data[:dice.randint(0, len(data))]
    if dice.random() < 0.1:
        bytewise(connection, data[:300])
        data = data[300:]
    connection.sendall(data)
    act = dice.random()
    if act < 0.1:
        reset(connection)
    if act < 0.2:
        return False
    if act < 0.3:
        connection.shutdown(socket.SHUT_WR)
    connection.settimeout(dice.choice((0.01, 0.2)))
    try:
        while act < 0.9 and connection.recv(dice.choice((1, 1000, 65536))):
            pass
    except TimeoutError:
        return True
    return act >= 0.9


def client(port, over, sent):
    while not over.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
                while misbehave(connection) and not over.is_set():
                    sent.append(1)
        except OSError:
            pass
        sent.append(1)


@pytest.fixture
def door(workdir):
    s = Sampan(workdir / "chaos", roles="apiserver,gateway").start()
    yield s
    assert s.stop() == 0, s.logs()


def by_the_good_one(s, **how):
    """Server 9 answers; until the gateway knows of it, the unruly ones do, in their ways."""
    try:
        status, text = s.http(**how)
    except http.client.HTTPException:
        return False
    return status == 200 and text.startswith("9 ")


def test_nothing_that_others_do_ends_it(door):
    s, lb, over, sent = door, free_port(), threading.Event(), []
    print(f"CHAOS_SEED={SEED}")
    s.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "soak"},
             "spec": {"type": "LoadBalancer", "ports": [{"port": lb}]}})
    s.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "chaos"}, "spec": {"rules": [
        {"host": "chaos.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
            "service": {"name": "soak", "port": {"number": lb}}}}]}}]}})
    servers = [Unruly(i) for i in range(4)]
    pid = s.role_pids()["gateway"]
    clients = [threading.Thread(target=client, args=(port, over, sent), daemon=True) for port in [s.gateway_port] * 9 + [lb] * 3]
    for c in clients:
        c.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or (len(sent) <= 100 and time.monotonic() < end + 60):
        some = dice.sample(servers, dice.randint(0, 4))
        write_slice(s, "default", [(v, dice.choice(("ready", "ready", "draining", "unready"))) for v in some])
        time.sleep(dice.random() * 0.3)
        assert s.role_pids().get("gateway") == pid, f"the gateway died (CHAOS_SEED={SEED})"
    over.set()
    for c in clients:
        c.join(10)
    write_slice(s, "default", [(Server(9), "ready")])
    wait_until(lambda: by_the_good_one(s, headers={"Host": "chaos.test"}) and by_the_good_one(s, port=lb), "good manners again")
    assert len(sent) > 100 and s.role_pids().get("gateway") == pid
