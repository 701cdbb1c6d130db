"""Other people's programs read what ours wrote.

    judge.py BINARY

Starts one node, does the main job over HTTP, and has the results judged by programs that share no code with
ours: openapi-spec-validator reads the API descriptions, stix2-validator the exported bundle, rfc8785 and hashlib
recompute the audit chain from the events as they are served, prometheus_client reads the metrics, PyJWT verifies an access
token with the keys as they are published and forges others; pyotp, fido2 and Chromium log in (`factors.py`);
the vectors of AuthZEN's interoperability events and cedarpy judge decisions (`authzen.py`); nginx asks before it passes a request on
(`forward.py`); backups are restored by stock litestream from servers of others, after a disaster (`backup.py`, by itself, since
its packages do not go together with these). Ends with 1 and a line on each thing that is wrong.
"""

import hashlib
import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jwt
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families
from stix2validator import ValidationOptions, validate_string

from authzen import judge_authzen
from factors import judge_factors
from forward import judge_forward

HERE = pathlib.Path(__file__).parent
TARGET = HERE.parent.parent / "target"
EXAMPLE = HERE.parent.parent / "examples" / "bundle.json"
PASSWORD = "correct horse battery staple"


class Node:
    """A running node in a folder of its own."""

    def __init__(self, binary, folder):
        self.folder = pathlib.Path(folder)
        # Where people reach it: passkeys belong to that name.
        self.port, peer, self.site = free_port(), free_port(), free_port()
        command = [binary, "serve", "--data-dir", folder, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--peer-listen", f"127.0.0.1:{peer}", "--public-url", f"http://localhost:{self.site}"]
        self.process = subprocess.Popen(command, stderr=open(self.folder / "stderr.log", "w"))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit(f"the node was not ready in a minute:\n{(self.folder / 'stderr.log').read_text()}")

    def ask(self, method, path, body=None, token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.strip().startswith((b"{", b"[")) else text

    def done(self, method, path, body=None, token=None):
        status, answer = self.ask(method, f"/api/v2{path}", body, token)
        if status not in (200, 201):
            sys.exit(f"{method} {path} was answered {status}: {answer}")
        return answer

    def log_in(self, email, password, organization):
        asked = {"email": email, "password": password, "organization": organization}
        return self.done("POST", "/auth/login", asked)["tokens"]["access_token"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main_job(node):
    """Makes an organization, imports the example, and answers its administrator's token."""
    root = node.root = node.log_in("admin@localhost", (node.folder / "initial-admin-password").read_text().strip(), "system")
    organization = {
        "name": "Judged", "slug": "judged", "domain": "judged.example", "plan": "enterprise",
        "billing_email": "bills@judged.example",
        "admin": {"email": "ann@judged.example", "password": PASSWORD, "first_name": "Ann é \u2028 \U0001f600"},
    }
    node.done("POST", "/organizations", organization, root)
    ann = node.log_in("ann@judged.example", PASSWORD, "judged")
    node.done("POST", "/organizations/judged/intel/bundles", json.loads(EXAMPLE.read_text()), ann)
    for amount in range(1, 6):
        node.done("POST", "/organizations/judged/usage", {"resource": "maxFeeds", "amount": amount}, ann)
    node.done("PATCH", "/organizations/judged", {"name": "Ge\u00e4ndert \u20ac \U0001f600 \\ \" \u007e"}, ann)
    return ann


def judge_descriptions(node):
    for version in ("v1", "v2"):
        status, document = node.ask("GET", f"/api/{version}/openapi.json")
        errors = list(OpenAPIV31SpecValidator(document).iter_errors()) if status == 200 else [f"status {status}"]
        yield from (f"{version} description: {error}" for error in errors)


def judge_export(node, token):
    exported = node.done("GET", "/organizations/judged/intel/export", token=token)
    sent = json.loads(EXAMPLE.read_text())["objects"]
    if sorted(map(json.dumps, exported["objects"])) != sorted(map(json.dumps, sent)):
        yield "export: the objects are not those that were imported"
    results = validate_string(json.dumps(exported), ValidationOptions(version="2.1"))
    for result in results if isinstance(results, list) else [results]:
        yield from (f"export: {error}" for error in result.errors or [])


def judge_chain(node, token):
    events, cursor = [], None
    while True:
        path = "/organizations/judged/audit-events?limit=7" + (f"&cursor={cursor}" if cursor else "")
        page = node.done("GET", path, token=token)
        events += page["data"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    if len(events) < 10:
        yield f"audit: {len(events)} events are too few for what was done"
    chain = bytes(32)
    for place, row in enumerate(reversed(events), 1):
        leaf = rfc8785.dumps(row["event"])
        chain = hashlib.sha256(chain + hashlib.sha256(b"\0" + leaf).digest()).digest()
        if row["event"]["seq"] != place or row.get("chain") != chain.hex():
            yield f"audit: the chain breaks at event {place}: {leaf.decode()}"
            return


def judge_metrics(node):
    status, page = node.ask("GET", "/metrics")
    families = {}
    try:
        for family in text_string_to_metric_families(page.decode()):
            if family.name in families or family.type == "unknown" or not family.documentation:
                yield f"metrics: {family.name} comes twice, or without a type or help"
            families[family.name] = family
    except ValueError as error:
        yield f"metrics: status {status}: {error}"
        return
    # The parser names a counter without its _total.
    wanted = {"threatflow_raft_is_leader": "gauge", "threatflow_log_fsyncs": "counter", "threatflow_proposals": "counter"}
    wanted["threatflow_http_request_seconds"] = "histogram"
    for name, kind in wanted.items():
        if name not in families or families[name].type != kind:
            yield f"metrics: no {kind} {name}"
            return
    for sample in families["threatflow_http_request_seconds"].samples:
        route = {name: value for name, value in sample.labels.items() if name != "le"}
        if sample.name.endswith("_count"):
            buckets = [s for s in families["threatflow_http_request_seconds"].samples if s.name.endswith("_bucket")]
            values = [s.value for s in buckets if {**s.labels, "le": None} == {**route, "le": None}]
            if values != sorted(values) or values[-1] != sample.value:
                yield f"metrics: the buckets of {route} do not add up: {values}, {sample.value}"


def judge_tokens(node, token):
    keys = jwt.PyJWKSet.from_dict(node.ask("GET", "/.well-known/jwks.json")[1])
    header = jwt.get_unverified_header(token)
    if header["typ"] != "at+jwt" or header["alg"] != "EdDSA":
        yield f"tokens: the header is {header}"
    issuer = node.ask("GET", "/.well-known/oauth-authorization-server")[1]["issuer"]
    wanted = ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "org", "amr", "auth_time"]
    try:
        claims = jwt.decode(
            token, keys[header["kid"]].key, ["EdDSA"], {"require": wanted}, audience="threatflow-api", issuer=issuer
        )
    except (jwt.PyJWTError, KeyError) as error:
        yield f"tokens: not verified: {error!r}"
        return
    if claims["exp"] - claims["iat"] != 600 or claims["amr"] != ["pwd"]:
        yield f"tokens: the claims are {claims}"
    own, headers = Ed25519PrivateKey.generate(), {"typ": "at+jwt", "kid": header["kid"]}
    brought = {**headers, "jwk": json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(own.public_key()))}
    public = keys[header["kid"]].key.public_bytes_raw()
    forged = {
        "signed by another key": jwt.encode(claims, own, "EdDSA", headers),
        "signed by a key that it brings along": jwt.encode(claims, own, "EdDSA", brought),
        "signed with the public key as a shared secret": jwt.encode(claims, public, "HS256", headers),
        "not signed": jwt.encode(claims, None, "none", headers),
    }
    for what, text in forged.items():
        status, _ = node.ask("GET", "/api/v2/auth/me", token=text)
        if status != 401:
            yield f"tokens: one that is {what} was answered {status}"


def judge_backup(binary):
    """A program of its own, which says on stderr what is wrong."""
    litestreams = sorted(TARGET.glob("litestream-*/bin/litestream"))
    done = subprocess.run([TARGET / "servers/bin/python", HERE / "backup.py", binary, *litestreams])
    if done.returncode != 0 or len(litestreams) != 2:
        yield f"backup.py ended with {done.returncode}, with {len(litestreams)} versions of litestream"


def main():
    with tempfile.TemporaryDirectory() as folder:
        node = Node(sys.argv[1], folder)
        try:
            token = main_job(node)
            wrong = [*judge_descriptions(node), *judge_export(node, token), *judge_chain(node, token)]
            wrong += judge_metrics(node)
            wrong += judge_tokens(node, token)
            wrong += judge_factors(node, token)
            wrong += judge_authzen(node, node.root)
            wrong += judge_forward(node, token, free_port)
        finally:
            node.stop()
    wrong += judge_backup(sys.argv[1])
    for line in wrong:
        print(f"judge: {line}", file=sys.stderr)
    print(f"judges: {len(wrong)} complaints")
    sys.exit(1 if wrong else 0)


main()
