"""A crowd for the soak of the gateway: many clients in one process, and servers that may be killed.

    gw_crowd.py serve ADDRESS PORT NUMBER      a server; SIGTERM ends it as a good one ends
    gw_crowd.py clients SPEC.json              clients until stdin ends; one JSON line per failure,
                                               one {"counts": …} at the end

The server answers HTTP/1.1, WebSocket upgrades (it echoes) and lines of text (it echoes them after its number),
all on one port, so that each protocol of the gateway ends at the same servers. It always says which
server it is: a client knows whose death may excuse a broken tunnel.
"""
import asyncio
import json
import random
import signal
import ssl
import struct
import sys
import time

import hpack

SOON = 30  # seconds after which silence is a failure
LAST_REQUEST = 3  # that long a replaced gateway waits for one more request on a connection


# --- the server ---

class Server:
    def __init__(self, number):
        self.number, self.stopping, self.busy, self.idle = number, False, 0, set()

    async def http(self, first, reader, writer):
        """One request; True: the connection goes on."""
        fields = {}
        while (line := (await reader.readline()).strip()):
            name, _, value = line.lower().partition(b":")
            fields[name] = value.strip()
        if fields.get(b"upgrade") == b"websocket":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: %d\r\n\r\n" % self.number)
            while data := await reader.read(4096):
                writer.write(data)
            return False
        if n := int(fields.get(b"content-length", 0)):
            await reader.readexactly(n)
        if random.random() < 0.01:
            await asyncio.sleep(0.05)  # some are under way when things happen
        body = b"%d" % self.number
        end = b"Connection: close\r\n" if self.stopping else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\n\r\n" % (end, len(body)) + body)
        return not self.stopping

    async def serve(self, reader, writer):
        try:
            while True:
                self.idle.add(writer)
                first = await reader.readline()
                self.idle.discard(writer)
                if not first:
                    return
                if b" HTTP/1." in first:
                    if not await self.http(first, reader, writer):
                        return
                else:
                    writer.write(b"%d " % self.number + first)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.idle.discard(writer)
            writer.close()

    async def run(self, address, port):
        over, listener = asyncio.Event(), await asyncio.start_server(self.serve, address, port, backlog=1024)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        print("serving", flush=True)
        await over.wait()
        self.stopping = True
        listener.close()
        for writer in list(self.idle):
            writer.close()
        await asyncio.sleep(0.5)


# --- the clients ---

class Cut(Exception):
    """An end where an answer was due; crossed: not a byte of one had come, so the request may have crossed the
    gateway's polite end of the connection."""

    def __init__(self, why, crossed=False):
        super().__init__(why)
        self.crossed = crossed


class Crowd:
    def __init__(self, spec):
        self.spec, self.counts, self.over, self.stalls = spec, {}, False, []
        self.context = ssl._create_unverified_context()
        self.context.set_alpn_protocols(["http/1.1"])
        self.context2 = ssl._create_unverified_context()
        self.context2.set_alpn_protocols(["h2"])

    def count(self, kind, what="done"):
        self.counts.setdefault(kind, {}).setdefault(what, 0)
        self.counts[kind][what] += 1

    async def rest(self, low, high):
        await asyncio.sleep(random.uniform(low, high))

    async def open(self, at, port, context=None):
        self.count(at["kind"], "connections")
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.spec[port], ssl=context), SOON)
        at["port"], at["connected"] = writer.get_extra_info("sockname")[1], time.monotonic()
        return reader, writer

    # Each is one connection from its beginning to its end; it fills in what is known of it.
    async def tcp_short(self, at):
        reader, writer = await self.open(at, "tcp")
        try:
            writer.write(b"hello\n")
            await self.line(reader, b"hello\n", at)
        finally:
            writer.close()
        await self.rest(0.2, 1)

    async def line(self, reader, text, at):
        got = await asyncio.wait_for(reader.readline(), SOON)
        if not got.endswith(b" " + text):
            raise Cut(f"{got!r} instead of {text!r}")
        at["server"] = int(got.split()[0])
        self.count(at["kind"])

    async def tcp_long(self, at):
        reader, writer = await self.open(at, "tcp")
        try:
            for i in range(10 ** 9):
                at["asked"] = time.monotonic()
                writer.write(b"%d\n" % i)
                await self.line(reader, b"%d\n" % i, at)
                if self.over or await self.ends(reader, random.uniform(2, 6)):
                    break
        finally:
            writer.close()

    async def ends(self, reader, seconds):
        """Waits; what comes in the meantime of a silent connection can only be its end."""
        try:
            got = await asyncio.wait_for(reader.read(1), seconds)
        except asyncio.TimeoutError:
            return False
        raise Cut("ended while silent" if not got else f"{got!r} came unasked")

    async def websocket(self, at):
        reader, writer = await self.open(at, "http")
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: crowd.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            at["asked"] = time.monotonic()
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
            except (asyncio.IncompleteReadError, ConnectionError) as e:
                raise Cut(repr(e), not getattr(e, "partial", b""))
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise Cut(head.decode("latin-1"))
            at["server"] = int(head.lower().split(b"server: ")[1].split(b"\r\n")[0])
            for i in range(10 ** 9):
                at["asked"], text = time.monotonic(), b"\x81\x05" + b"%05d" % (i % 100000)
                writer.write(text)
                got = await asyncio.wait_for(reader.readexactly(len(text)), SOON)
                if got != text:
                    raise Cut(f"{got!r} instead of {text!r}")
                self.count(at["kind"])
                if self.over or await self.ends(reader, random.uniform(2, 6)):
                    break
        finally:
            writer.close()

    async def request(self, reader, writer, at, keep, reused):
        post = random.random() < self.spec["posts"]
        at["post"], at["asked"], at["reused"] = post, time.monotonic(), reused
        end = b"" if keep else b"Connection: close\r\n"
        body = b"x" * 300 if post else b""
        length = b"Content-Length: 300\r\n" if post else b""
        try:
            writer.write((b"POST" if post else b"GET") + b" / HTTP/1.1\r\nHost: crowd.test\r\n" + end + length + b"\r\n" + body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        except asyncio.IncompleteReadError as e:
            raise Cut(f"the end instead of an answer {e.partial!r}", not e.partial)
        except (ConnectionResetError, BrokenPipeError) as e:
            raise Cut(repr(e), True)
        lower = head.lower()
        answer = await asyncio.wait_for(reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0])), SOON)
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise Cut((head + answer).decode("latin-1"))
        at["server"] = int(answer)
        self.count(at["kind"], "posts" if post else "done")
        return keep and b"connection: close" not in lower

    async def http_short(self, at, port="http", context=None):
        reader, writer = await self.open(at, port, context)
        try:
            await self.request(reader, writer, at, False, False)
        finally:
            writer.close()
        await self.rest(0.2, 1)

    async def http_kept(self, at, port="http", context=None):
        reader, writer = await self.open(at, port, context)
        reused = False
        try:
            while await self.request(reader, writer, at, not self.over, reused):
                reused = True
                await self.rest(0.6, 1.5)
                if reader.at_eof():  # as every client looks before it asks again
                    self.count(at["kind"], "ended idle")
                    return
        finally:
            writer.close()

    async def tls_kept(self, at):
        await self.http_kept(at, "tls", self.context)

    async def tls_short(self, at):
        await self.http_short(at, "tls", self.context)

    async def http2(self, at):
        reader, writer = await self.open(at, "tls", self.context2)
        at["asked"] = time.monotonic()
        try:
            await Http2(self, reader, writer, at).run()
        finally:
            writer.close()

    async def watch_ourselves(self):
        """When this process stood still: the machine may have other things to do."""
        while not self.over:
            begin = time.monotonic()
            await asyncio.sleep(0.02)
            if (end := time.monotonic()) - begin > 0.12:
                self.stalls.append((begin, end))

    def stood_still(self, begin, end):
        """How long of this time."""
        return sum(min(b, end) - max(a, begin) for a, b in self.stalls if a < end and b > begin)

    def crossed(self, at):
        """Whether a request without an answer met the polite end of its connection, which no gateway can avoid, and
        how that is counted. A replaced gateway waits LAST_REQUEST for one more: only who stood still for that long
        asks later on a new connection; on a kept one it takes a crossing of packets, or a process that could not look."""
        if at.get("reused"):
            return "crossed while late" if self.stood_still(at["asked"] - 0.05, at["asked"] + 0.05) else "crossed"
        return "asked too late" if self.stood_still(at["begin"], at["asked"]) > LAST_REQUEST - 0.5 else None

    async def repeat(self, kind):
        await self.rest(0, self.spec.get("ramp", 2))
        while not self.over:
            at = {"kind": kind, "begin": time.monotonic()}
            try:
                await getattr(self, kind)(at)
            except Exception as e:
                at["end"] = time.monotonic()
                await asyncio.sleep(0.05)  # a stall that ends now is known then
                if isinstance(e, Cut) and e.crossed and (how := self.crossed(at)):
                    self.count(kind, how)  # it asks again on a new connection, as RFC 9112 9.3.1 says
                    continue
                self.count(kind, "failures")
                stalls = [(round(a - at["begin"], 2), round(b - a, 2)) for a, b in self.stalls if a < at["end"] and b > at["begin"] - 1]
                print(json.dumps({**at, "stalls": stalls, "why": f"{type(e).__name__} {e}"[:300], "errno": getattr(e, "errno", None)}), flush=True)
                await self.rest(0, 0.5)

    async def run(self):
        tasks = [asyncio.create_task(self.repeat(kind)) for kind, n in self.spec["mix"].items() for _ in range(n)]
        watch = asyncio.create_task(self.watch_ourselves())
        stdin = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        while command := (await stdin.readline()).strip():
            print(json.dumps({"counts": self.counts}), flush=True)
        self.over = True
        await asyncio.wait(tasks, timeout=SOON)
        await watch
        print(json.dumps({"counts": self.counts, "stalls": self.stalls, "hanging": sum(not t.done() for t in tasks)}), flush=True)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Over(Exception):
    """The connection ended when all was said."""


class Http2:
    """One connection with many streams, until the gateway says GOAWAY."""

    def __init__(self, crowd, reader, writer, at):
        self.crowd, self.reader, self.writer, self.at = crowd, reader, writer, at
        self.open, self.next, self.last, self.heard, self.decoder = {}, 1, None, False, hpack.Decoder()
        self.head = hpack.Encoder().encode([(":method", "GET"), (":scheme", "https"), (":authority", "crowd.test"), (":path", "/")])

    def take(self, kind, flags, stream, payload):
        if kind == 1:
            status = dict(self.decoder.decode(payload))[":status"]
            if status != "200":
                raise Cut(f"stream {stream}: status {status}")
            self.open[stream] = "answered"
        elif kind == 3:
            code = struct.unpack(">I", payload)[0]
            if code != 7:
                raise Cut(f"stream {stream} is reset: {code}")
            self.crowd.count("http2", "refused")
            del self.open[stream]
        elif kind == 4 and not flags & 1:
            self.writer.write(frame(4, 1, 0))
        elif kind == 6 and not flags & 1:
            self.writer.write(frame(6, 1, 0, payload))
        elif kind == 7:
            self.last, code = struct.unpack(">II", payload[:8])
            if code:
                raise Cut(f"GOAWAY {code} {payload[8:]!r}")
            for s in [s for s in self.open if s > self.last]:
                self.crowd.count("http2", "refused")
                del self.open[s]
        if kind in (0, 1) and flags & 1:
            if self.open.pop(stream) != "answered":
                raise Cut("the end without an answer")
            self.crowd.count("http2")

    async def pump(self, seconds):
        """One frame, or False when none came."""
        try:
            head = await asyncio.wait_for(self.reader.readexactly(9), seconds)
        except asyncio.TimeoutError:
            return False
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Over if not self.open and self.last is not None else Cut(f"the end with {len(self.open)} open, after GOAWAY {self.last}: {e!r}", not self.heard)
        self.heard = True
        payload = await asyncio.wait_for(self.reader.readexactly(int.from_bytes(head[:3], "big")), SOON)
        self.take(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
        return True

    async def run(self):
        try:
            await self.talk()
        except Over:
            self.crowd.count("http2", "ended")

    async def talk(self):
        self.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(8, 0, 0, struct.pack(">I", 2 ** 30)))
        while self.last is None and not self.crowd.over:
            self.at["asked"] = time.monotonic()
            for _ in range(random.choice((1, 4, 16))):
                self.open[self.next] = "asked"
                self.writer.write(frame(1, 5, self.next, self.head))
                self.next += 2
            while self.open:
                if not await self.pump(SOON):
                    raise Cut(f"no answer in {SOON} s to {len(self.open)} streams")
            pause = time.monotonic() + random.uniform(0.3, 2)
            while self.last is None and (left := pause - time.monotonic()) > 0 and await self.pump(left):
                pass


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(Server(int(sys.argv[4])).run(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(Crowd(json.load(open(sys.argv[2]))).run())
