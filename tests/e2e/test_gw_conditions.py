"""What test_gw_routes.py leaves of the Gateway API: every reason of a condition as the specification words it, who may attach,
and the fields of routes that change what a client gets; by kubectl and curl."""
import json
import socket
import threading

import pytest

from conftest import Sampan, free_port, own_address, wait_until
from test_gw_routes import GROUP, Backend, backends, conditions, curl, gateway, listeners_of, ns, parent_conditions, route, service, to, \
    wait_condition, wait_who, who  # noqa: F401


@pytest.fixture(scope="module")
def s(workdir):
    s = Sampan(workdir / "conditions", roles="apiserver,gateway").start()
    yield s
    s.stop()


def gateway_conditions(s, name, ns):
    o = s.get("gateway", name, namespace=ns)
    return conditions(o.get("status", {"conditions": []}))


def wait_listener(s, ns, gateway_name, listener, **want):
    """want: condition=(status, reason)."""
    def look():
        found = listeners_of(s, gateway_name, ns).get(listener, ({},))[0]
        return all(found.get(k) == v for k, v in want.items())
    wait_until(look, f"{listener}: {want}")


def test_listeners_that_cannot_be(s, ns):
    port, other = free_port(), free_port()
    listener = lambda name, **more: {"name": name, "port": port, "protocol": "HTTP", **more}
    s.apply(gateway("gw", listener("http"), listener("tcp", protocol="TCP", port=other), listener("web", port=other),
                    listener("udp", protocol="UDP"), listener("odd", protocol="example.com/quic", port=free_port()),
                    listener("kinds", hostname="kinds.test", allowedRoutes={"kinds": [{"kind": "HTTPRoute"}, {"kind": "TCPRoute"}]}),
                    listener("none", hostname="none.test", allowedRoutes={"kinds": [{"kind": "Toast"}]})), namespace=ns)
    for name in ("tcp", "web"):
        wait_listener(s, ns, "gw", name, Conflicted=("True", "ProtocolConflict"), Accepted=("False", "ProtocolConflict"), Programmed=("False", "Invalid"))
    for name in ("udp", "odd"):
        wait_listener(s, ns, "gw", name, Accepted=("False", "UnsupportedProtocol"), Programmed=("False", "Invalid"))
    wait_listener(s, ns, "gw", "kinds", ResolvedRefs=("False", "InvalidRouteKinds"))
    wait_listener(s, ns, "gw", "none", ResolvedRefs=("False", "InvalidRouteKinds"))
    wait_listener(s, ns, "gw", "http", Accepted=("True", "Accepted"), Programmed=("True", "Programmed"), ResolvedRefs=("True", "ResolvedRefs"),
                  Conflicted=("False", "NoConflicts"))
    found = listeners_of(s, "gw", ns)
    assert found["kinds"][2] == ["HTTPRoute"] and found["none"][2] == [] and found["udp"][2] == []
    # Some are fine: the Gateway is accepted, and says that others are not.
    wait_until(lambda: gateway_conditions(s, "gw", ns) == {"Accepted": ("True", "ListenersNotValid"), "Programmed": ("True", "Programmed")}, "the Gateway")
    o = s.get("gateway", "gw", namespace=ns)
    for c in o["status"]["conditions"] + [c for l in o["status"]["listeners"] for c in l["conditions"]]:
        assert c["observedGeneration"] == o["metadata"]["generation"] and c["lastTransitionTime"]
    # What nobody can serve, and what is put right.
    s.apply(gateway("gw", listener("udp", protocol="UDP")), namespace=ns)
    wait_until(lambda: gateway_conditions(s, "gw", ns) == {"Accepted": ("False", "ListenersNotValid"), "Programmed": ("False", "Invalid")}, "nothing is left")
    s.apply(gateway("gw", listener("http")), namespace=ns)
    wait_until(lambda: gateway_conditions(s, "gw", ns) == {"Accepted": ("True", "Accepted"), "Programmed": ("True", "Programmed")}, "all is well")
    assert list(listeners_of(s, "gw", ns)) == ["http"]


def test_classes_and_addresses(s, ns):
    port = free_port()
    listener = {"name": "http", "port": port, "protocol": "HTTP"}
    classes = lambda: {c["metadata"]["name"]: conditions(c.get("status", {"conditions": []})) for c in s.get("gatewayclass")["items"]}
    s.apply({"apiVersion": f"{GROUP}/v1", "kind": "GatewayClass", "metadata": {"name": "mine"},
             "spec": {"controllerName": "sampan.dev/gateway", "parametersRef": {"group": "x.y", "kind": "Z", "name": "z"}}},
            {"apiVersion": f"{GROUP}/v1", "kind": "GatewayClass", "metadata": {"name": "foreign"}, "spec": {"controllerName": "example.com/other"}},
            gateway("away", listener, gatewayClassName="foreign"),
            gateway("lost", {**listener, "port": free_port()}, addresses=[{"type": "IPAddress", "value": "198.51.100.77"}]),
            gateway("named", {**listener, "port": free_port()}, addresses=[{"type": "Hostname", "value": "gw.test"}]),
            gateway("here", {**listener, "port": port}, addresses=[{"type": "IPAddress", "value": own_address()}]),
            route("HTTPRoute", "r", "here", [{"backendRefs": [to("red")]}]), namespace=ns)
    wait_until(lambda: classes()["mine"].get("Accepted") == ("False", "InvalidParameters"), "parameters that nobody takes")
    wait_until(lambda: classes()["sampan"].get("Accepted") == ("True", "Accepted"), "ours")
    wait_until(lambda: gateway_conditions(s, "named", ns) == {"Accepted": ("False", "UnsupportedAddress"), "Programmed": ("False", "Invalid")}, "a name")
    wait_until(lambda: gateway_conditions(s, "lost", ns).get("Programmed") == ("False", "AddressNotUsable"), "an address of somebody else")
    wait_until(lambda: gateway_conditions(s, "here", ns).get("Programmed") == ("True", "Programmed"), "an address of ours")
    assert s.get("gateway", "here", namespace=ns)["status"]["addresses"] == [{"type": "IPAddress", "value": own_address()}]
    wait_until(lambda: s.http(port=port, host=own_address())[0] == 200, "its answer")
    assert s.http(port=port)[0] == 0  # not at the others
    # Those of other controllers are not ours to write.
    assert set(classes()["foreign"].values()) <= {("Unknown", "Pending")}
    assert set(gateway_conditions(s, "away", ns).values()) <= {("Unknown", "Pending")}
    s.kubectl("delete", "gatewayclass", "mine", "foreign")


def test_who_may_attach(s, ns):
    port, second, friend = free_port(), free_port(), ns + "-friend"
    s.kubectl("create", "namespace", friend)
    s.kubectl("label", "namespace", friend, "tier=shop")
    listener = lambda name, **more: {"name": name, "port": port, "protocol": "HTTP", "hostname": f"{name}.test", **more}
    s.apply(gateway("gw", listener("same"), listener("all", allowedRoutes={"namespaces": {"from": "All"}}),
                    listener("chosen", allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"tier": "shop"}}}}),
                    listener("rpc", allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]}), {"name": "other", "port": second, "protocol": "HTTP"}), namespace=ns)
    answer = [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "there.test"}}]}]
    for where in (ns, friend):
        s.apply(*(route("HTTPRoute", n, "gw", answer, sectionName=n, namespace=ns) for n in ("same", "all", "chosen", "rpc")),
                route("HTTPRoute", "host", "gw", answer, ["elsewhere.test"], sectionName="all", namespace=ns),
                route("HTTPRoute", "port", "gw", answer, ["port.test"], port=second, namespace=ns),
                route("HTTPRoute", "noport", "gw", answer, port=1, namespace=ns), namespace=where)
    yes, no = ("True", "Accepted"), ("False", "NotAllowedByListeners")
    for where, name, want in ((ns, "same", yes), (ns, "all", yes), (ns, "chosen", no), (friend, "same", no), (friend, "all", yes), (friend, "chosen", yes),
                              (ns, "rpc", no), (ns, "port", yes), (friend, "port", no), (ns, "noport", ("False", "NoMatchingParent")),
                              (ns, "host", ("False", "NoMatchingListenerHostname"))):
        wait_condition(s, "httproute", name, where, "Accepted", want)
    wait_until(lambda: {n: l[1] for n, l in listeners_of(s, "gw", ns).items()} == {"same": 1, "all": 2, "chosen": 1, "rpc": 0, "other": 1}, "those that are counted")
    wait_until(lambda: curl(second, "port.test")[0] == 302, "the route of one port")
    assert curl(port, "port.test")[0] == 404 and curl(port, "chosen.test")[0] == 302 and curl(port, "rpc.test")[0] == 404
    # Labels change, and with them who is let in.
    s.kubectl("label", "namespace", friend, "tier-")
    wait_condition(s, "httproute", "chosen", friend, "Accepted", no)
    wait_until(lambda: curl(port, "chosen.test")[0] == 404, "its route is gone")
    assert s.get("httproute", "same", namespace=ns)["status"]["parents"][0]["controllerName"] == "sampan.dev/gateway"


def test_protocols_of_backends(s, ns, backends):
    port = free_port()
    s.apply(*(o for name, app in (("odd", "example.com/own"), ("ws", "kubernetes.io/ws"), ("hint", "http"), ("later", "kubernetes.io/later"))
              for o in service(name, backends["red"], {"appProtocol": app})),
            gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            *(route("HTTPRoute", n, "gw", [{"backendRefs": [to(n)]}], [f"{n}.test"]) for n in ("odd", "ws", "hint", "later")),
            route("GRPCRoute", "rpc", "gw", [{"backendRefs": [to("ws")]}], ["rpc.test"]), namespace=ns)
    for kind, name in (("httproute", "odd"), ("httproute", "later"), ("grpcroute", "rpc")):
        wait_condition(s, kind, name, ns, "ResolvedRefs", ("False", "UnsupportedProtocol"))
        wait_condition(s, kind, name, ns, "Accepted", ("True", "Accepted"))
    wait_who(port, ("odd.test", "/", 500), ("ws.test", "/", "red"), ("hint.test", "/", "red"))
    wait_condition(s, "httproute", "ws", ns, "ResolvedRefs", ("True", "ResolvedRefs"))


def test_redirects_and_rewrites(s, ns):
    port = free_port()
    rule = lambda at, **more: {"matches": [{"path": {"value": at}}], **more}
    redirect = lambda at, **more: rule(at, filters=[{"type": "RequestRedirect", "requestRedirect": more}])
    full = {"type": "ReplaceFullPath", "replaceFullPath": "/all"}
    s.apply(gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "r", "gw", [
                redirect("/https", scheme="https"), redirect("/port", port=8443), redirect("/full", path=full, statusCode=303), redirect("/keep", statusCode=308),
                redirect("/temp", statusCode=307),
                rule("/rewrite", backendRefs=[to("red")], filters=[{"type": "URLRewrite", "urlRewrite": {"path": full}}]),
                rule("/half", backendRefs=[to("red")], filters=[{"type": "RequestMirror", "requestMirror": {"backendRef": to("blue"), "percent": 0}},
                                                                {"type": "RequestMirror", "requestMirror": {"backendRef": to("green"), "fraction": {"numerator": 1, "denominator": 1}}}])],
                  ["r.test"]), namespace=ns)
    wait_who(port, ("r.test", "/half", "red"))
    for path, status, location in (("/https/a", 302, "https://r.test/https/a"), ("/port", 302, "http://r.test:8443/port"), ("/full/x?y=1", 303, f"http://r.test:{port}/all?y=1"),
                                   ("/keep", 308, f"http://r.test:{port}/keep"), ("/temp", 307, f"http://r.test:{port}/temp")):
        got = curl(port, "r.test", path)
        assert (got[0], got[1].get("location")) == (status, location), path
    assert curl(port, "r.test", "/rewrite/x?y=1")[2]["path"] == "/all?y=1"


class Moody:
    """Answers 503 as often as it is told, then 200; or, told so, late."""

    def __init__(self):
        self.listener = socket.create_server((own_address(), 0))
        self.port, self.bad, self.seen, self.gate = self.listener.getsockname()[1], 0, 0, None
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            c = self.listener.accept()[0]
            threading.Thread(target=self.answer, args=(c,), daemon=True).start()

    def answer(self, c):
        with c:
            while b"\r\n\r\n" not in c.recv(65536):
                pass
            self.seen += 1
            status = b"503 No" if self.bad else b"200 OK"
            self.bad = max(self.bad - 1, 0)
            if self.gate:
                self.gate.wait(60)
            c.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def test_timeouts_and_retries_of_rules(s, ns):
    port, moody = free_port(), Moody()
    rule = lambda path, **more: {"matches": [{"path": {"value": path}}], "backendRefs": [to("moody")], **more}
    s.apply(*service("moody", moody), gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "r", "gw", [rule("/late", timeouts={"request": "300ms"}), rule("/each", timeouts={"request": "1m", "backendRequest": "300ms"}),
                                           rule("/again", retry={"codes": [503], "attempts": 2, "backoff": "10ms"}), rule("/once")]), namespace=ns)
    wait_until(lambda: curl(port, "r.test", "/once")[0] == 200, "the route")
    wait_until(lambda: curl(port, "r.test", "/again")[0] == 200, "its rules")
    for bad, path, status, asked in ((2, "/again", 200, 3), (3, "/again", 503, 3), (1, "/once", 503, 1)):
        moody.bad, moody.seen = bad, 0
        assert (curl(port, "r.test", path)[0], moody.seen) == (status, asked), (bad, path)
    moody.bad, moody.gate = 0, threading.Event()
    assert curl(port, "r.test", "/late")[0] == 504 and curl(port, "r.test", "/each")[0] == 504
    moody.gate.set()
    assert curl(port, "r.test", "/each")[0] in (200, 504) and curl(port, "r.test", "/once")[0] == 200


def test_sessions_stay(s, ns):
    """By a cookie, in the spelling of v1.1 to v1.4 and in the later one."""
    port = free_port()
    rule = lambda at, **more: {"matches": [{"path": {"value": at}}], "backendRefs": [to("red")], "sessionPersistence": {"absoluteTimeout": "1h", **more}}
    s.apply(gateway("gw", {"name": "http", "port": port, "protocol": "HTTP"}),
            route("HTTPRoute", "r", "gw", [rule("/old", sessionName="cart", cookieConfig={"lifetimeType": "Permanent"}), rule("/brief", sessionName="till"),
                                           rule("/new", cookie={"name": "cart", "lifetimeType": "Permanent"}), rule("/idle", idleTimeout="1m")], ["s.test"]), namespace=ns)
    wait_who(port, ("s.test", "/new", "red"))
    for path in ("/old", "/new"):
        cookie = curl(port, "s.test", path)[1]["set-cookie"]
        assert cookie.startswith("cart=") and "Max-Age=3600" in cookie
        assert "set-cookie" not in curl(port, "s.test", path, "-H", f"Cookie: {cookie.split(';')[0]}")[1]
    brief = curl(port, "s.test", "/brief")[1]["set-cookie"]
    assert brief.startswith("till=") and "Max-Age" not in brief
    # Not carried out, and told.
    wait_until(lambda: parent_conditions(s, "httproute", "r", ns).get("PartiallyInvalid") == ("True", "UnsupportedValue"), "idleTimeout")
    assert curl(port, "s.test", "/idle")[0] == 404


def test_a_bad_change_harms_nobody(s, ns):
    """Refused by the API, or told on the object; what was good goes on."""
    port = free_port()
    listener = {"name": "http", "port": port, "protocol": "HTTP"}
    good = route("HTTPRoute", "good", "gw", [{"backendRefs": [to("red")]}], ["good.test"])
    s.apply(gateway("gw", listener), good, namespace=ns)
    wait_who(port, ("good.test", "/", "red"))
    bad = json.loads(json.dumps(good))
    bad["spec"]["rules"][0]["matches"] = [{"path": {"type": "RegularExpression", "value": "/("}}]
    r = s.apply(bad, namespace=ns, check=False)
    if r.code == 0:  # taken, and told
        wait_until(lambda: parent_conditions(s, "httproute", "good", ns).get("Accepted", ("",))[0] == "False"
                   or "PartiallyInvalid" in parent_conditions(s, "httproute", "good", ns), "the bad pattern is told")
    else:
        assert who(port, "good.test") == "red", r
    s.apply(good, namespace=ns)
    wait_who(port, ("good.test", "/", "red"))
    status, answer = s.api("PATCH", f"/apis/{GROUP}/v1/namespaces/{ns}/gateways/gw", {"spec": {"listeners": [{**listener, "port": 70000}]}},
                           headers={"Content-Type": "application/merge-patch+json"})
    assert status == 422 and "port" in answer["message"]
    assert who(port, "good.test") == "red"
