"""Three real nodes, and people who write to them and remember what was acknowledged."""

import http.client
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

PASSWORD = "correct horse battery staple"
SOON = 60


class Unjudgeable(Exception):
    """What was to be judged did not come about; the text says what was missing."""


def free_port():
    """A port that is free, below those that connections are made from, and so is the one 10,000 above it."""
    while True:
        port = random.randrange(20_000, 22_000)
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            pass


def await_condition(what, met, within=SOON):
    """Answers what `met` answers as soon as that is anything."""
    until = time.monotonic() + within
    while True:
        answer = met()
        if answer:
            return answer
        if time.monotonic() > until:
            raise Unjudgeable(f"{what}: not in {within} s")
        time.sleep(0.05)


class Node:
    """One node and its folder."""

    def __init__(self, binary, root, number):
        self.binary, self.number = binary, number
        self.folder, self.log = pathlib.Path(root) / f"node-{number}", pathlib.Path(root) / f"node-{number}.log"
        self.port, self.peer = free_port(), free_port()
        self.process = None

    def flags(self):
        flags = ["--data-dir", str(self.folder), "--node-id", str(self.number)]
        return [*flags, "--listen", f"127.0.0.1:{self.port}", "--peer-listen", f"127.0.0.1:{self.peer}"]

    def start(self, token=None):
        command = [self.binary, "serve", *self.flags(), *(["--join", token] if token else [])]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def is_ready(self):
        if self.process.poll() is not None:
            raise Unjudgeable(f"node {self.number} ended: {self.log.read_text()[-2000:]}")
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def await_ready(self):
        await_condition(f"node {self.number} to be ready", self.is_ready)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def destroy(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, token=None, key=None, within=30):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["Idempotency-Key"] = key
        try:
            connection.request(method, path, body if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        return answer.status, answer.headers, json.loads(text) if text.strip().startswith((b"{", b"[")) else text

    def done(self, method, path, body=None, token=None):
        status, _, answer = self.ask(method, f"/api/v2{path}", body, token)
        if status not in (200, 201, 202, 204):
            raise Unjudgeable(f"{method} {path} was answered {status}: {answer}")
        return answer

    def log_in(self, email, password, organization):
        asked = {"email": email, "password": password, "organization": organization}
        return self.done("POST", "/auth/login", asked)["tokens"]


class Cluster:
    """Three nodes."""

    def __init__(self, binary, root):
        self.binary, self.root = binary, pathlib.Path(root)
        self.nodes = [Node(binary, root, number) for number in (1, 2, 3)]
        self.down = set()

    def found(self):
        """Begins a cluster; the platform administrator's tokens."""
        first = self.nodes[0]
        first.start()
        first.await_ready()
        password = (first.folder / "initial-admin-password").read_text().strip()
        self.root_tokens = first.log_in("admin@localhost", password, "system")
        self.grow()

    @property
    def root_token(self):
        return self.root_tokens["access_token"]

    def grow(self):
        """The second and the third node join the first."""
        for node in self.nodes[1:]:
            node.start(self.nodes[0].done("POST", "/cluster/join-tokens", {}, self.root_token)["token"])
            node.await_ready()
        voting = lambda: sum(member.get("voter") is True for member in self.status()["members"]) == 3
        await_condition("three voters", voting)

    def any(self):
        return random.choice([node for node in self.nodes if node not in self.down])

    def status(self):
        return self.any().done("GET", "/cluster", token=self.root_token)

    def leader(self):
        def found():
            for node in self.nodes:
                try:
                    if node not in self.down and node.ask("GET", "/readyz?role=leader", within=5)[0] == 200:
                        return node
                except OSError:
                    pass
        return await_condition("a leader", found)

    def backup(self):
        """How far backups are, from whichever node answers."""
        def found():
            try:
                status, _, answer = self.any().ask("GET", "/api/v2/cluster/backup", token=self.root_token)
                return answer if status == 200 else None
            except OSError:
                return None
        return await_condition("the status of backups", found)

    def kill(self):
        for node in self.nodes:
            node.kill()

    def await_restored(self, node):
        """It serves before everything is there; others join it, and its files are all there, afterwards."""
        node.await_ready()
        about = lambda: node.done("GET", "/cluster", token=self.root_token)["members"][0]["about"]
        await_condition("everything to be restored", lambda: "restore" not in about(), 60)

    def digests(self, node):
        return node.done("GET", "/cluster/digests", token=self.root_token)["files"]


class Organization:
    """An organization, its administrator, and what was acknowledged to it."""

    def __init__(self, cluster, slug):
        asked = {
            "name": slug, "slug": slug, "domain": f"{slug}.example", "plan": "enterprise", "billing_email": f"b@{slug}.example",
            "admin": {"email": f"ann@{slug}.example", "password": PASSWORD, "first_name": "Ann é \U0001f600"},
        }
        self.slug = slug
        self.id = cluster.any().done("POST", "/organizations", asked, cluster.root_token)["id"]
        self.tokens = cluster.any().log_in(f"ann@{slug}.example", PASSWORD, slug)

    @property
    def token(self):
        return self.tokens["access_token"]


class Write:
    """One acknowledged write: a count of one, or a user. The index of one that was answered again is that of the answer."""

    def __init__(self, organization, index, value, again=False):
        self.organization, self.index, self.value, self.again, self.at = organization, index, value, again, time.time()


class Writers:
    """People who write until they are told to stop. What is not answered is asked again under the same key."""

    def __init__(self, cluster, organizations, people=4):
        self.cluster, self.organizations = cluster, organizations
        self.acknowledged, self.open, self.wrong = [], {}, []
        self.stopping, self.giving_up = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(person,), daemon=True) for person in range(people)]
        for thread in self.threads:
            thread.start()

    def write(self, person):
        made = 0
        while not self.stopping.is_set():
            made += 1
            organization = random.choice(self.organizations)
            if person == 0 and made % 20 == 0:
                email = f"user-{uuid.uuid4()}@{organization.slug}.example"
                body = {"email": email, "password": PASSWORD, "role": "analyst", "first_name": "U", "last_name": "V"}
                self.ask(person, organization, "users", body, 201, email)
            else:
                self.ask(person, organization, "usage", {"resource": "max_workflows", "amount": 1}, 200, None)
            time.sleep(0.02)

    def ask(self, person, organization, what, body, wanted, email):
        key = str(uuid.uuid4())
        self.open[person] = (organization, email)
        path = f"/api/v2/organizations/{organization.slug}/{what}"
        while not self.giving_up.is_set():
            try:
                status, headers, answer = self.cluster.any().ask("POST", path, body, organization.token, key, within=10)
            except OSError:
                status = None
            if status == wanted:
                index = int(headers["X-Log-Index"])
                again = headers.get("Idempotency-Replayed") == "true"
                self.acknowledged.append(Write(organization, index, email or answer["usage"], again))
                del self.open[person]
                return
            if status not in (None, 409, 503):
                self.wrong.append(f"POST {what} was answered {status}: {answer}")
                del self.open[person]
                return
            time.sleep(0.05)

    def await_more(self, count, within=SOON):
        upto = len(self.acknowledged) + count
        await_condition(f"{count} writes to be acknowledged", lambda: len(self.acknowledged) >= upto, within)

    def stop(self):
        """After the last answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(SOON)
        if self.open:
            raise Unjudgeable(f"{len(self.open)} writes were never acknowledged")

    def give_up(self):
        """At once: the cluster is gone. What is open was perhaps done."""
        self.stopping.set()
        self.giving_up.set()
        for thread in self.threads:
            thread.join(SOON)
