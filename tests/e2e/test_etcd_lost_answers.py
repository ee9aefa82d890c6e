"""The answer of etcd is lost, at a moment that the test chooses: what had been made is not made again, and nobody is
told that it was not made.

Between one API server and etcd there is a proxy, which keeps back what etcd answers, or what it was asked, and then
breaks the connection off. Another way leads around it.
"""
import select
import shutil
import socket
import threading
import time

import pytest

from conftest import free_port, wait_until
from test_etcd import CONFIGS, Api, Etcd, config

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")
MARK = b"the-marked-one"


class Way:
    """To etcd, for one connection at a time or many. `armed`: at the next request with the mark …"""

    def __init__(self, target):
        self.target, self.port = target, free_port()
        self.armed = None            # "answer": … it is passed on, and nothing comes back; "request": … it is kept
        self.caught = threading.Event()
        self.broken = False          # no connection is taken any more
        self.kept, self.pairs = [], []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.broken:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.pairs.append((client, server))
            threading.Thread(target=self.carry, args=(client, server), daemon=True).start()

    def carry(self, client, server):
        silent = False
        try:
            while True:
                for s in select.select([client, server], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    if s is server:
                        if not silent:
                            client.sendall(data)
                    elif silent or (self.armed and MARK in data):
                        if self.armed == "request":
                            self.kept.append((server, data))
                        elif not silent:
                            server.sendall(data)
                        silent = True
                        self.caught.set()
                    else:
                        server.sendall(data)
        except (OSError, ValueError):
            pass

    def arm(self, what):
        self.caught.clear()
        self.armed = what

    def cut(self):
        """For the API server; what is kept may still go to etcd."""
        self.broken, self.armed = True, None
        for client, _ in self.pairs:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def release(self):
        for server, data in self.kept:
            server.sendall(data)


class Setting:
    def __init__(self, directory):
        self.etcd = Etcd(directory)
        wait_until(self.listens, "etcd")  # else the first endpoint is left before it is used
        self.way, self.around = Way(self.etcd.port), Way(self.etcd.port)
        both = type("Urls", (), {"url": f"{self.way.url},{self.around.url}"})
        self.a, self.b = Api(directory, both, "a").start(), Api(directory, self.etcd, "b").start()
        wait_until(lambda: self.a.ready() and self.b.ready(), "two API servers")

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.etcd.port)).close()
            return True
        except OSError:
            return False

    def lose(self, what, *request):
        """Asks a, and waits until the proxy has caught it; what a will answer is in `self.said`."""
        self.said = []
        self.way.arm(what)
        headers = request[3] if len(request) > 3 else None
        self.thread = threading.Thread(target=lambda: self.said.append(self.a.call(*request[:3], headers=headers)), daemon=True)
        self.thread.start()
        assert self.way.caught.wait(60)

    def answer(self):
        self.way.cut()
        self.thread.join(60)
        return self.said[0]

    def stop(self):
        self.a.stop()
        self.b.stop()
        self.etcd.stop()


@pytest.fixture
def setting(tmp_path):
    s = Setting(tmp_path)
    yield s
    s.stop()


def marked(name, **data):
    return config(name, mark=MARK.decode(), **data)


def test_an_update_that_was_made_and_written_over(setting):
    s = setting
    _, obj = s.b.call("POST", CONFIGS, config("c", v="0"))
    s.lose("answer", "PUT", f"{CONFIGS}/c", {**obj, "data": {"v": "a", "mark": MARK.decode()}})
    seen = wait_until(lambda: (lambda o: o if o["data"]["v"] == "a" else None)(s.b.call("GET", f"{CONFIGS}/c")[1]), "it was made")
    assert s.b.call("PUT", f"{CONFIGS}/c", {**seen, "data": {"v": "b"}})[0] == 200
    status, said = s.answer()
    # It was made. That may be said, or that nobody knows; not that it was not.
    assert status in (200, 504), said
    if status == 200:
        assert said == seen
    assert s.a.call("GET", f"{CONFIGS}/c")[1]["data"] == {"v": "b"}


def test_a_patch_is_not_made_twice(setting):
    s = setting
    s.b.call("POST", CONFIGS, config("c", v="0"))
    s.lose("answer", "PATCH", f"{CONFIGS}/c", {"data": {"v": "a", "mark": MARK.decode()}})
    wait_until(lambda: s.b.call("GET", f"{CONFIGS}/c")[1]["data"]["v"] == "a", "it was made")
    assert s.b.call("PATCH", f"{CONFIGS}/c", {"data": {"v": "b"}})[0] == 200
    status, said = s.answer()
    assert status in (200, 504), said
    assert s.a.call("GET", f"{CONFIGS}/c")[1]["data"]["v"] == "b"


def test_an_update_that_was_made(setting):
    s = setting
    _, obj = s.b.call("POST", CONFIGS, config("c", v="0"))
    s.lose("answer", "PUT", f"{CONFIGS}/c", {**obj, "data": {"v": "a", "mark": MARK.decode()}})
    wait_until(lambda: s.b.call("GET", f"{CONFIGS}/c")[1]["data"]["v"] == "a", "it was made")
    status, said = s.answer()
    assert status == 200 and said == s.b.call("GET", f"{CONFIGS}/c")[1]


def test_an_update_that_was_not_made(setting):
    """It is made once, and what comes late is not."""
    s = setting
    _, obj = s.b.call("POST", CONFIGS, config("c", v="0"))
    s.lose("request", "PUT", f"{CONFIGS}/c", {**obj, "data": {"v": "a", "mark": MARK.decode()}})
    status, said = s.answer()
    assert status == 200, said
    assert s.b.call("PUT", f"{CONFIGS}/c", {**said, "data": {"v": "b"}})[0] == 200
    s.way.release()
    time.sleep(0.5)  # for what must not come
    assert s.b.call("GET", f"{CONFIGS}/c")[1]["data"] == {"v": "b"}


def test_a_creation_that_was_made(setting):
    s = setting
    s.lose("answer", "POST", CONFIGS, marked("c"))
    made = wait_until(lambda: (lambda r: r[1] if r[0] == 200 else None)(s.b.call("GET", f"{CONFIGS}/c")), "it was made")
    status, said = s.answer()
    assert status == 201 and said == made


def test_a_creation_that_was_made_and_changed(setting):
    s = setting
    s.lose("answer", "POST", CONFIGS, marked("c"))
    wait_until(lambda: s.b.call("GET", f"{CONFIGS}/c")[0] == 200, "it was made")
    assert s.b.call("PATCH", f"{CONFIGS}/c", {"data": {"v": "b"}})[0] == 200
    status, said = s.answer()
    assert status in (201, 504), said


def test_a_creation_is_not_made_under_two_names(setting):
    s = setting
    s.lose("answer", "POST", CONFIGS, {"metadata": {"generateName": "c-"}, "data": {"mark": MARK.decode()}})
    name = wait_until(lambda: [o["metadata"]["name"] for o in s.b.call("GET", CONFIGS)[1]["items"]], "it was made")[0]
    assert s.b.call("PATCH", f"{CONFIGS}/{name}", {"data": {"v": "b"}})[0] == 200
    s.answer()
    assert len(s.b.call("GET", CONFIGS)[1]["items"]) == 1


def test_what_is_deleted_does_not_come_back(setting):
    """A request that etcd gets late: the object was made by the second try, and has been deleted since."""
    s = setting
    s.lose("request", "POST", CONFIGS, marked("c"))
    status, said = s.answer()
    assert status in (201, 504), said
    gone = s.b.call("DELETE", f"{CONFIGS}/c")[0]
    s.way.release()
    time.sleep(0.5)  # for what must not come
    # Who was told that nobody knows has to expect it at any time.
    assert status == 504 or (gone == 200 and s.b.call("GET", f"{CONFIGS}/c")[0] == 404)


def test_a_deletion_that_was_made(setting):
    s = setting
    s.b.call("POST", CONFIGS, marked("the-marked-one"))
    s.lose("answer", "DELETE", f"{CONFIGS}/the-marked-one", None)
    wait_until(lambda: s.b.call("GET", f"{CONFIGS}/the-marked-one")[0] == 404, "it was made")
    status, said = s.answer()
    assert status in (200, 504), said
    # A client that retries by itself would be told that it had never been there.
    assert status == 200 or "Retry-After" not in s.a.headers


def test_no_answer_at_all(setting):
    """Neither way answers: whoever asked is told that nobody knows, and not to ask again by himself."""
    s = setting
    _, obj = s.b.call("POST", CONFIGS, config("c", v="0"))
    s.lose("answer", "PUT", f"{CONFIGS}/c", {**obj, "data": {"v": "a", "mark": MARK.decode()}})
    wait_until(lambda: s.b.call("GET", f"{CONFIGS}/c")[1]["data"]["v"] == "a", "it was made")
    s.around.cut()
    status, said = s.answer()
    assert status == 504 and "Retry-After" not in s.a.headers, said
