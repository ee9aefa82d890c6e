"""What a hostile pod, client or neighbour on the machine must not be able to do."""
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys

import pytest
from conftest import needs_root, own_address, wait_until


def context_of(sampan, name=None, cert=None, key=None):
    """A client that shows pki/NAME, another pair, or nothing."""
    context = ssl._create_unverified_context()
    if name:
        cert, key = sampan.dir / f"pki/{name}.crt", sampan.dir / f"pki/{name}.key"
    if cert:
        context.load_cert_chain(cert, key)
    return context


def ask(port, context, path="/api/v1/nodes", headers=(), method="GET", body=None):
    """(status, text); status 0 when TLS was refused."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    try:
        connection.request(method, path, body, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected) as e:
        return 0, str(e)
    finally:
        connection.close()


def make_certificate(where, subject, signer=None, days=1, usage="clientAuth"):
    """A pair made with openssl; signer: (certificate, key), None signs itself."""
    key, request, cert, extensions = (where / f"{subject}.{s}" for s in ("key", "csr", "crt", "ext"))
    run = lambda *a: subprocess.run(a, check=True, capture_output=True)  # noqa: E731
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
        "-subj", f"/O=system:masters/CN={subject}")
    extensions.write_text(f"extendedKeyUsage={usage}\n")
    how = ["-CA", signer[0], "-CAkey", signer[1], "-CAcreateserial"] if signer else ["-signkey", key]
    run("openssl", "x509", "-req", "-in", request, "-days", str(days), "-extfile", extensions, "-out", cert, *how)
    return cert, key


def test_only_certificates_of_the_installation_count(sampan, tmp_path):
    ca = (sampan.dir / "pki/ca.crt", sampan.dir / "pki/ca.key")
    assert ask(sampan.api_port, context_of(sampan, "admin"))[0] == 200
    stranger = context_of(sampan, None, *make_certificate(tmp_path, "stranger"))
    server = context_of(sampan, None, *make_certificate(tmp_path, "server", ca, usage="serverAuth"))
    expired = context_of(sampan, None, *make_certificate(tmp_path, "expired", ca, days=-1))
    good = context_of(sampan, None, *make_certificate(tmp_path, "good", ca))
    assert ask(sampan.api_port, good)[0] == 200
    for context in (stranger, server, expired, context_of(sampan, "apiserver"), context_of(sampan)):
        assert ask(sampan.api_port, context)[0] in (0, 401, 403)


def test_anonymous_reaches_four_paths(sampan):
    nobody = context_of(sampan)
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert ask(sampan.api_port, nobody, path)[0] == 200
    claims = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "Impersonate-User": "admin",
              "Impersonate-Group": "system:masters", "X-Forwarded-Client-Cert": "Subject=\"CN=admin,O=system:masters\""}
    for path in ("/", "/api", "/apis", "/metrics", "/openapi/v2", "/openapi/v3", "/api/v1/namespaces", "/api/v1/nodes",
                 "/healthz/../api/v1/nodes", "/version/../api/v1/secrets", "/%61pi/v1/secrets", "//api/v1/secrets",
                 "/healthz/%2e%2e/api/v1/secrets"):
        for headers in ({}, claims):
            assert ask(sampan.api_port, nobody, path, headers)[0] in (400, 401, 403, 404), path
    for token in ("", "x", "a" * 5000, "\t"):
        assert ask(sampan.api_port, nobody, headers={"Authorization": f"Bearer {token}"})[0] in (400, 401, 403)


def test_only_administrators_make_tokens_to_join(sampan):
    """A token gets the key of the CA: the certificates of the roles must not lead to one."""
    secrets = "/api/v1/namespaces/kube-system/secrets"
    token = json.dumps({"metadata": {"name": "join-token-abcdef"}, "type": "sampan.dev/join-token"})

    def call(who, method, path, body=None):
        return ask(sampan.api_port, context_of(sampan, who), path, {"Content-Type": "application/json"}, method, body)
    for role in ("agent", "controllers", "gateway"):
        code, answer = call(role, "POST", secrets, token)
        assert code == 403 and "only system:masters may" in json.loads(answer)["message"], answer
    assert call("admin", "POST", secrets, token)[0] == 201
    for role in ("agent", "controllers", "gateway"):
        assert call(role, "DELETE", f"{secrets}/join-token-abcdef")[0] == 403
    assert call("admin", "DELETE", f"{secrets}/join-token-abcdef")[0] == 200


def test_names_are_no_paths(sampan, ns):
    for name in ("..", "%2e%2e", "..%2f..%2fnodes", "a%2fb", "a%00b", "a%0ab", "%0d%0aX: y"):
        for method in ("GET", "DELETE"):
            path = f"/api/v1/namespaces/{ns}/configmaps/{name}".replace(" ", "%20")
            assert sampan.api(method, path)[0] in (400, 404), (method, name)
    for name in ("..", "a/b", "a\nb", "a\0b", "/x", "A"):
        code, _ = sampan.api("POST", f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": name}})
        assert code in (400, 422), name
    code, made = sampan.api("POST", f"/api/v1/namespaces/{ns}/configmaps",
                            {"metadata": {"name": "own-uid", "uid": "../../../../etc"}})
    assert code == 201 and ".." not in made["metadata"]["uid"]


def test_metrics_do_not_grow_with_what_is_asked(sampan):
    before = len(sampan.api("GET", "/metrics")[1].splitlines())
    for i in range(200):
        sampan.api("GET", f"/apis/g{i}.example/v1/kinds{i}/x%22{i}")
    text = sampan.api("GET", "/metrics")[1]
    assert len(text.splitlines()) < before + 60 and "g7.example" not in text and "kinds7" not in text


def test_endpoints_do_not_lead_into_the_host(sampan, ns):
    def put(ip):
        return sampan.api("POST", f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices", {
            "metadata": {"generateName": "s-"}, "addressType": "IPv4", "ports": [{"port": sampan.api_port}],
            "endpoints": [{"addresses": [ip]}]})[0]
    assert put("127.0.0.1") == 422 and put("169.254.169.254") == 422 and put("0.0.0.0") == 422
    assert put(own_address()) == 201


def test_a_node_cannot_send_the_api_server_anywhere(sampan, ns):
    """Logs are asked for at the address a Node object tells: only an agent of ours may answer there."""
    name = "elsewhere"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sampan.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}},
                     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "there", "namespace": ns},
                      "spec": {"nodeName": name, "containers": [{"name": "c", "image": "x"}]}}, namespace=ns)

        def logs(address, port):
            sampan.api("PATCH", f"/api/v1/nodes/{name}/status",
                       {"status": {"addresses": [{"type": "InternalIP", "address": address}],
                                   "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}},
                       headers={"Content-Type": "application/merge-patch+json"})
            return sampan.api("GET", f"/api/v1/namespaces/{ns}/pods/there/log")
        code, answer = logs("evil.example/x?", listener.getsockname()[1])
        assert code == 503 and "no IP address" in json.dumps(answer)
        listener.settimeout(20)
        import threading
        heard = []

        def take():
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))
        t = threading.Thread(target=take)
        t.start()
        assert logs("127.0.0.1", listener.getsockname()[1])[0] == 503
        t.join(20)
        assert heard and heard[0][:1] == b"\x16" and b"GET" not in heard[0]  # a TLS greeting and nothing else
    sampan.api("DELETE", f"/api/v1/nodes/{name}")


# --- machines that run containers ---

@needs_root
def test_the_agent_answers_only_the_api_server(sampan):
    port = sampan.agent_port
    assert ask(port, context_of(sampan), "/metrics")[0] == 0
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        plain.request("GET", "/metrics")
        assert plain.getresponse().status == 400
        raise ConnectionError("said no in plain text")
    for name in ("gateway", "agent", "controllers"):
        for path in ("/metrics", "/containerLogs/a/b/c"):
            assert ask(port, context_of(sampan, name), path)[0] == 403, name
    assert ask(port, context_of(sampan, "apiserver"), "/metrics")[0] == 0  # for servers only
    assert ask(port, context_of(sampan, "apiserver-kubelet-client"), "/metrics")[0] == 200
    assert ask(port, context_of(sampan, "apiserver-kubelet-client"), "/containerLogs/..%2f../x/y")[0] in (400, 404)


FIND = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = []
for top, dirs, files in os.walk(sys.argv[1]):
    found += [os.path.join(top, f) for f in files]
for line in open("/proc/self/mountinfo"):
    place = line.split()[4]
    if place.startswith(sys.argv[1]):
        for top, dirs, files in os.walk(place):
            found += [os.path.join(top, f) for f in files]
for path in sys.argv[2:] + found:
    try:
        open(path).read(1)
        print("READ", path)
    except OSError:
        pass
"""


@needs_root
def test_neighbours_on_the_machine_read_nothing(sampan, ns, busybox):
    os.chmod(sampan.dir.parent, 0o755)
    sampan.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "geheim"}},
                 {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
                     "terminationGracePeriodSeconds": 0, "volumes": [{"name": "s", "secret": {"secretName": "s"}},
                                                                     {"name": "e", "emptyDir": {}}],
                     "containers": [{"name": "c", "image": "busybox:test", "securityContext": {"runAsUser": 65534},
                                     "command": ["sh", "-c", "cat /s/k; echo; echo x > /e/f; exec sleep 1000"],
                                     "volumeMounts": [{"name": "s", "mountPath": "/s"}, {"name": "e", "mountPath": "/e"}]}]}},
                 namespace=ns)
    wait_until(lambda: "geheim" in sampan.kubectl("logs", "p", "-n", ns, check=False).out, "the pod reads its secret")
    uid = sampan.get("pod", "p", namespace=ns)["metadata"]["uid"]
    known = [f"{sampan.dir}/agent/run/vol/{uid}/s/k", f"{sampan.dir}/agent/pods/{uid}/volumes/e/f", f"{sampan.dir}/agent/pods/{uid}/etc/hosts",
             f"{sampan.dir}/pki/ca.key", f"{sampan.dir}/kubeconfig"]
    assert os.path.exists(known[0]) and os.path.exists(known[1])
    done = subprocess.run([sys.executable, "-c", FIND, str(sampan.dir), *known], capture_output=True, text=True, check=True)
    assert "READ" not in done.stdout, done.stdout
    for path in sampan.dir.rglob("*.key"):
        assert path.stat().st_mode & 0o077 == 0, path


@needs_root
def test_sub_paths_stay_inside_their_volume(sampan, ns, busybox):
    sampan.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a.txt": "from the map"}},
                 {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "links"}, "spec": {
                     "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
                     "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "conf"}}],
                     "initContainers": [{"name": "evil", "image": "busybox:test", "command": ["sh", "-c", (
                         "ln -s / /v/root; ln -s ../../../../../../../../etc /v/up; ln -s /proc/self/root /v/magic; mkdir /v/real /v/etc;"
                         "echo inside > /v/real/file")], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                     "containers": [{"name": "c", "image": "busybox:test", "command": ["sh", "-c", (
                         "ls /root1; ls /up; cat /real/file; cat /conf/a.txt; echo; exec sleep 1000")],
                         "volumeMounts": [{"name": "v", "mountPath": "/root1", "subPath": "root"},
                                          {"name": "v", "mountPath": "/up", "subPath": "up"},
                                          {"name": "v", "mountPath": "/real", "subPath": "real"},
                                          {"name": "c", "mountPath": "/conf/a.txt", "subPath": "a.txt"}]}]}}, namespace=ns)
    wait_until(lambda: "from the map" in sampan.kubectl("logs", "links", "-n", ns, check=False).out, "the pod reads its files")
    seen = sampan.kubectl("logs", "links", "-n", ns).out.split("\n")
    assert "inside" in seen and "passwd" not in seen and "proc" not in seen, seen
    uid = sampan.get("pod", "links", namespace=ns)["metadata"]["uid"]
    config = json.loads((sampan.dir / f"agent/pods/{uid}/containers/c/0/config.json").read_text())
    sources = {m["destination"]: m["source"] for m in config["mounts"]}
    for place in ("/root1", "/up", "/real", "/conf/a.txt"):  # out of the container's reach while it is mounted
        assert "/containers/c/0/sub/" in sources[place], sources[place]


@needs_root
def test_what_a_container_sees_of_the_machine(sampan, ns, busybox):
    sampan.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": {
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [
            {"name": "c", "image": "busybox:test", "command": ["sh", "-c", (
                "echo dev; ls /dev; echo kcore; cat /proc/kcore | wc -c 2>/dev/null || true; echo write;"
                "for f in /proc/sysrq-trigger /proc/sys/kernel/hostname /sys/kernel/x; do echo b > $f && echo WROTE $f; done;"
                "ln -s /etc/shadow /dev/termination-log 2>/dev/null && echo LINKED;"
                "echo done; exec sleep 1000")]}]}}, namespace=ns)
    wait_until(lambda: "\ndone" in sampan.kubectl("logs", "look", "-n", ns, check=False).out, "it has looked")
    seen = sampan.kubectl("logs", "look", "-n", ns).out
    assert "WROTE" not in seen and "LINKED" not in seen, seen
    devices = set(seen.split("kcore")[0].split()[1:])
    assert not devices & {"sda", "vda", "mem", "kmsg", "fuse", "kvm", "loop0", "port"}, devices


PAGES = [({"Origin": "https://evil.example"}, False), ({"Origin": "null"}, False), ({"Sec-Fetch-Site": "cross-site"}, False),
         ({"Sec-Fetch-Site": "same-site", "Origin": "https://evil.example"}, False), ({"Sec-Fetch-Site": "same-origin"}, True),
         ({"Sec-Fetch-Site": "none"}, True), ({"Origin": "https://127.0.0.1:PORT"}, True), ({}, True)]


@pytest.mark.parametrize("headers,fine", PAGES)
def test_pages_of_other_sites_cannot_use_a_browsers_certificate(sampan, ns, headers, fine):
    """A page may send a form's type, or none, without asking first; the browser adds the client certificate."""
    headers = {k: v.replace("PORT", str(sampan.api_port)) for k, v in headers.items()}
    context, path = context_of(sampan, "admin"), f"/api/v1/namespaces/{ns}/configmaps"
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "page-"}})
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
               "Sec-WebSocket-Protocol": "v5.channel.k8s.io"}
    for method, where, text, more in (("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"}),
                                      ("DELETE", f"{path}/none", None, {}),
                                      ("GET", f"/api/v1/namespaces/{ns}/pods/none/exec?command=id&stdout=1", None, upgrade)):
        connection = http.client.HTTPSConnection("127.0.0.1", sampan.api_port, context=context, timeout=20)
        connection.request(method, where, body=text, headers={**more, **headers})
        status = connection.getresponse().status
        connection.close()
        assert (status in (200, 201, 404)) if fine else status == 403, (method, status)
    assert ask(sampan.api_port, context, path, headers)[0] == 200  # reading: the page never sees the answer
