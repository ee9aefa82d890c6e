"""What RFC 9113 and RFC 7541 ask of a server, frame by frame: the behaviours that h2spec looks at, as
a table of bytes. Each row: what is sent after the greeting, and what must come of it."""
import struct

import pytest

from gw_wire import (ACK, CANCEL, COMPRESSION, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW, FRAME_SIZE, GOAWAY, HEADERS, NO_ERROR,
                     PADDED, PING, PREFACE, PRIO, PRIORITY, PROTOCOL, PUSH, RST, SETTINGS, STREAM_CLOSED, WINDOW, Raw, World, block,
                     frame, read_body, read_head)


def slow_to_answer(server, sock):
    """Answers when the request is complete."""
    f = sock.makefile("rb")
    while head := read_head(f):
        body = read_body(f, head[1])
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body) + 5, b"body=" + body))


@pytest.fixture(scope="module")
def world(workdir):
    w = World(workdir / "frames")
    w.serve("one", slow_to_answer)
    yield w
    w.close()


FIELDS = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "one.test")]
GET, POST = block(*FIELDS), block((":method", "POST"), *FIELDS[1:])
U32, U16U32 = struct.Struct(">I").pack, struct.Struct(">HI").pack


def get(stream=1, flags=END_STREAM | END_HEADERS, payload=GET):
    return frame(HEADERS, flags, stream, payload)


def post(stream=1, flags=END_HEADERS, payload=POST):
    return frame(HEADERS, flags, stream, payload)


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(U16U32(*p) for p in pairs))


def huge(n):
    return block(*FIELDS, *[(f"x-{i}", "y" * 1000) for i in range(n)])


OK, PONG = "200", "pong"
RESET, BROKEN = "reset", "broken"  # an error of the stream (or, as is allowed, of the connection); of the connection
ROWS = {
    # generic: what must work
    "get": (get(), OK), "head": (get(payload=block((":method", "HEAD"), *FIELDS[1:])), OK),
    "post": (post() + frame(DATA, END_STREAM, 1, b"test"), OK), "post with padding": (post() + frame(DATA, END_STREAM | PADDED, 1, b"\6test\0\0\0\0\0\0"), OK),
    "post in pieces": (post() + frame(DATA, 0, 1, b"te") + frame(DATA, END_STREAM, 1, b"st"), OK),
    "post with an empty end": (post() + frame(DATA, 0, 1, b"test") + frame(DATA, END_STREAM, 1), OK),
    "trailers": (post() + frame(DATA, 0, 1, b"t") + get(payload=block(("x-t", "1"))), OK),
    "headers with padding": (get(flags=END_STREAM | END_HEADERS | PADDED, payload=b"\4" + GET + b"\0" * 4), OK),
    "headers with priority": (get(flags=END_STREAM | END_HEADERS | PRIO, payload=b"\0\0\0\0\20" + GET), OK),
    "a continuation": (get(flags=END_STREAM, payload=GET[:5]) + frame(CONTINUATION, END_HEADERS, 1, GET[5:]), OK),
    "two continuations": (get(flags=END_STREAM, payload=GET[:3]) + frame(CONTINUATION, 0, 1, GET[3:6]) + frame(CONTINUATION, END_HEADERS, 1, GET[6:]), OK),
    "large headers": (get(flags=END_STREAM, payload=huge(20)[:16000]) + frame(CONTINUATION, END_HEADERS, 1, huge(20)[16000:]), OK),
    "ping": (frame(PING, payload=b"12345678"), PONG), "ping with ack": (frame(PING, ACK, payload=b"12345678"), PONG),
    "priority on an idle stream": (frame(PRIORITY, 0, 1, b"\0\0\0\0\20"), PONG), "priority behind the end": (get() + frame(PRIORITY, 0, 1, b"\0\0\0\0\20"), OK),
    "window update of the connection": (frame(WINDOW, payload=U32(1)), PONG), "window update of a stream": (post() + frame(WINDOW, 0, 1, U32(1)), PONG),
    "window update behind the end": (get() + frame(WINDOW, 0, 1, U32(1)), OK), "reset of a stream": (post() + frame(RST, 0, 1, U32(CANCEL)), PONG),
    "settings": (settings((4, 100), (3, 10)), PONG), "unknown setting": (settings((0xff, 1)), PONG), "the same setting twice": (settings((4, 100), (4, 1000)), PONG),
    "unknown frame": (frame(0x16, 0, 0, b"\0" * 8), PONG), "unknown frame on a stream": (frame(0x16, 0xff, 3, b"\0" * 8), PONG),
    "unknown flags": (frame(PING, 0x16, 0, b"12345678"), PONG), "reserved bit": (frame(PING, 0, 0x80000000, b"12345678"), PONG),
    "goaway": (frame(GOAWAY, payload=U32(0) + U32(0)), None), "goaway of an unknown code": (frame(GOAWAY, payload=U32(0) + U32(0xff)), None),
    "reset with an unknown code": (post() + frame(RST, 0, 1, U32(0xff)), PONG),
    # 4: frames
    "larger than SETTINGS_MAX_FRAME_SIZE": (post() + frame(DATA, END_STREAM, 1, b"x" * 16385), BROKEN, FRAME_SIZE),
    "headers larger than that": (get(payload=GET + block(("x", "y" * 16385))), BROKEN, FRAME_SIZE),
    "broken header block": (get(payload=b"\x40"), BROKEN, COMPRESSION),
    "priority between headers and continuation": (get(flags=END_STREAM, payload=GET[:5]) + frame(PRIORITY, 0, 1, b"\0\0\0\0\20"), BROKEN, PROTOCOL),
    "an unknown frame between headers and continuation": (get(flags=END_STREAM, payload=GET[:5]) + frame(0x16, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, GET[5:]), BROKEN, PROTOCOL),
    "continuation behind a reset": (post() + frame(RST, 0, 1, U32(8)) + frame(CONTINUATION, END_HEADERS, 1, GET), BROKEN, PROTOCOL),
    "headers of another stream in between": (get(flags=END_STREAM, payload=GET[:5]) + get(3), BROKEN, PROTOCOL),
    # 5.1: states
    "data on an idle stream": (frame(DATA, END_STREAM, 1, b"x"), BROKEN, PROTOCOL), "reset of an idle stream": (frame(RST, 0, 1, U32(8)), BROKEN, PROTOCOL),
    "window update of an idle stream": (frame(WINDOW, 0, 1, U32(1)), BROKEN, PROTOCOL), "continuation on an idle stream": (frame(CONTINUATION, END_HEADERS, 1, GET), BROKEN, PROTOCOL),
    "data behind the end": (get() + frame(DATA, END_STREAM, 1, b"x"), RESET, STREAM_CLOSED), "headers behind the end": (get() + get(), RESET, STREAM_CLOSED),
    "continuation behind the end": (get() + frame(CONTINUATION, END_HEADERS, 1, GET), BROKEN, PROTOCOL),
    "data behind a reset": (post() + frame(RST, 0, 1, U32(8)) + frame(DATA, END_STREAM, 1, b"x"), RESET, STREAM_CLOSED),
    "headers behind a reset": (post() + frame(RST, 0, 1, U32(8)) + get(), RESET, STREAM_CLOSED),
    "an even stream": (get(2), BROKEN, PROTOCOL), "a lower stream": (get(5) + get(3), BROKEN, PROTOCOL),
    "depends on itself": (get(flags=END_STREAM | END_HEADERS | PRIO, payload=U32(1) + b"\20" + GET), None),
    # 6: each frame
    "data on stream 0": (frame(DATA, 0, 0, b"x"), BROKEN, PROTOCOL), "data with too much padding": (post() + frame(DATA, END_STREAM | PADDED, 1, b"\6test"), BROKEN, PROTOCOL),
    "headers on stream 0": (get(0), BROKEN, PROTOCOL), "headers with too much padding": (get(flags=END_STREAM | END_HEADERS | PADDED, payload=b"\xff" + GET), BROKEN, PROTOCOL),
    "priority on stream 0": (frame(PRIORITY, 0, 0, b"\0\0\0\0\20"), BROKEN, PROTOCOL), "priority of a wrong size": (frame(PRIORITY, 0, 1, b"\0\0\0\0"), RESET, FRAME_SIZE),
    "reset on stream 0": (frame(RST, 0, 0, U32(8)), BROKEN, PROTOCOL), "reset of a wrong size": (post() + frame(RST, 0, 1, b"\0\0\0"), BROKEN, FRAME_SIZE),
    "settings ack with a payload": (frame(SETTINGS, ACK, 0, b"\0"), BROKEN, FRAME_SIZE), "settings on a stream": (frame(SETTINGS, 0, 1, U16U32(3, 1)), BROKEN, PROTOCOL),
    "settings of a wrong size": (frame(SETTINGS, 0, 0, b"\0\3\0"), BROKEN, FRAME_SIZE), "ENABLE_PUSH of 2": (settings((2, 2)), BROKEN, PROTOCOL),
    "a window above the maximum": (settings((4, 1 << 31)), BROKEN, FLOW), "a frame size below the minimum": (settings((5, 16383)), BROKEN, PROTOCOL),
    "a frame size above the maximum": (settings((5, 1 << 24)), BROKEN, PROTOCOL), "push promise of a client": (frame(PUSH, END_HEADERS, 1, U32(2) + GET), BROKEN, PROTOCOL),
    "ping on a stream": (frame(PING, 0, 1, b"12345678"), BROKEN, PROTOCOL), "ping of a wrong size": (frame(PING, 0, 0, b"123456"), BROKEN, FRAME_SIZE),
    "goaway on a stream": (frame(GOAWAY, 0, 1, U32(0) + U32(0)), BROKEN, PROTOCOL),
    "window update of 0": (frame(WINDOW, payload=U32(0)), BROKEN, PROTOCOL), "window update of 0 on a stream": (post() + frame(WINDOW, 0, 1, U32(0)), RESET, PROTOCOL),
    "window update of a wrong size": (frame(WINDOW, payload=b"\0\0\1"), BROKEN, FRAME_SIZE),
    "windows above the maximum": (frame(WINDOW, payload=U32(0x7fffffff)) * 2, BROKEN, FLOW),
    "a stream's window above the maximum": (post() + frame(WINDOW, 0, 1, U32(0x7fffffff)) * 2, RESET, FLOW),
    "a window raised by settings above it": (post() + frame(WINDOW, 0, 1, U32(0x7fffffff - 65535)) + settings((4, 65536)), RESET, FLOW),
    "continuation behind END_HEADERS": (post() + frame(CONTINUATION, END_HEADERS, 1, GET), BROKEN, PROTOCOL),
    "continuation on stream 0": (get(flags=END_STREAM, payload=GET[:5]) + frame(CONTINUATION, END_HEADERS, 0, GET[5:]), BROKEN, PROTOCOL),
    "continuation behind data": (post() + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, END_HEADERS, 1, GET), BROKEN, PROTOCOL),
    # 8.1: messages
    "second headers without an end": (post() + frame(HEADERS, END_HEADERS, 1, block(("x-t", "1"))), RESET, PROTOCOL),
    "pseudo field in trailers": (post() + get(payload=block((":method", "200"))), RESET, PROTOCOL),
    "shorter than content-length": (post(payload=block((":method", "POST"), *FIELDS[1:], ("content-length", "5"))) + frame(DATA, END_STREAM, 1, b"x"), RESET, PROTOCOL),
    "longer than content-length": (post(payload=block((":method", "POST"), *FIELDS[1:], ("content-length", "1"))) + frame(DATA, END_STREAM, 1, b"test"), RESET, PROTOCOL),
    "pieces longer than content-length": (post(payload=block((":method", "POST"), *FIELDS[1:], ("content-length", "1"))) + frame(DATA, 0, 1, b"te")
                                          + frame(DATA, END_STREAM, 1, b"st"), RESET, PROTOCOL),
    # RFC 7541
    "indexed field 0": (get(payload=GET + b"\x80"), BROKEN, COMPRESSION), "an index that does not exist": (get(payload=GET + b"\xc6\xff\xff\x7f"), BROKEN, COMPRESSION),
    "a literal with an index that does not exist": (get(payload=GET + b"\x7f\xff\x7f\1y"), BROKEN, COMPRESSION),
    "table size update at the end": (get(payload=GET + b"\x20"), BROKEN, COMPRESSION), "table size above the setting": (get(payload=b"\x3f\xe2\x7f" + GET), BROKEN, COMPRESSION),
    "Huffman padding of 8 bits": (get(payload=GET + b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), BROKEN, COMPRESSION),
    "Huffman padding of zeros": (get(payload=GET + b"\0\x83\x49\x50\x90\x84\x49\x50\x9f\xff"), BROKEN, COMPRESSION),
    "Huffman end of string": (get(payload=GET + b"\0\x84\xff\xff\xff\xff\1y"), BROKEN, COMPRESSION),
    "incremental indexing": (get(payload=GET + b"\x40\1x\1y") + get(3, payload=GET + b"\xbe"), OK),
    "literal never indexed": (get(payload=GET + b"\x10\1x\1y"), OK), "table size update first": (get(payload=b"\x20" + GET), OK),
}


@pytest.mark.parametrize("name", ROWS)
def test_frames(world, name):
    sent, expected, *code = ROWS[name]
    c = Raw(world.port)
    c.send(sent)
    if expected == OK:
        c.until(lambda: 1 in c.ended)
        assert c.heads[1][0][":status"] == "200" and not c.goaway
    elif expected == RESET:
        c.until(lambda: 1 in c.resets or c.goaway)
        assert c.resets.get(1, c.goaway and c.goaway[1]) in (code[0], PROTOCOL if code[0] == FRAME_SIZE else code[0])
    elif expected == BROKEN:
        assert c.ends() in (None, *code)
    if expected in (OK, RESET, PONG, None):
        c.ping()  # the connection lives, or said why not
        assert c.pings or expected in (RESET, None) and (c.goaway or c.closed)
    c.close()


def test_the_greeting(world):
    c = Raw(world.port, greet=False)
    c.send(PREFACE[:10])  # in two pieces
    assert not c.pump(0.2)
    c.send(PREFACE[10:] + frame(SETTINGS))
    c.until(lambda: any(f[0] == SETTINGS and not f[1] & ACK for f in c.frames))
    assert c.frames[0][0] == SETTINGS  # ours comes first
    c.ping()
    c.close()
    c = Raw(world.port, greet=False)
    c.send(PREFACE[:-8] + b"wrong!\r\n" + frame(SETTINGS))  # neither HTTP/2 nor a request of HTTP/1.1
    c.ends()
    assert not any(f[0] == SETTINGS and f[1] & ACK for f in c.frames)
    c.close()
    c = Raw(world.port, greet=False)
    c.send(PREFACE + frame(PING, payload=b"12345678"))  # the client's SETTINGS must come first
    assert c.ends() == PROTOCOL
    c.close()


def test_windows_are_kept(world):
    c = Raw(world.port, settings=U16U32(4, 3))
    c.send(post() + frame(DATA, END_STREAM, 1, b"test"))
    c.until(lambda: len(c.data.get(1, b"")) == 3)
    c.ping()
    assert c.data[1] == b"bod"
    c.send(settings((4, 1)))  # now it is below zero by two
    c.ping()
    c.send(frame(WINDOW, 0, 1, U32(2)))
    c.ping()
    assert c.data[1] == b"bod"
    c.send(frame(WINDOW, 0, 1, U32(100)))
    c.until(lambda: 1 in c.ended)
    assert c.data[1] == b"body=test"
    c.close()
