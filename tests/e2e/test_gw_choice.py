"""What test_gw_balance.py leaves: every key of a hash, who is chosen by load, slow start, backup servers, priorities and zones,
rate limits by each key, settings of ports; each through real sockets."""
import collections
import http.client
import socket
import subprocess
import threading

import pytest

from conftest import BINARY, free_port, needs_root, wait_until
from test_gw_balance import LOOPS, web  # noqa: F401

pytestmark = needs_root
QUICK = {"type": "HTTP", "interval": "100ms", "timeout": "10s", "rise": 1, "fall": 1, "http": {"path": "/ok"}}
INGRESS = {"group": "networking.k8s.io", "kind": "Ingress", "name": "web"}


def ask(web, path="/", source="127.0.0.1", port=None, **headers):
    """(status, body) of one request on a connection of its own from that address; (0, why)."""
    c = http.client.HTTPConnection("127.0.0.1", port or web.sampan.gateway_port, timeout=60, source_address=(source, 0))
    try:
        c.request("GET", path, headers={"Host": f"{web.ns}.test", **headers})
        r = c.getresponse()
        return r.status, r.read().decode()
    except (OSError, http.client.HTTPException) as e:
        return 0, str(e)
    finally:
        c.close()


def test_hashes_by_each_key(web):
    keys = {"Source": lambda i: {"source": f"127.0.0.{i + 1}"}, "Cookie": lambda i: {"Cookie": f"a=1; cart=u{i}"},
            "Query": lambda i: {"path": f"/?x=1&cart=u{i}"}, "Path": lambda i: {"path": f"/u{i}"}}
    for by, key in keys.items():
        name = {} if by in ("Source", "Path") else {"name": "cart"}
        web.policy(balance={"algorithm": "Hash", "hash": {"by": by, **name}})
        stays = lambda i: len({ask(web, **key(i)) for _ in range(6)}) == 1
        wait_until(lambda: stays(0) and stays(1) and stays(2), f"{by}: one server for one key")
        chosen = {i: ask(web, **key(i))[1] for i in range(60)}
        assert set(chosen.values()) == {"s0", "s1", "s2"}, (by, chosen)
        assert all(ask(web, **key(i))[1] == who for i, who in chosen.items()), by


@pytest.mark.parametrize("algorithm", ["LeastConnections", "RandomOfTwo"])
def test_a_busy_server_is_avoided(web, algorithm):
    """One server holds what it gets: each loop gives it one request; another only while it has not counted the end of an answer."""
    web.policy(balance={"algorithm": algorithm})
    slow = web.servers[0]
    slow.gate, slow.seen = threading.Event(), 0
    threads, done = [], collections.Counter()
    for _ in range(36):
        t = threading.Thread(target=lambda: done.update([web.get()[1]]))
        before = slow.seen
        t.start()
        wait_until(lambda: not t.is_alive() or slow.seen > before, "an answer, or held")
        threads.append(t)
    held = slow.seen
    slow.gate.set()
    for t in threads:
        t.join()
    assert 1 <= held <= LOOPS if algorithm == "LeastConnections" else held <= 12, (held, done)
    assert done["s0"] == held and set(done) == {"s0", "s1", "s2"}, done


def test_a_server_that_comes_back_starts_slowly(web):
    """Those a Service begins with do not, also when the gateway knew it without anybody before."""
    host, target = {"Host": f"late.{web.ns}.test"}, {"group": "", "kind": "Service", "name": "late"}
    web.sampan.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "late"}, "spec": {"rules": [
            {"host": host["Host"], "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "late", "port": {"number": 80}}}}]}}]}},
        namespace=web.ns)
    web.policy(target=target, balance={"algorithm": "RoundRobin"}, slowStart="2m", check=QUICK)
    wait_until(lambda: web.get(headers=host)[0] == 503, "a Service without endpoints")
    web.sampan.apply(
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "late-1", "labels": {"kubernetes.io/service-name": "late"}},
         "ports": [{"name": "http", "port": web.servers[0].port}], "endpoints": [{"addresses": [s.address]} for s in web.servers]}, namespace=web.ns)
    wait_until(lambda: web.get(headers=host)[0] == 200, "endpoints")

    def share(n):
        return web.count(n, headers=host)["s1"]
    web.servers[1].well = False
    wait_until(lambda: share(20 * LOOPS) == 0, "s1 is out")
    web.servers[1].well = True
    wait_until(lambda: ask(web, **host)[1] == "s1", "its first request")
    assert share(90) <= 15  # its turns would be 30
    web.policy(target=target, balance={"algorithm": "RoundRobin"}, check=QUICK)
    wait_until(lambda: share(60) >= 15, "its whole share")


def test_backups_and_priorities_come_in_their_order(web):
    web.policy(servers=[web.server(0, priority=0), web.server(1, priority=1), web.server(2, backup=True)],
               check=QUICK)
    for i in range(3):
        wait_until(lambda: web.count(8) == {f"s{i}": 8}, f"s{i} alone")
        web.servers[i].well = False
    wait_until(lambda: web.get()[0] == 503, "nobody is left")
    web.servers[2].well = True
    wait_until(lambda: web.count(8) == {"s2": 8}, "the backup is back")
    web.servers[0].well = True
    wait_until(lambda: web.count(8) == {"s0": 8}, "the first is back")


def test_an_ejection_ends_with_its_rule(web):
    rule = {"consecutiveFailures": 3, "http": True, "ejectionTime": "1h"}
    web.policy(balance={"algorithm": "RoundRobin"}, outlier=rule)
    web.servers[0].status = 500
    wait_until(lambda: web.count(20 * LOOPS)["s0"] == 0, "s0 is ejected")
    web.servers[0].status = 200
    web.policy(balance={"algorithm": "RoundRobin"}, outlier={**rule, "ejectionTime": "1s", "maxEjectionTime": "1s"})
    wait_until(lambda: web.count(12)["s0"], "it was told to be shorter")
    web.servers[0].status = 500
    web.policy(balance={"algorithm": "RoundRobin"}, outlier=rule)
    wait_until(lambda: web.count(20 * LOOPS)["s0"] == 0, "s0 is ejected again")
    web.servers[0].status = 200
    web.policy(balance={"algorithm": "RoundRobin"})
    assert web.count(12 * LOOPS)["s0"]


def test_a_panic_uses_nobody_who_is_held_out(web):
    def command(*words):
        subprocess.run([BINARY, "gateway", *words, web.servers[0].address, "--control-socket", web.sampan.dir / "gateway.sock"], check=True)
    web.policy(balance={"algorithm": "RoundRobin"}, panicPercent=70, check=QUICK)
    command("disable", "--pool", f"{web.ns}/web:80")
    web.servers[0].well = False  # under repair: its check fails, too
    wait_until(lambda: web.sampan.says(f'{web.ns}/web:80","server":"{web.servers[0].address}'), "s0 fails")
    assert set(web.count(12 * LOOPS)) == {"s1", "s2"}
    web.servers[1].well = False  # half of those that are left
    wait_until(lambda: web.sampan.says(f'{web.ns}/web:80","server":"{web.servers[1].address}'), "s1 fails")
    assert all(set(web.count(12 * LOOPS)) == {"s1", "s2"} for _ in range(3))  # it is used all the same
    command("enable", "--pool", f"{web.ns}/web:80")
    assert set(web.count(12 * LOOPS)) == {"s0", "s1", "s2"}  # sick, but nobody holds it out


def test_a_panic_resets_what_was_there_and_nothing_else(web):
    """onCheckFailure: Reset is for connections of before; those to a server that is used though its check fails go on."""
    port = free_port()
    web.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                      "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": port}]}}, namespace=web.ns)
    web.policy(panicPercent=50, check=QUICK, onCheckFailure="Reset")

    def connect():
        try:
            c = socket.create_connection(("127.0.0.1", port), 60)
            return c if asks(c) else c.close()
        except OSError:
            return None

    def asks(c):
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return c.recv(1000).startswith(b"HTTP/1.1 200")
    before = wait_until(connect, "a connection")
    for s in web.servers:
        s.well = False
    with pytest.raises(ConnectionResetError):
        before.recv(1)
    for s in web.servers:
        wait_until(lambda: web.sampan.says(f'{web.ns}/web:{port}","server":"{s.address}'), "it fails")
    serial = iter(range(1000))

    def lasts():
        """Through a change of something else. What begins before the last of them is out may end with it."""
        c = connect()
        if not c:
            return False
        with c:
            web.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"other{next(serial)}"}, "spec": {
                "type": "NodePort", "ports": [{"name": "http", "port": 81}]}}, namespace=web.ns)
            try:
                return asks(c) and asks(c)
            except OSError:
                return False
    wait_until(lasts, "a connection that stays")


def test_a_changed_check_knows_what_a_shared_one_knew(web):
    """Two Services with the same servers and checks: one check for both, until one of them wants another."""
    host, both = {"Host": f"b.{web.ns}.test"}, ("web", "b")
    web.sampan.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "b"}, "spec": {"rules": [
            {"host": host["Host"], "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "b", "port": {"number": 80}}}}]}}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "b-1", "labels": {"kubernetes.io/service-name": "b"}},
         "ports": [{"name": "http", "port": web.servers[0].port}], "endpoints": [{"addresses": [s.address]} for s in web.servers]}, namespace=web.ns)

    def put(name, **more):
        web.policy(name=name, target={"group": "", "kind": "Service", "name": name}, balance={"algorithm": "RoundRobin"}, check={**QUICK, "timeout": "20s", **more})
    for name in both:
        put(name)
    web.servers[0].well = False
    out = lambda: web.count(20 * LOOPS)["s0"] + web.count(20 * LOOPS, headers=host)["s0"] == 0  # noqa: E731
    wait_until(out, "s0 is down for both")
    web.servers[0].well = None  # from now on nobody hears from it
    for rise, name in enumerate(both, 2):
        put(name, rise=rise)
        assert out()


def test_who_is_near_comes_first(web):
    """Zones of endpoints; an endpoint on this node says which zone is here. Without anybody near, those far away."""
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{web.ns}/endpointslices"
    web.sampan.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                      "metadata": {"name": "other", "labels": {"kubernetes.io/service-name": "other"}}, "ports": [{"name": "http", "port": 1}],
                      "endpoints": [{"addresses": ["192.0.2.200"], "nodeName": "node-1", "zone": "here"}]}, namespace=web.ns)

    def zones(*names):
        o = web.sampan.api("GET", f"{slices}/web-1")[1]
        for e, z in zip(o["endpoints"], names):
            e["zone"], e["hints"] = z, {"forZones": [{"name": z}]}
        assert web.sampan.api("PUT", f"{slices}/web-1", o)[0] == 200

    zones("there", "here", "there")
    wait_until(lambda: web.count(12) == {"s1": 12}, "the one of this zone")
    zones("there", "there", "there")
    wait_until(lambda: set(web.count(30)) == {"s0", "s1", "s2"}, "all, as none is near")


def test_rates_by_each_key(web):
    limit = lambda **more: web.policy(kind="TrafficPolicy", target=INGRESS, rateLimits=[{"requests": 4, "period": "10m", **more}])
    spent = lambda **how: [ask(web, **how)[0] for _ in range(6)]
    limit(by="Source", name="a")
    wait_until(lambda: ask(web, source="127.0.0.2")[0] == 429, "it counts")
    assert spent(source="127.0.0.3") == [200] * 4 + [429] * 2 and ask(web, source="127.0.0.4")[0] == 200
    limit(by="Token", name="b")
    wait_until(lambda: ask(web, Authorization="Bearer probe")[0] == 429, "it counts")
    assert spent(Authorization="Bearer one") == [200] * 4 + [429] * 2 and ask(web, Authorization="Bearer two")[0] == 200
    limit(by="All", name="c")
    wait_until(lambda: ask(web, source="127.0.0.5", Authorization="Bearer x")[0] == 429, "all together")
    assert {ask(web, source=f"127.0.0.{i}", Authorization=f"Bearer {i}")[0] for i in range(20, 24)} == {429}


def test_lists_and_rates_of_a_port(web):
    port = web.servers[0].port
    web.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                      "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": port}]}}, namespace=web.ns)
    node_port = wait_until(lambda: web.sampan.get("service", "web", namespace=web.ns)["spec"]["ports"][0].get("nodePort"), "a port")
    at = lambda source: ask(web, source=source, port=node_port)[0]
    wait_until(lambda: at("127.0.0.1") == 200, "the port")
    web.policy(kind="TrafficPolicy", deny=["127.0.0.8/29"])
    wait_until(lambda: at("127.0.0.9") == 0, "denied")
    assert at("127.0.0.17") == 200
    web.policy(kind="TrafficPolicy", allow=["127.0.0.8/29"])
    wait_until(lambda: at("127.0.0.17") == 0, "not allowed")
    assert at("127.0.0.9") == 200
    web.policy(kind="TrafficPolicy", connectionRate=1)
    wait_until(lambda: 0 in [at("127.0.0.30") for _ in range(12)], "too many at once")
    assert at("127.0.0.31") == 200  # each client has its own


def test_services_of_other_addresses(web):
    """externalIPs, networks that may come, clients that stay."""
    external, port = "192.0.2.77", free_port()
    for a in (external, "192.0.2.1"):
        subprocess.run(["ip", "address", "replace", f"{a}/32", "dev", "lo"], check=True)
    put = lambda **spec: web.sampan.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "ports": [{"name": "http", "port": port, "targetPort": web.servers[0].port}], **spec}}, namespace=web.ns)

    def at(source):
        c = http.client.HTTPConnection(external, port, timeout=60, source_address=(source, 0))
        try:
            c.request("GET", "/")
            return c.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            c.close()

    put(externalIPs=[external], sessionAffinity="ClientIP")
    wait_until(lambda: at(external), "the external address")
    own = [f"192.0.2.{n}" for n in (1, 11, 12, 13, 77)]
    # Whichever loop accepts it.
    wait_until(lambda: all(len({at(source) for _ in range(6)}) == 1 for source in own), "one server for one client")
    for source in own:
        assert len({at(source) for _ in range(16)}) == 1
    put(externalIPs=[], type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.12/32"])
    wait_until(lambda: at("192.0.2.11") is None, "not allowed")
    assert at("192.0.2.12")


SCRIPT = 'test "$HAPROXY_SERVER_ADDR" != %s || exit 3'


def test_scripts_only_where_they_are_allowed(web, workdir):
    """Checks by a command: left out by the gateway of `up`, run by one that was started with --script-checks."""
    s = web.sampan
    gone = web.servers[1].address
    port, where = free_port(), workdir / "scripts"
    where.mkdir()
    web.put("BackendPolicy", "p", check={"type": "Script", "interval": "100ms", "timeout": "20s", "rise": 1, "fall": 1, "script": SCRIPT % gone})
    with open(where / "log", "w") as log:
        own = subprocess.Popen([s.binary, "gateway", "--kubeconfig", s.kubeconfig, "--http-port", str(port), "--https-port", "0", "--cluster-ips", "off",
                                "--bind", "192.0.2.13", "--script-checks", "--control-socket", str(where / "sock")], stdout=log, stderr=log)
    try:
        def at():
            c = http.client.HTTPConnection("192.0.2.13", port, timeout=60)
            try:
                c.request("GET", "/", headers={"Host": f"{web.ns}.test"})
                return c.getresponse().read().decode()
            except OSError as e:
                return str(e)
            finally:
                c.close()
        wait_until(lambda: {at() for _ in range(20 * LOOPS)} == {"s0", "s2"}, "s1 is out")
        assert "server is down" in (where / "log").read_text()
        assert set(web.count(60)) == {"s0", "s1", "s2"}  # up's gateway runs none
    finally:
        own.terminate()
        assert own.wait(60) == 0
