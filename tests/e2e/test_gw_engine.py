"""How small sends leave the gateway: together by io_uring where it can be had, one by one else, and an error for who insists."""
import ctypes
import os
import re
import socket
import struct
import subprocess
import threading

import pytest

from conftest import BINARY, free_port, wait_until

PATIENCE = 30


def forbid_io_uring():
    """A seccomp filter, as containers have one: io_uring_setup is EPERM."""
    load, jump_eq, ret = 0x20, 0x15, 0x06
    rules = [(load, 0, 0, 0), (jump_eq, 0, 1, 425), (ret, 0, 0, 0x00050001), (ret, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("HBBI", *r) for r in rules)
    memory = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(memory)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    assert libc.prctl(38, 1, None, 0, 0) == 0 and libc.prctl(22, 2, ctypes.addressof(program), 0, 0) == 0


def command(directory, *flags):
    port, server = free_port(), socket.create_server(("127.0.0.1", 0))
    cfg = directory / "haproxy.cfg"
    cfg.write_text("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
                   f"listen l\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{server.getsockname()[1]}\n")
    return [BINARY, "gateway", "--haproxy-cfg", cfg, "--loops", "1", "--grace", "1s", *flags], port, server


def quiet():
    return {k: v for k, v in os.environ.items() if k != "SAMPAN_IO_ENGINE"}


def link_of(pid, fd):
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:  # closed meanwhile
        return ""


def everything(s):
    return b"".join(iter(lambda: s.recv(1 << 16), b""))


def served(port, server):
    """A question, both half closes, and more than fits into any buffer on the way back."""
    big = os.urandom(1 << 20) * 4

    def one():
        s, _ = server.accept()
        assert everything(s) == b"question"
        s.sendall(big)
        s.close()
    t = threading.Thread(target=one)
    t.start()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as c:
        c.sendall(b"question")
        c.shutdown(socket.SHUT_WR)
        got = everything(c)
    t.join(PATIENCE)
    return got == big


@pytest.mark.parametrize("flags,forbidden", [(("--io-engine", "auto"), True), (("--io-engine", "auto"), False), ((), True),
                                             ((), False), (("--io-engine", "epoll"), False)])
def test_it_serves_with_what_there_is(tmp_path, flags, forbidden):
    words, port, server = command(tmp_path, *flags)
    log = tmp_path / "log"
    with open(log, "w") as f:
        p = subprocess.Popen(words, stderr=f, env=quiet(), preexec_fn=forbid_io_uring if forbidden else None)
    try:
        wait_until(lambda: "gateway is ready" in log.read_text() or p.poll() is not None, "the gateway")
        ring = any("io_uring" in link_of(p.pid, fd) for fd in os.listdir(f"/proc/{p.pid}/fd"))
        assert not ring or ("epoll" not in flags and not forbidden)
        assert ("io_uring cannot be had" in log.read_text()) == (not ring and "epoll" not in flags)
        assert all([served(port, server) for _ in range(3)])
    finally:
        p.terminate()
        assert p.wait(PATIENCE) == 0, log.read_text()


def test_who_insists_is_told_why_not(tmp_path):
    words, _, _ = command(tmp_path, "--io-engine", "io_uring")
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=quiet(), preexec_fn=forbid_io_uring)
    assert done.returncode == 1 and re.search("--io-engine io_uring: Operation not permitted", done.stderr), done.stderr
    done = subprocess.run([*words[:-1], "kqueue"], stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=quiet())
    assert done.returncode == 1 and "--io-engine kqueue: auto, epoll or io_uring" in done.stderr
