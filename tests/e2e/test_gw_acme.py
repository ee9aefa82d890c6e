"""Certificates from a real ACME server (Pebble), and from CAs of our own."""
import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from conftest import free_port, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("pebble"), reason="needs pebble")


class Pebble:
    """An ACME server that looks for challenges on the gateway's ports."""

    def __init__(self, directory, http_port, tls_port):
        self.dir, self.port = directory, free_port()
        self.management, dns = free_port(), free_port()
        directory.mkdir()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=directory, check=True, capture_output=True)
        (directory / "config.json").write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(directory / "cert.pem"), "privateKey": str(directory / "key.pem"),
            "httpPort": http_port, "tlsPort": tls_port, "ocspResponderURL": "", "externalAccountBindingRequired": False}}))
        self.dns = subprocess.Popen(["pebble-challtestsrv", "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "",
                                     "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.log = directory / "log"
        # A third of the nonces is refused, as the RFC allows.
        self.process = subprocess.Popen(["pebble", "-config", "config.json", "-dnsserver", f"127.0.0.1:{dns}"], cwd=directory,
                                        env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "33"},
                                        stdout=open(self.log, "w"), stderr=subprocess.STDOUT)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, "the ACME server")

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def ca(self):
        return base64.b64encode((self.dir / "cert.pem").read_bytes()).decode()

    def stop(self):
        print(self.log.read_text()[-4000:])  # shown when the test fails
        for p in (self.process, self.dns):
            p.kill()
            p.wait()


@pytest.fixture
def pebble(sampan, tmp_path):
    p = Pebble(tmp_path / "pebble", sampan.gateway_port, getattr(sampan, "gateway_tls_port", 1))
    yield p
    p.stop()


def issuer(pebble, name, **solver):
    return {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": name}, "spec": {"acme": {
        "server": pebble.url, "email": "ops@example.test", "caBundle": pebble.ca,
        "privateKeySecretRef": {"name": name + "-account"}, "solvers": [solver or {"http01": {}}]}}}


def certificate(name, issuer, *names, kind="ClusterIssuer", **spec):
    return {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": name}, "spec": {
        "secretName": name + "-tls", "dnsNames": list(names), "issuerRef": {"name": issuer, "kind": kind}, **spec}}


def condition(sampan, kind, name, ns, which="Ready"):
    found = sampan.get(kind, name, namespace=ns).get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == which), {})


def is_ready(sampan, name, ns):
    return condition(sampan, "certificate", name, ns).get("status") == "True"


def names_in(sampan, secret, ns, tmp_path):
    data = sampan.get("secret", secret, namespace=ns)["data"]
    path = tmp_path / "seen.pem"
    path.write_bytes(base64.b64decode(data["tls.crt"]))
    decoded = ssl._ssl._test_decode_cert(str(path))
    return sorted(v for _, v in decoded["subjectAltName"]), path.read_text().count("BEGIN CERTIFICATE")


def test_an_ingress_gets_its_certificate_from_the_acme_server(sampan, ns, pebble, tmp_path):
    sampan.apply(issuer(pebble, f"acme-{ns}"[:50]), namespace=ns)
    sampan.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {
        "name": "shop", "annotations": {"cert-manager.io/cluster-issuer": f"acme-{ns}"[:50]}}, "spec": {
            "tls": [{"hosts": [f"a.{ns}.test", f"b.{ns}.test"], "secretName": "shop-tls"}],
            "rules": [{"host": f"a.{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
                "service": {"name": "shop", "port": {"number": 80}}}}]}}]}}, namespace=ns)
    wait_until(lambda: sampan.kubectl("get", "certificate", "shop-tls", "-n", ns, check=False).code == 0, "a Certificate")
    wait_until(lambda: is_ready(sampan, "shop-tls", ns), "it is ready")
    names, chain = names_in(sampan, "shop-tls", ns, tmp_path)
    assert names == [f"a.{ns}.test", f"b.{ns}.test"] and chain >= 2  # with its intermediate
    assert sampan.get("secret", "shop-tls", namespace=ns)["type"] == "kubernetes.io/tls"
    wait_until(lambda: not sampan.get("challenges", namespace=ns)["items"], "the proofs are taken away")
    status = sampan.get("certificate", "shop-tls", namespace=ns)["status"]
    assert status["revision"] == 1 and status["renewalTime"] < status["notAfter"]
    # Another name: a new certificate, by itself.
    sampan.kubectl("patch", "ingress", "shop", "-n", ns, "--type=json", "-p",
                   json.dumps([{"op": "add", "path": "/spec/tls/0/hosts/-", "value": f"c.{ns}.test"}]))
    wait_until(lambda: f"c.{ns}.test" in names_in(sampan, "shop-tls", ns, tmp_path)[0], "the third name")
    # Without the annotation nobody asks for it any more.
    sampan.kubectl("annotate", "ingress", "shop", "-n", ns, "cert-manager.io/cluster-issuer-")
    wait_until(lambda: sampan.kubectl("get", "certificate", "shop-tls", "-n", ns, check=False).code != 0, "the Certificate goes")


def test_a_proof_by_tls_alpn(sampan, ns, pebble, tmp_path):
    """RFC 8737: the proof is a certificate on the TLS port, which serves another one to everybody else."""
    name = f"alpn-{ns}"[:50]
    sampan.apply(issuer(pebble, name, tlsALPN01={}), namespace=ns)
    sampan.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {
        "name": "door", "annotations": {"cert-manager.io/cluster-issuer": name}}, "spec": {
            "tls": [{"hosts": [f"d.{ns}.test"], "secretName": "door-tls"}],
            "rules": [{"host": f"d.{ns}.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
                "service": {"name": "door", "port": {"number": 80}}}}]}}]}}, namespace=ns)
    wait_until(lambda: sampan.kubectl("get", "certificate", "door-tls", "-n", ns, check=False).code == 0, "a Certificate")
    wait_until(lambda: is_ready(sampan, "door-tls", ns), "it is ready")
    assert names_in(sampan, "door-tls", ns, tmp_path)[0] == [f"d.{ns}.test"]

    def issued():
        context = ssl._create_unverified_context()
        with socket.create_connection(("127.0.0.1", sampan.gateway_tls_port), 5) as raw:
            with context.wrap_socket(raw, server_hostname=f"d.{ns}.test") as tls:
                (tmp_path / "served.pem").write_text(ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)))
        return f"d.{ns}.test" in str(ssl._ssl._test_decode_cert(str(tmp_path / "served.pem")))

    wait_until(issued, "the gateway serves it, without a restart")


def test_an_acme_server_that_refuses_is_told_and_not_hammered(sampan, ns, tmp_path):
    p = Pebble(tmp_path / "elsewhere", free_port(), free_port())  # it will find nobody there
    try:
        sampan.apply(issuer(p, f"bad-{ns}"[:50]), certificate("web", f"bad-{ns}"[:50], f"x.{ns}.test"), namespace=ns)
        said = wait_until(lambda: (lambda c: c if c.get("reason") == "Failed" else None)(condition(sampan, "certificate", "web", ns)), "a refusal")
        assert f"could not verify x.{ns}.test by http-01" in said["message"]
        status = sampan.get("certificate", "web", namespace=ns)["status"]
        assert status["failedIssuanceAttempts"] == 1 and status["lastFailureTime"]
        assert p.log.read_text().count("Added order") == 1
    finally:
        p.stop()
    sampan.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "gone"}, "spec": {"acme": {
        "server": "https://127.0.0.1:1/dir", "privateKeySecretRef": {"name": "k"}}}}, certificate("late", "gone", "l.test", kind="Issuer"),
        certificate("lost", "nobody", "l.test"), namespace=ns)
    wait_until(lambda: "cannot ask the ACME server" in condition(sampan, "certificate", "late", ns).get("message", ""), "unreachable")
    wait_until(lambda: condition(sampan, "certificate", "lost", ns).get("reason") == "IssuerNotFound", "no issuer")


def test_a_ca_of_our_own_and_self_signed(sampan, ns, tmp_path):
    sampan.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "self"}, "spec": {"selfSigned": {}}},
                 {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "ours"}, "spec": {"ca": {"secretName": "ours"}}},
                 certificate("plain", "self", "p.test", kind="Issuer", ipAddresses=["192.0.2.7"]),
                 certificate("web", "ours", "w.test", kind="Issuer", duration="48h"), namespace=ns)
    wait_until(lambda: is_ready(sampan, "plain", ns), "self-signed")
    assert names_in(sampan, "plain-tls", ns, tmp_path)[0] == ["192.0.2.7", "p.test"]
    wait_until(lambda: "there is no Secret" in condition(sampan, "issuer", "ours", ns).get("message", ""), "the CA is missing")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
                    "-subj", "/CN=our CA", "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt"], check=True, capture_output=True)
    sampan.kubectl("create", "secret", "tls", "ours", "-n", ns, f"--cert={tmp_path}/ca.crt", f"--key={tmp_path}/ca.key")
    wait_until(lambda: is_ready(sampan, "web", ns), "signed by our CA")
    data = sampan.get("secret", "web-tls", namespace=ns)["data"]
    (tmp_path / "web.crt").write_bytes(base64.b64decode(data["tls.crt"]))
    checked = subprocess.run(["openssl", "verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "web.crt"], capture_output=True, text=True)
    assert checked.returncode == 0, checked
    # Somebody spoils the Secret: it is made again.
    sampan.kubectl("patch", "secret", "web-tls", "-n", ns, "--type=merge", "-p", json.dumps({"data": {"tls.crt": "aGVsbG8="}}))
    wait_until(lambda: sampan.get("secret", "web-tls", namespace=ns)["data"]["tls.crt"] != "aGVsbG8=", "the Secret is mended")
    refused = sampan.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "both"},
                            "spec": {"selfSigned": {}, "ca": {"secretName": "x"}}}, namespace=ns, check=False)
    assert refused.code != 0 and "exactly one of acme, ca and selfSigned" in refused.err


def test_a_certificate_is_renewed_when_its_time_has_come(sampan, ns, tmp_path):
    sampan.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "self"}, "spec": {"selfSigned": {}}},
                 certificate("short", "self", "s.test", kind="Issuer", duration="1h", renewBefore="59m57s"), namespace=ns)
    wait_until(lambda: is_ready(sampan, "short", ns), "the first one")
    first = sampan.get("secret", "short-tls", namespace=ns)["data"]["tls.crt"]
    wait_until(lambda: sampan.get("secret", "short-tls", namespace=ns)["data"]["tls.crt"] != first, "the next one")
    wait_until(lambda: sampan.get("certificate", "short", namespace=ns)["status"]["revision"] >= 2, "it is counted")
    sampan.kubectl("delete", "certificate", "short", "-n", ns)  # or it is renewed every three seconds
    assert names_in(sampan, "short-tls", ns, tmp_path)[0] == ["s.test"]
    ends = ssl._ssl._test_decode_cert(str(tmp_path / "seen.pem"))["notAfter"]
    assert ssl.cert_time_to_seconds(ends) <= time.time() + 3600
    for spec, says in [({"duration": "59m"}, "spec.duration: Invalid value: \"59m\": must be at least 1h"),
                       ({"renewBefore": "4m"}, "spec.renewBefore: Invalid value: \"4m\": must be at least 5m"),
                       ({"duration": "2h", "renewBefore": "2h"}, "spec.renewBefore: Invalid value: \"2h\": must be less than the duration")]:
        refused = sampan.apply(certificate("wrong", "self", "s.test", kind="Issuer", **spec), namespace=ns, check=False)
        assert refused.code != 0 and says in refused.err, refused
