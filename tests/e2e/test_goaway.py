"""--goaway-chance: connections are asked to leave, and no client notices more than that."""
import json
import socket
import subprocess
import threading
import time

import pytest

from conftest import BINARY, Sampan, kubectls, wait_until

h2 = pytest.importorskip("h2")
import h2.config, h2.connection, h2.errors, h2.events  # noqa: E401, E402

NO_MORE = 2 ** 31 - 1


@pytest.fixture(scope="module")
def leaving(workdir):
    """An API server that sends away one request in fifty."""
    s = Sampan(workdir / "goaway", roles="apiserver", extra=["--goaway-chance", "0.02"])
    yield s.start()
    s.stop()


class Connection:
    """One HTTP/2 connection, by hand."""

    def __init__(self, s):
        context = s._tls()
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", s.api_port), timeout=60)
        self.socket = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.goaways, self.status, self.data, self.ended, self.reset = [], {}, {}, set(), set()
        self.closed, self.pending, self.pings, self.hold_pings = False, b"", [], False
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":path", path),
                                      (":authority", "127.0.0.1")], end_stream=True)
        self.flush()
        return stream

    def answer_pings(self):
        for frame in self.pings:
            self.socket.sendall(frame[:4] + b"\x01" + frame[5:])
        self.pings = []

    def read(self):
        """Once. GOAWAY and PING are looked at here: the library would take a GOAWAY as the end, and answer at once."""
        got = self.socket.recv(65536)
        self.closed = not got
        self.pending += got
        while len(self.pending) >= 9:
            length, kind = int.from_bytes(self.pending[:3], "big"), self.pending[3]
            if len(self.pending) < 9 + length:
                break
            frame, self.pending = self.pending[:9 + length], self.pending[9 + length:]
            if kind == 7:
                self.goaways.append(int.from_bytes(frame[9:13], "big"))
            elif kind == 6:
                self.pings.append(frame)
            else:
                self.take(self.h2.receive_data(frame))
        if not self.closed:
            self.flush()
            if not self.hold_pings:
                self.answer_pings()

    def take(self, events):
        for e in events:
            if isinstance(e, h2.events.ResponseReceived):
                self.status[e.stream_id] = int(dict(e.headers)[b":status"])
            elif isinstance(e, h2.events.DataReceived):
                self.data[e.stream_id] = self.data.get(e.stream_id, b"") + e.data
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.StreamEnded):
                self.ended.add(e.stream_id)
            elif isinstance(e, h2.events.StreamReset):
                self.reset.add(e.stream_id)

    def until_ended(self, stream):
        while stream not in self.ended:
            self.read()
            assert not self.closed and stream not in self.reset


def test_two_steps_and_the_watch_goes_on(leaving):
    c = Connection(leaving)
    c.hold_pings = True
    watch = c.ask("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=300")
    asked = []
    while not c.goaways:  # one in fifty
        asked.append(c.ask("/version"))
        c.until_ended(asked[-1])
    assert c.goaways == [NO_MORE], "first only a notice"
    late = c.ask("/version")  # as if it had crossed the notice
    c.until_ended(late)
    assert c.status[late] == 200 and c.goaways == [NO_MORE]
    c.answer_pings()
    while len(c.goaways) < 2:
        c.read()
    assert c.goaways == [NO_MORE, late]
    leaving.api("POST", "/api/v1/namespaces/default/configmaps",
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after-goaway"}})
    while b"after-goaway" not in c.data.get(watch, b""):
        c.read()
    assert watch not in c.ended and not c.reset
    assert all(c.status[s] == 200 for s in asked)
    c.h2.reset_stream(watch)
    c.flush()
    while not c.closed:  # the last answer is over: so is the connection
        c.read()


def test_http1_is_left_alone(leaving):
    import http.client
    c = http.client.HTTPSConnection("127.0.0.1", leaving.api_port, context=leaving._tls(), timeout=60)
    for _ in range(300):
        c.request("GET", "/version")
        answer = c.getresponse()
        answer.read()
        assert answer.status == 200 and answer.getheader("Connection") != "close"
    assert c.sock is not None


def test_stop_says_goaway_first(workdir):
    s = Sampan(workdir / "goaway-stop", roles="apiserver").start()
    c = Connection(s)
    done = c.ask("/version")
    c.until_ended(done)
    s.process.terminate()
    while not c.closed:
        c.read()
    assert c.goaways == [NO_MORE, done]
    assert s.stop() == 0


@pytest.mark.skipif(not kubectls(), reason="no kubectl on the PATH")
def test_kubectl_notices_nothing(leaving):
    """Go's client: a watch stays while hundreds of requests move from connection to connection."""
    import shutil
    binary = shutil.which("kubectl")
    watch = subprocess.Popen([binary, "get", "configmaps", "--watch", "--output-watch-events", "-o", "json"],
                             env=leaving.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = []
    threading.Thread(target=lambda: seen.extend(iter(watch.stdout.readline, "")), daemon=True).start()
    objects = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"move-{i}"}} for i in range(40)]
    done = leaving.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    assert done.out.count("created") == 40 and not done.err
    # It may have begun behind the first of them; nothing is deleted before it has told all that there is.
    wait_until(lambda: all(f'"move-{i}"' in "".join(seen) for i in range(40)), "the watch has told all of them")
    done = leaving.kubectl("delete", "configmap", *[f"move-{i}" for i in range(40)], "--wait=false")
    assert done.out.count("deleted") == 40
    wait_until(lambda: "".join(seen).count('"DELETED"') >= 40, "the watch tells all")
    assert watch.poll() is None
    watch.terminate()
    assert not watch.stderr.read()


def test_bad_values_are_refused(workdir):
    for value in ("0.03", "-1", "often", "nan"):
        done = subprocess.run([BINARY, "apiserver", "--data-dir", str(workdir / "x"), "--plain-http",
                               f"--goaway-chance={value}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "from 0 to 0.02" in done.stderr and value in done.stderr
