"""What the HTTP tests of the gateway share: an installation without containers, raw HTTP/2 frames, a
client and servers that do one odd thing each."""
import contextlib
import select
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack

from conftest import Sampan, own_address, wait_until

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, CONNECT, CALM = range(12)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 60


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(*fields):
    return hpack.Encoder().encode(list(fields), huffman=False)


class Raw:
    """An HTTP/2 connection made of bytes."""

    def __init__(self, port, settings=b"", greet=True):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.buffer, self.goaway, self.resets, self.ended, self.closed = b"", None, {}, set(), False
        self.heads, self.data, self.pings, self.frames = {}, {}, [], []
        self.decoder = hpack.Decoder()
        if greet:
            self.send(PREFACE + frame(SETTINGS, payload=settings))
            self.until(lambda: any(f[0] == SETTINGS and f[1] & ACK for f in self.frames))

    def send(self, data):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def _take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, payload))
        if kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        elif kind == RST:
            self.resets[stream] = struct.unpack(">I", payload)[0]
        elif kind == HEADERS:
            self.heads.setdefault(stream, []).append(dict(self.decoder.decode(payload)))
        elif kind == DATA:
            self.data[stream] = self.data.get(stream, b"") + payload
        elif kind == PING and flags & ACK:
            self.pings.append(payload)
        elif kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)

    def pump(self, seconds):
        """Reads once; False when nothing came."""
        while True:
            if len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + n:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
                    payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
                    self._take(kind, flags, stream, payload)
                    return True
            if self.closed or not select.select([self.sock], [], [], seconds)[0]:
                return False
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            self.closed = not more
            self.buffer += more

    def until(self, check, seconds=PATIENCE):
        while not check():
            assert self.pump(seconds) or check(), f"nothing more came: goaway={self.goaway} resets={self.resets} heads={self.heads} closed={self.closed}"

    def ping(self):
        """All that was sent before has been dealt with."""
        n = len(self.pings)
        self.send(frame(PING, payload=b"synchron"))
        self.until(lambda: len(self.pings) > n or self.goaway or self.closed)

    def ends(self):
        """Until the other side has closed; GOAWAY's code, if it said one."""
        while not self.closed:
            assert self.pump(PATIENCE) or self.closed
        return self.goaway[1] if self.goaway else None

    def close(self):
        self.sock.close()


class Client:
    """A well-behaved HTTP/2 client (python3-h2) on one connection."""

    def __init__(self, port, host="one.test", address="127.0.0.1"):
        self.host = host
        self.sock = socket.create_connection((address, port), timeout=PATIENCE)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers, self.over, self.gone = {}, set(), []
        self.flush()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def ask(self, method="GET", path="/", headers=(), body=None, trailers=None, end=True, host=None, pseudo=()):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", host or self.host), (":path", path), *pseudo, *headers]
        self.answers[stream] = {"heads": [], "body": b"", "trailers": None, "reset": None}
        self.h2.send_headers(stream, fields, end_stream=body is None and trailers is None and end)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=trailers is None and end)
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()
        return stream

    def read(self):
        data = self.sock.recv(65536)
        for e in self.h2.receive_data(data) if data else []:
            a = self.answers.get(getattr(e, "stream_id", None))
            if isinstance(e, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
                a["heads"].append(dict(e.headers))
            elif isinstance(e, h2.events.DataReceived):
                a["body"] += e.data
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.TrailersReceived):
                a["trailers"] = dict(e.headers)
            elif isinstance(e, h2.events.StreamEnded):
                self.over.add(e.stream_id)
            elif isinstance(e, h2.events.StreamReset) and a:
                a["reset"] = int(e.error_code)
                self.over.add(e.stream_id)
            elif isinstance(e, h2.events.ConnectionTerminated):
                self.gone.append((e.last_stream_id, int(e.error_code)))
        with contextlib.suppress(OSError):
            self.flush()
        return bool(data)

    def answer(self, stream):
        while stream not in self.over:
            assert self.read(), f"closed; so far {self.answers[stream]}"
        a = self.answers[stream]
        a["status"] = int(a["heads"][-1][":status"]) if a["heads"] else None
        return a

    def get(self, *args, **options):
        return self.answer(self.ask(*args, **options))

    def close(self):
        self.sock.close()


class Server:
    """Accepts on an address of this machine; each connection is served by fn(server, sock) in a thread."""

    def __init__(self, fn):
        self.fn, self.connections, self.seen, self.lock = fn, 0, [], threading.Lock()
        self.sock = socket.create_server((own_address(), 0), backlog=128)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        with contextlib.suppress(OSError, ValueError), s:
            self.fn(self, s)

    def note(self, what):
        with self.lock:
            self.seen.append(what)

    def close(self):
        self.sock.close()


def read_head(f):
    """The request line's words and the fields (lower case) of one HTTP/1.1 head; None at the end."""
    line = f.readline()
    if not line:
        return None
    fields = {}
    while (row := f.readline()) not in (b"\r\n", b""):
        name, _, value = row.decode("latin-1").partition(":")
        name = name.lower()
        fields[name] = fields[name] + "|" + value.strip() if name in fields else value.strip()
    return line.decode().split(), fields


def read_body(f, fields):
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while n := int(f.readline(), 16):
            body += f.read(n)
            f.readline()
        while f.readline() not in (b"\r\n", b""):
            pass
        return body
    return f.read(int(fields.get("content-length", 0)))


def h2_server(on_request):
    """fn for Server: an h2c server; on_request(server, conn, stream, headers, body) when a request is complete."""

    def serve(server, sock):
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        conn.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 50, h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0})
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        requests = {}
        while data := sock.recv(65536):
            for e in conn.receive_data(data):
                if isinstance(e, h2.events.RequestReceived):
                    requests[e.stream_id] = [dict(e.headers), b"", None]
                elif isinstance(e, h2.events.DataReceived):
                    requests[e.stream_id][1] += e.data
                    conn.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                elif isinstance(e, h2.events.TrailersReceived):
                    requests[e.stream_id][2] = dict(e.headers)
                elif isinstance(e, h2.events.StreamEnded):
                    headers, body, trailers = requests.pop(e.stream_id)
                    on_request(server, conn, e.stream_id, headers, body, trailers)
            sock.sendall(conn.data_to_send())
            if getattr(conn, "hang_up", False):
                return
    return serve


class World:
    """API server and gateway, and Services "name" at host "name.test" in front of servers."""

    def __init__(self, directory):
        self.sampan = Sampan(directory, roles="apiserver,gateway", extra=["--node-ip", "127.0.0.1"]).start()
        self.port = self.sampan.gateway_port
        self.servers = []

    def serve(self, name, fn, protocol=None):
        server = Server(fn)
        self.servers.append(server)
        port = {"name": "main", "port": 80, **({"appProtocol": protocol} if protocol else {})}
        backend = {"service": {"name": name, "port": {"number": 80}}}
        self.sampan.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [port]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
             "ports": [{**port, "port": server.port}], "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}]},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": {"rules": [
                {"host": f"{name}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}})
        wait_until(lambda: self.sampan.http("/ready", headers={"Host": f"{name}.test"})[0] == 200, f"an answer of {name}")
        return server

    def close(self):
        for s in self.servers:
            s.close()
        code = self.sampan.stop()
        assert code == 0, self.sampan.output.read_text() + self.sampan.logs()
