"""--lost-address-reset: what becomes of connections to an address that has moved to another machine."""
import os
import select
import socket
import subprocess

import pytest

from conftest import BINARY, IS_ROOT, PATIENCE, free_port, wait_until

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="addresses need root")
ADDRESSES = [f"198.18.{os.getpid() % 250}.{n}" for n in (1, 2)]


def change(*lines):
    """All in one go, so that nothing can come between."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


@pytest.fixture
def addresses():
    change(*(f"addr add {a}/32 dev lo" for a in ADDRESSES))
    yield ADDRESSES
    for a in ADDRESSES:
        subprocess.run(["ip", "addr", "del", f"{a}/32", "dev", "lo"], stderr=subprocess.DEVNULL)


@pytest.fixture
def start(tmp_path):
    started = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(PATIENCE)

    def start(*flags):
        port = free_port()
        (tmp_path / "haproxy.cfg").write_text(f"listen tcp\n    mode tcp\n    timeout connect 5s\n    timeout client 5m\n    timeout server 5m\n"
                                              f"    bind 0.0.0.0:{port}\n    server s 127.0.0.1:{server.getsockname()[1]}\n")
        log = tmp_path / "gateway.log"
        started.append(subprocess.Popen([BINARY, "gateway", "--haproxy-cfg", tmp_path / "haproxy.cfg", *flags], stderr=open(log, "w"),
                                        env={**os.environ, "SAMPAN_LOG": "json"}))
        wait_until(lambda: "gateway is ready" in log.read_text(), "the gateway")

        def connect(address):
            """(the client's end, the server's end)"""
            c = socket.create_connection((address, port), PATIENCE)
            s = server.accept()[0]
            s.settimeout(PATIENCE)
            assert talk(c, s)
            return c, s
        return connect
    yield start
    for p in started:
        p.terminate()
        assert p.wait(PATIENCE) == 0
    server.close()


def talk(c, s):
    c.sendall(b"?")
    assert s.recv(1) == b"?"
    s.sendall(b"!")
    return c.recv(1) == b"!"


def is_reset(s):
    try:
        return s.recv(1) == b"never"
    except ConnectionResetError:
        return True


def test_the_server_learns_of_it(addresses, start):
    first, second = addresses
    connect = start("--lost-address-reset", "2s")
    flapping, lost, other = connect(first), connect(second), connect("127.0.0.1")
    change(f"addr del {first}/32 dev lo", f"addr add {first}/32 dev lo", f"addr del {second}/32 dev lo")
    assert is_reset(lost[1])
    assert talk(*flapping) and talk(*other)  # one was back in time, the other never went
    change(f"addr del {first}/32 dev lo")
    assert is_reset(flapping[1])
    change(f"addr add {first}/32 dev lo")
    again = connect(first)
    change(f"addr del {first}/32 dev lo")  # a second time
    assert is_reset(again[1])
    assert talk(*other)


def test_unasked_they_stay(addresses, start):
    first, _ = addresses
    connect = start()
    away = connect(first)
    change(f"addr del {first}/32 dev lo")
    assert select.select([away[1]], [], [], 1)[0] == []
    change(f"addr add {first}/32 dev lo")
    assert talk(*away)
