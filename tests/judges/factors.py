"""Other people's authenticators log in.

pyotp shows codes, fido2 makes and shows passkeys in Python, and Chromium with a virtual authenticator does so in a
real browser, on a page of ours at `http://localhost:<site>` beside which the node is served, as behind a proxy.
"""

import datetime
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import pyotp
import websocket
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --remote-debugging-port=0 --remote-allow-origins=*""".split()
PASSWORD = "correct horse battery staple"


def member(node, name, admin):
    """A new user of the organization that is judged, and its token."""
    user = {"email": f"{name}@judged.example", "password": PASSWORD, "role": "analyst"}
    node.done("POST", "/organizations/judged/users", user, admin)
    return node.log_in(user["email"], PASSWORD, "judged")


def log_in(node, name, **more):
    asked = {"email": f"{name}@judged.example", "password": PASSWORD, "organization": "judged", **more}
    return node.ask("POST", "/api/v2/auth/login", asked)


def judge_codes(node, admin):
    token = member(node, "bob", admin)
    begun = node.done("POST", "/auth/factors/totp", {}, token)
    app = pyotp.parse_uri(begun["uri"])
    if (app.secret, app.issuer, app.name) != (begun["secret"], "ThreatFlow", "bob@judged.example"):
        yield f"pyotp: read another secret, issuer or name from {begun['uri']}"
    now = datetime.datetime.now()
    before, present = app.at(now - datetime.timedelta(seconds=30)), app.at(now)
    confirmed = node.done("POST", "/auth/factors/totp/confirm", {"id": begun["id"], "code": before}, token)
    status, answer = log_in(node, "bob")
    if (status, answer.get("code"), answer.get("methods")) != (403, "mfa_required", ["totp", "recovery_code"]):
        yield f"pyotp: without a code the login was answered {status}: {answer}"
    for code, wanted in ((present, 200), (present, 401), (before, 401), (confirmed["recovery_codes"][0], 200)):
        status, answer = log_in(node, "bob", mfa_code=code)
        if status != wanted:
            yield f"pyotp: a code was answered {status} in place of {wanted}: {answer}"


class Device:
    """An authenticator whose CBOR and COSE are fido2's."""

    def __init__(self, origin):
        self.origin, self.count, self.id = origin, 0, os.urandom(32)
        self.key = ec.generate_private_key(ec.SECP256R1())

    def client(self, kind, options):
        return CollectedClientData.create(kind, websafe_decode(options["challenge"]), self.origin)

    def make(self, options):
        options = options["publicKey"]
        self.user = options["user"]["id"]
        public = ES256.from_cryptography_key(self.key.public_key())
        attested = AttestedCredentialData.create(bytes(16), self.id, public)
        flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
        site = hashlib.sha256(options["rp"]["id"].encode()).digest()
        data = AuthenticatorData.create(site, flags, 0, attested)
        client = self.client(CollectedClientData.TYPE.CREATE, options)
        response = {
            "clientDataJSON": websafe_encode(client),
            "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
        }
        return self.credential(response)

    def show(self, options):
        options = options["publicKey"]
        self.count += 1
        flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
        data = AuthenticatorData.create(hashlib.sha256(options["rpId"].encode()).digest(), flags, self.count)
        client = self.client(CollectedClientData.TYPE.GET, options)
        signature = self.key.sign(data + client.hash, ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
            "userHandle": self.user,
        }
        return self.credential(response)

    def credential(self, response):
        name = websafe_encode(self.id)
        return {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}


def judge_passkeys(node, admin):
    token = member(node, "eve", admin)
    device = Device(f"http://localhost:{node.site}")
    begun = node.done("POST", "/auth/factors/passkeys/begin", {}, token)
    made = {"ceremony": begun["ceremony"], "credential": device.make(begun["options"])}
    node.done("POST", "/auth/factors/passkeys/finish", made, token)
    for first in ({}, {"mfa_token": log_in(node, "eve")[1].get("mfa_token")}):
        begun = node.done("POST", "/auth/passkeys/begin", first)
        shown = {**first, "ceremony": begun["ceremony"], "credential": device.show(begun["options"])}
        status, answer = node.ask("POST", "/api/v2/auth/passkeys/finish", shown)
        if status != 200 or answer["user"]["email"] != "eve@judged.example":
            yield f"fido2: a passkey {'after a password' if first else 'alone'} was answered {status}: {answer}"
        status, answer = node.ask("POST", "/api/v2/auth/passkeys/finish", shown)
        if status != 401:
            yield f"fido2: the same signature again was answered {status}: {answer}"
    other = Device(f"http://localhost:{node.site}")
    other.id, other.user = device.id, device.user
    begun = node.done("POST", "/auth/passkeys/begin", {})
    forged = {"ceremony": begun["ceremony"], "credential": other.show(begun["options"])}
    status, answer = node.ask("POST", "/api/v2/auth/passkeys/finish", forged)
    if status != 401:
        yield f"fido2: a signature by another key was answered {status}: {answer}"


# What a page does, with the browser's own JSON on either side.
PAGE = """
const call = async (path, body, token) => {
  const headers = {"Content-Type": "application/json", ...(token ? {Authorization: "Bearer " + token} : {})};
  const answer = await fetch("/api/v2/auth" + path, {method: "POST", headers, body: JSON.stringify(body)});
  return {status: answer.status, body: await answer.json()};
};
const make = async (token) => {
  const begun = (await call("/factors/passkeys/begin", {}, token)).body;
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(begun.options.publicKey);
  const credential = await navigator.credentials.create({publicKey});
  return call("/factors/passkeys/finish", {ceremony: begun.ceremony, credential: credential.toJSON()}, token);
};
const show = async (more) => {
  const begun = (await call("/passkeys/begin", more)).body;
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.options.publicKey);
  const credential = await navigator.credentials.get({publicKey});
  return call("/passkeys/finish", {...more, ceremony: begun.ceremony, credential: credential.toJSON()});
};
const says = async (work) => { try { return await work; } catch (error) { return {status: 0, body: error.name, said: error.message}; } };
"""


class Site(http.server.BaseHTTPRequestHandler):
    """A page, and behind it the node."""

    node = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, "text/html", b"<!doctype html><title>passkeys</title>")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=60)
        connection.request("POST", self.path, body, kept)
        answer = connection.getresponse()
        self.answer(answer.status, answer.headers["Content-Type"], answer.read())
        connection.close()

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Browser:
    """Headless Chromium with a virtual authenticator, over its own protocol."""

    def __init__(self, folder, url):
        log = open(pathlib.Path(folder) / "chromium.log", "w")
        command = ["chromium", *FLAGS, f"--user-data-dir={folder}/profile", url]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.sent = 0
        port = self.port(pathlib.Path(folder) / "profile" / "DevToolsActivePort")
        self.socket = websocket.create_connection(self.page(port, url), timeout=60)
        self.arrive(url)
        self.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
        self.authenticator = self.send("WebAuthn.addVirtualAuthenticator", options=options)["authenticatorId"]

    def port(self, file):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if file.exists() and file.read_text().count("\n"):
                return int(file.read_text().split("\n")[0])
            time.sleep(0.05)
        raise TimeoutError("chromium did not begin in a minute")

    def page(self, port, url):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/json/list")
            for page in json.loads(connection.getresponse().read()):
                if page["type"] == "page" and page["url"].startswith(url):
                    return page["webSocketDebuggerUrl"]
            time.sleep(0.05)
        raise TimeoutError("chromium did not open the page in a minute")

    def arrive(self, url):
        """Waits until scripts run on the page, and not on the empty one before it."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            said = self.send("Runtime.evaluate", expression="location.href + document.readyState")["result"]["value"]
            if said == url + "complete":
                return
            time.sleep(0.05)
        raise TimeoutError("chromium did not show the page in a minute")

    def send(self, method, **params):
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("id") == self.sent:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return said["result"]

    def run(self, work):
        script = f"(async () => {{ {PAGE} return await says({work}); }})()"
        said = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in said:
            raise RuntimeError(f"{work}: {said['exceptionDetails']}")
        return said["result"]["value"]

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


def judge_browser(node, admin):
    token = member(node, "zoe", admin)
    Site.node = node
    site = http.server.ThreadingHTTPServer(("127.0.0.1", node.site), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(folder, f"http://localhost:{node.site}/")
        try:
            yield from judge_page(node, browser, token)
        finally:
            browser.stop()
            site.shutdown()


def judge_page(node, browser, token):
    made = browser.run(f"make({json.dumps(token)})")
    if made["status"] != 201:
        yield f"chromium: making a passkey was answered {made}"
        return
    again = browser.run(f"make({json.dumps(token)})")
    if again["body"] != "InvalidStateError":
        yield f"chromium: a second passkey on the same device was not excluded: {again}"
    for first in ({}, {"mfa_token": log_in(node, "zoe")[1].get("mfa_token")}):
        shown = browser.run(f"show({json.dumps(first)})")
        if shown["status"] != 200 or shown["body"]["user"]["email"] != "zoe@judged.example":
            yield f"chromium: a passkey {'after a password' if first else 'alone'} was answered {shown}"
    browser.send("WebAuthn.setUserVerified", authenticatorId=browser.authenticator, isUserVerified=False)
    unverified = browser.run("show({})")
    if unverified["body"] != "NotAllowedError":
        yield f"chromium: a passkey was shown for nobody in particular: {unverified}"


def judge_factors(node, admin):
    yield from judge_codes(node, admin)
    yield from judge_passkeys(node, admin)
    yield from judge_browser(node, admin)
