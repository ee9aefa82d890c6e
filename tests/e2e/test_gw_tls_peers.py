"""TLS 1.3 records of ours against the programs of others: key updates asked and unasked, every suite, half closes, data that comes
with the last message of the handshake."""
import shutil
import socket
import subprocess
import threading

import pytest

from conftest import needs_root
from test_gw_tls import ask, ca, connect, door  # noqa: F401

pytestmark = needs_root
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]


def talk(command, lines, until):
    """Writes one line after the other, each when what is awaited for it has been read; all that was read, as text."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        watch = threading.Timer(60, p.kill)
        watch.start()
        seen = b""
        for line, awaited in lines:
            p.stdin.write(line)
            p.stdin.flush()
            at = len(seen)
            while awaited and awaited not in seen[at:]:
                piece = p.stdout.read1(4096)
                assert piece, seen
                seen += piece
        p.stdin.close()
        while until not in seen and (piece := p.stdout.read1(4096)):
            seen += piece
        p.kill()
        watch.cancel()
    return seen


@pytest.mark.parametrize("suite", SUITES)
def test_openssl_changes_its_keys_and_asks_for_ours(door, ca, suite):  # noqa: F811
    request = f"GET / HTTP/1.1\r\nHost: {door.a}\r\n\r\n".encode()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-servername", door.a, "-CAfile", ca.pem, "-ciphersuites", suite, "-crlf"]
    plain = request.replace(b"\r\n", b"\n")
    seen = talk(command, [(b"", b"Verify return code"), (plain, b"plain https"), (b"k\n", b"KEYUPDATE"), (plain, b"plain https"), (b"K\n", b"KEYUPDATE"),
                          (plain, b"plain https"), (b"K\n", b"KEYUPDATE"), (b"K\n", b"KEYUPDATE"), (plain, b"plain https")], b"DONE")
    assert seen.count(b"plain https") == 4 and suite.encode() in seen and b"alert" not in seen.lower(), seen


@pytest.mark.parametrize("cipher", ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"])
@pytest.mark.skipif(not shutil.which("gnutls-cli"), reason="needs gnutls-bin")
def test_gnutls_changes_its_keys(door, ca, cipher):  # noqa: F811
    command = ["gnutls-cli", "--x509cafile", str(ca.pem), "--inline-commands", "--port", str(door.port), "--sni-hostname", door.a,
               "--verify-hostname", door.a, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+{cipher}", "127.0.0.1"]
    plain = f"GET / HTTP/1.1\r\nHost: {door.a}\r\n\r\n".encode()
    seen = talk(command, [(b"", b"Simple Client Mode"), (plain, b"plain https"), (b"^rekey^\n", b"Rekey was completed"), (plain, b"plain https"),
                          (b"^rekey^\n", b"Rekey was completed"), (plain, b"plain https")], b"nothing")
    assert seen.count(b"plain https") == 3 and b"The certificate is trusted" in seen and b"Fatal" not in seen, seen


@pytest.mark.parametrize("suite", SUITES)
def test_curl_and_python(door, ca, suite):  # noqa: F811
    for version in ("--http1.1", "--http2"):
        out = subprocess.run(["curl", "-sS", "--fail", version, "--tls13-ciphers", suite, "--tlsv1.3", "--cacert", ca.pem, "--resolve",
                              f"{door.a}:{door.port}:127.0.0.1", f"https://{door.a}:{door.port}/"], capture_output=True, text=True, timeout=60)
        assert out.stdout == "plain https", out
    with connect(door.port, door.a, ca.trusting()) as c:
        assert c.version() == "TLSv1.3"
        for _ in range(50):
            assert ask(c, door.a) == (200, "plain https")
        c.unwrap()  # close_notify both ways; raises when the other side only hangs up


def test_an_early_end_without_goodbye_is_seen_as_one(door, ca):  # noqa: F811
    """A request that was cut by somebody in between is not taken for a whole one."""
    c = connect(door.port, door.a, ca.trusting())
    c.sendall(f"POST / HTTP/1.1\r\nHost: {door.a}\r\nContent-Length: 10\r\n\r\nfive!".encode())
    raw = c.detach()

    with socket.socket(fileno=raw) as s:
        s.settimeout(60)
        s.shutdown(socket.SHUT_WR)
        try:
            left = s.recv(65536)
            while piece := s.recv(65536):
                left += piece
        except ConnectionResetError:
            pass
    with connect(door.port, door.a, ca.trusting()) as c:
        assert ask(c, door.a)[0] == 200


def test_early_data_is_never_taken(door, ca, tmp_path):  # noqa: F811
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(f"GET /early HTTP/1.1\r\nHost: {door.a}\r\n\r\n".encode())
    base = ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-servername", door.a, "-CAfile", str(ca.pem), "-tls1_3"]
    plain = f"GET / HTTP/1.1\nHost: {door.a}\n\n".encode()
    first = talk([*base, "-crlf", "-sess_out", str(session)], [(b"", b"Verify return code"), (plain, b"plain https")], b"DONE")
    assert session.stat().st_size, first
    again = talk([*base, "-sess_in", str(session), "-early_data", str(early)], [(b"", b"Early data was")], b"Verify return code")
    assert b"Reused, TLSv1.3" in again and (b"Early data was not sent" in again or b"Early data was rejected" in again), again
