"""Backups, judged by stock litestream and SQLite, in servers that are not ours, after a disaster.

    backup.py BINARY LITESTREAM...

Run with the Python that has what `servers.txt` lists. Three nodes back up to SeaweedFS, to moto and to a folder while
people write and things break; every write that is acknowledged is remembered. Then the nodes are killed, their folders
destroyed, and what comes back from each place is compared with what is remembered. Ends with 1 and a line on each
thing that is wrong.
"""

import concurrent.futures
import json
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import time

from buckets import Folder, Moto, SeaweedFS, catalogues, environment, newest_index
from cluster import PASSWORD, Cluster, Organization, Unjudgeable, Write, Writers, await_condition, free_port

SYSTEM = "00000000-0000-0000-0000-000000000000"
ORGANIZATIONS = 5
# What is promised to customers, and what this product is made for.
LOST_SECONDS_MAX, LOST_SECONDS_AIM = 60, 2


class Judge:
    """What is known by now."""

    def __init__(self, binary, litestreams, root):
        self.binary, self.litestreams, self.root = str(pathlib.Path(binary).absolute()), litestreams, pathlib.Path(root)
        self.cluster = Cluster(self.binary, root)
        self.seaweed, self.moto, self.folder = SeaweedFS(root), Moto(root), Folder(root)
        self.targets = [self.seaweed, self.moto, self.folder]
        self.key_file = self.root / "recovery-key"
        self.acknowledged, self.open = [], []
        self.began = time.monotonic()

    def say(self, text):
        print(f"backup: {time.monotonic() - self.began:5.1f} s  {text}", flush=True)

    def ours(self, target, *command):
        """Runs our command line on a target; its exit code and what it said."""
        command = [self.binary, *map(str, command), *target.place(), "--recovery-key-file", self.key_file]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
        return done.returncode, done.stdout + done.stderr

    def put(self, name, target):
        return self.cluster.any().ask("PUT", f"/api/v2/cluster/backup/targets/{name}", target, self.cluster.root_token, within=30)

    def stop(self):
        self.cluster.kill()
        self.seaweed.kill()
        self.moto.kill()


# Targets that cannot be used.


def judge_unusable(judge):
    nowhere, moto, seaweed = f"http://127.0.0.1:{free_port()}", judge.moto, judge.seaweed
    missing = {"settings": {"kind": "folder", "path": str(judge.root / "nowhere")}}
    for what, target, wanted in (
        ("a wrong secret", seaweed.target(secret="another-secret"), "secret_key"),
        ("a strange access key", seaweed.target(access="AKIDNOBODY"), "access_key"),
        ("a bucket that is not there", seaweed.target(bucket="nothere"), "bucket"),
        ("a bucket that is not there, of moto", moto.target(bucket="nothere"), "bucket"),
        ("a server that is not there", seaweed.target(endpoint=nowhere), "onnect"),
        ("no credentials", {"settings": seaweed.target()["settings"]}, "credentials"),
        ("no bucket", seaweed.target(bucket=""), "bucket"),
        ("a folder that is not there", missing, "not there"),
    ):
        try:
            status, _, answer = judge.put("bad", target)
        except OSError as error:
            yield f"a target with {what} was not answered: {error}"
            continue
        told = json.dumps(answer) if isinstance(answer, dict) else str(answer)
        if status != 422 or wanted not in told:
            yield f"a target with {what} was answered {status} without {wanted!r}: {told}"
        if "another-secret" in told:
            yield f"a target with {what} was answered with its secret: {told}"
    if judge.cluster.backup()["targets"]:
        yield f"what was refused is a target: {judge.cluster.backup()}"


# Writing while things break.


def begin(judge):
    for target in judge.targets:
        status, _, answer = judge.put(target.name, target.target())
        if status != 201:
            raise Unjudgeable(f"the target {target.name} was answered {status}: {answer}")
        if target is judge.targets[0]:
            judge.key_file.write_text(answer["recovery_key"])
        elif "recovery_key" in answer:
            yield f"the recovery key was shown once more, for {target.name}"
    policy = {"image_seconds": 1, "drill_hours": 0}
    judge.cluster.any().done("PATCH", "/cluster/backup/policy", policy, judge.cluster.root_token)
    judge.lineage = judge.cluster.backup()["lineage"]


def make_trouble(judge, writers):
    cluster, seaweed = judge.cluster, judge.seaweed
    writers.await_more(100)
    leader = cluster.leader()
    judge.say(f"kill -9 of the leader, node {leader.number}")
    cluster.down.add(leader)
    leader.kill()
    writers.await_more(100)
    leader.start()
    leader.await_ready()
    cluster.down.clear()
    judge.say("SeaweedFS stands still for 20 s, and the leadership is handed on")
    seaweed.pause()
    until = time.monotonic() + 20
    writers.await_more(50)
    heir = next(node for node in cluster.nodes if node is not cluster.leader())
    cluster.any().done("POST", f"/cluster/nodes/{heir.number}/transfer", token=cluster.root_token)
    writers.await_more(100)
    time.sleep(max(0, until - time.monotonic()))
    seaweed.resume()
    writers.await_more(50)
    judge.say("SeaweedFS is killed and started again")
    seaweed.kill()
    writers.await_more(100)
    seaweed.start()
    writers.await_more(100)


def await_backed_up(judge, index, within=90):
    def there():
        targets = judge.cluster.backup()["targets"]
        settled = [t for t in targets if t["archived_index"] >= index and t["images_index"] >= index and not t["failing"]]
        return len(settled) == len(judge.targets)
    try:
        await_condition("everything to be backed up", there, within)
    except Unjudgeable as error:
        raise Unjudgeable(f"{error}: {judge.cluster.backup()}") from error


def judge_writing(judge):
    writers = Writers(judge.cluster, judge.organizations)
    make_trouble(judge, writers)
    writers.stop()
    judge.acknowledged += writers.acknowledged
    yield from writers.wrong
    last = max(write.index for write in writers.acknowledged)
    judge.say(f"{len(writers.acknowledged)} writes were acknowledged, up to entry {last}; waiting until all of it is backed up")
    await_backed_up(judge, last)


def judge_alarm(judge):
    """The credentials are taken away: it is an alarm that names them, nobody waits, and it ends by itself."""
    judge.say("the credentials of SeaweedFS are changed")
    seaweed, cluster = judge.seaweed, judge.cluster
    seaweed.kill()
    seaweed.secret = "taken-away-from-us"
    seaweed.start()
    writers = Writers(cluster, judge.organizations, 1)

    def alarmed():
        alarms = [alarm for alarm in cluster.backup()["alarms"] if "seaweedfs fails" in alarm]
        return next((alarm for alarm in alarms if "SignatureDoesNotMatch" in alarm), None)

    try:
        alarm = await_condition("an alarm that names the credentials", alarmed, 90)
        judge.say(f"the alarm: {alarm}")
        if "not this cluster's" in alarm:
            yield f"wrong credentials are taken for another cluster: {alarm}"
    except Unjudgeable:
        yield f"credentials that were taken away are no alarm that names them: {cluster.backup()}"
    writers.await_more(20)
    writers.stop()
    judge.acknowledged += writers.acknowledged
    yield from writers.wrong
    seaweed.kill()
    seaweed.secret = seaweed.target()["credentials"]["secret_key"]
    seaweed.start()
    judge.settled = max(write.index for write in writers.acknowledged)
    await_backed_up(judge, judge.settled, 180)


def judge_in_place(judge):
    """One organization goes back to an entry while others write: its users of since are gone, and nothing else is."""
    cluster, organization = judge.cluster, judge.organizations[1]
    mine = sorted(write.index for write in judge.acknowledged if write.organization is organization)
    index = mine[len(mine) // 2]
    others = Writers(cluster, [judge.organizations[0], *judge.organizations[2:]], 2)
    body = {"organization": organization.id, "index": index, "target": "moto"}
    asked = cluster.any().done("POST", "/cluster/backup/restores", body, cluster.root_token)
    path = f"/cluster/backup/restores/{asked['id']}"

    def over():
        now = cluster.any().done("GET", path, token=cluster.root_token)
        return now if now["state"] != "wanted" else None

    ended = await_condition("the restore of one organization", over, 60)
    others.await_more(20)
    others.stop()
    judge.acknowledged += others.acknowledged
    yield from others.wrong
    if ended["state"] != "done":
        yield f"{organization.slug} was not brought back to entry {index}: {ended}"
    organization.tokens = cluster.any().log_in(f"ann@{organization.slug}.example", PASSWORD, organization.slug)
    since = [w for w in judge.acknowledged if w.organization is organization and w.index > index and isinstance(w.value, str)]
    judge.acknowledged = [write for write in judge.acknowledged if write not in since]
    for node in cluster.nodes:
        await_condition("the node to have it", lambda node=node: cluster.digests(node) == cluster.digests(cluster.leader()), 30)
        yield from judge_served(judge, node, max(w.index for w in judge.acknowledged), f"node {node.number} after a restore in place")
    usage = {"resource": "max_workflows", "amount": 1}
    _, headers, answer = cluster.any().ask("POST", f"/api/v2/organizations/{organization.slug}/usage", usage, organization.token)
    judge.settled = int(headers["X-Log-Index"])
    judge.acknowledged.append(Write(organization, judge.settled, answer["usage"]))
    judge.say(f"{organization.slug} went back to entry {index} of {judge.settled}, {len(since)} users of since are gone")
    await_backed_up(judge, judge.settled, 180)


# The disaster.


def disaster(judge):
    """Everybody writes, and all nodes are gone."""
    writers = Writers(judge.cluster, judge.organizations)
    writers.await_more(300)
    judge.killed_at = time.time()
    judge.cluster.kill()
    writers.give_up()
    judge.acknowledged += writers.acknowledged
    judge.open = list(writers.open.values())
    for node in judge.cluster.nodes:
        node.destroy()
    judge.say(f"all nodes are gone, {len(judge.acknowledged)} writes were acknowledged, {len(judge.open)} were open")
    judge.stirred = min(write.index for write in writers.acknowledged)
    yield from writers.wrong


def judge_loss(judge, target):
    newest = judge.newest[target.name]
    lost = [write for write in judge.acknowledged if write.index > newest]
    kept = max(write.at for write in judge.acknowledged if write.index <= newest)
    seconds = judge.killed_at - kept if lost else 0
    judge.say(f"{target.name} holds entries up to {newest}: {len(lost)} acknowledged writes are lost, {seconds:.2f} s")
    if seconds >= LOST_SECONDS_MAX:
        yield f"{target.name} lost the last {seconds:.1f} s"
    elif seconds > LOST_SECONDS_AIM:
        judge.say(f"that is more than the {LOST_SECONDS_AIM} s that are aimed at")


def restore_cluster(judge, target, node, *more):
    """Restores into the folder of a node; the last entry that came back."""
    code, said = judge.ours(target, "restore", "cluster", *node.flags(), "--lineage", judge.lineage, *more)
    found = re.search(r"restored (\d+) files up to entry (\d+) ", said)
    if code != 0 or not found:
        raise Unjudgeable(f"the cluster is not restored from {target.name}: {said}")
    judge.say(f"{target.name}: {next(line for line in said.splitlines() if line.startswith('restored '))}")
    return int(found[2])


def judge_counts(judge, organization, index, used, users, where):
    """What came back up to an entry, with what was acknowledged up to it."""
    mine = [write for write in judge.acknowledged if write.organization is organization and write.index <= index]
    counts = sorted((write.index, write.value) for write in mine if isinstance(write.value, int))
    values = [value for _, value in counts]
    risen = sorted((write.index, write.value) for write in mine if isinstance(write.value, int) and not write.again)
    risen = [value for _, value in risen]
    opened = [email for other, email in judge.open if other is organization]
    if risen != sorted(set(risen)) or len(values) != len(set(values)):
        yield f"{where}: acknowledged counts of {organization.slug} do not rise: {values}"
    surplus = used - len(values)
    if not 0 <= surplus <= opened.count(None):
        yield f"{where}: {organization.slug} counts {used}, and {len(values)} were acknowledged"
    emails = [write.value for write in mine if isinstance(write.value, str)]
    allowed = {f"ann@{organization.slug}.example", *emails, *filter(None, opened)}
    if len(users) != len(set(users)) or not set(emails) <= set(users) <= allowed:
        yield f"{where}: {organization.slug} has users {sorted(set(users) ^ set(emails))} too many or too few"


def users_of(node, organization):
    emails, cursor = [], None
    while True:
        page = node.done("GET", f"/organizations/{organization.slug}/users?limit=200" + (f"&cursor={cursor}" if cursor else ""),
                         token=organization.token)
        emails += [user["email"] for user in page["data"]]
        cursor = page["next_cursor"]
        if not cursor:
            return emails


def judge_served(judge, node, index, where):
    for organization in judge.organizations:
        stats = node.done("GET", f"/organizations/{organization.slug}/stats", token=organization.token)
        users = users_of(node, organization)
        yield from judge_counts(judge, organization, index, stats["usage"]["active_workflows"], users, where)


def judge_disaster(judge):
    cluster, first = judge.cluster, judge.cluster.nodes[0]
    judge.newest = {target.name: newest_index(target, judge.lineage) for target in judge.targets}
    for target in judge.targets:
        yield from judge_loss(judge, target)
    index = restore_cluster(judge, judge.seaweed, first)
    if index != judge.newest["seaweedfs"]:
        yield f"SeaweedFS holds entries up to {judge.newest['seaweedfs']}, and {index} came back"
    first.start()
    cluster.await_restored(first)
    # Who was logged in still is, here and where the others joined.
    cluster.grow()
    for node in cluster.nodes:
        yield from judge_served(judge, node, index, f"node {node.number}, restored from SeaweedFS")
    organization = judge.organizations[0]
    renewed = first.done("POST", "/auth/refresh", {"refresh_token": organization.tokens["refresh_token"]})
    usage = {"resource": "max_workflows", "amount": 1}
    first.done("POST", f"/organizations/{organization.slug}/usage", usage, renewed["tokens"]["access_token"])
    judge.say("three nodes serve what came back from SeaweedFS")

    def same():
        digests = [cluster.digests(node) for node in cluster.nodes]
        return digests[0] == digests[1] == digests[2]

    try:
        await_condition("the nodes to agree", same, 30)
    except Unjudgeable:
        yield "the nodes of the restored cluster differ"
    cluster.kill()
    for node in cluster.nodes:
        node.destroy()


def judge_places_agree(judge):
    """The same entry from each of the three is the same cluster."""
    common = min(judge.newest.values())
    first, found, systems = judge.cluster.nodes[0], {}, {}
    for target in judge.targets:
        index = restore_cluster(judge, target, first, "--index", common)
        if index != common:
            yield f"{target.name}: entry {common} was asked for, and {index} came back"
        first.start()
        judge.cluster.await_restored(first)
        digests = judge.cluster.digests(first)
        # It begins a history of its own in the system file: that one is compared as it lies in the backup.
        digests.pop(SYSTEM)
        found[target.name] = digests
        yield from judge_served(judge, first, common, f"restored from {target.name} up to entry {common}")
        first.kill()
        first.destroy()
        plain = judge.root / f"system-{target.name}.db"
        code, said = judge.ours(
            target, "restore", "organization", SYSTEM, "--lineage", judge.lineage, "--index", common, "--to", plain
        )
        if code != 0:
            yield f"the system file is not restored from {target.name}: {said}"
            continue
        systems[target.name] = rows(plain)
    for name in ("moto", "folder"):
        if found[name] != found["seaweedfs"]:
            yield f"{name} and SeaweedFS differ at entry {common}: {found[name]}, {found['seaweedfs']}"
        if systems.get(name) != systems.get("seaweedfs"):
            yield f"the system files of {name} and SeaweedFS differ at entry {common}"
    judge.say(f"SeaweedFS, moto and the folder make the same cluster of {len(found['moto'])} organizations at entry {common}")


# litestream and SQLite.


def rows(path):
    """Every row of every table of a plain SQLite file."""
    with sqlite3.connect(path) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        found = {table: sorted(map(repr, file.execute(f'SELECT * FROM "{table}"'))) for table in tables}
    file.close()
    return found


def pages(path):
    """The pages of a plain SQLite file, with nothing where its head counts writes and changes of the schema."""
    data = bytearray(path.read_bytes())
    for first, last in ((24, 28), (40, 44), (92, 100)):
        data[first:last] = bytes(last - first)
    size = int.from_bytes(data[16:18], "big")
    return [bytes(data[at:at + size]) for at in range(0, len(data), size)]


def litestream_restores(judge, program, target, file, image, to):
    url = target.url(f"{judge.lineage}/files/{file}/{image['epoch']:08}")
    command = [program, "restore", "-txid", f"{image['mark']:016x}", "-o", to, url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    return None if done.returncode == 0 else f"{done.stdout}{done.stderr}"


def judge_file(judge, target, cut, file, exact):
    """One file: by every litestream, opened with its key, and whole; when `exact`, page by page as our own restore makes it."""
    image, where = cut["files"][file], f"{target.name}, file {file}, entry {cut['files'][file]['mark']}"
    folder = judge.root / "litestream" / target.name / str(cut["cut"]) / file
    folder.mkdir(parents=True)
    sealed = []
    for number, program in enumerate(judge.litestreams):
        to = folder / f"sealed-{number}.db"
        failed = litestream_restores(judge, program, target, file, image, to)
        if failed:
            return [f"{where}: {program} does not restore it: {failed}"]
        sealed.append(to)
    if any(other.read_bytes() != sealed[0].read_bytes() for other in sealed[1:]):
        return [f"{where}: the litestreams differ"]
    if sealed[0].read_bytes()[:16] == b"SQLite format 3\0":
        return [f"{where}: it is in the clear"]
    plain, own = folder / "plain.db", folder / "own.db"
    named = ["--lineage", judge.lineage, "--to"]
    code, said = judge.ours(target, "backup", "open", sealed[0], "--organization", file, *named, plain)
    if code != 0:
        return [f"{where}: what litestream restored does not open: {said}"]
    wrong = list(judge_plain(judge, where, file, image["mark"], plain))
    if exact:
        code, said = judge.ours(target, "restore", "organization", file, "--index", cut["high"], *named, own)
        wrong += compare(where, plain, own) if code == 0 else [f"{where}: our own restore failed: {said}"]
    return wrong


def compare(where, theirs, own):
    theirs, own = pages(theirs), pages(own)
    if len(theirs) != len(own):
        yield f"{where}: litestream makes {len(theirs)} pages, our restore {len(own)}"
        return
    differ = [number for number, (one, other) in enumerate(zip(theirs, own), 1) if one != other]
    if differ:
        yield f"{where}: litestream and our restore differ in pages {differ[:20]} of {len(own)}"


def judge_plain(judge, where, file, mark, path):
    with sqlite3.connect(path) as plain:
        whole = plain.execute("PRAGMA integrity_check").fetchall()
        if whole != [("ok",)]:
            yield f"{where}: integrity_check says {whole}"
        if plain.execute("PRAGMA foreign_key_check").fetchall():
            yield f"{where}: rows refer to rows that are not there"
        organization = next((organization for organization in judge.organizations if organization.id == file), None)
        if organization:
            used = plain.execute("SELECT counted + reported FROM quotas_usage WHERE resource = 'max_workflows'").fetchone()
            users = [email for (email,) in plain.execute("SELECT email FROM identity_users")]
            yield from judge_counts(judge, organization, mark, used[0], users, where)
    plain.close()


def judge_litestream(judge):
    """The newest images, and those of the last moment at which nobody wrote: nothing is applied after them."""
    work = []
    for target in (judge.seaweed, judge.folder, judge.moto):
        cuts = catalogues(target, judge.lineage, judge.settled)
        quiet = [cut for cut in cuts if judge.settled <= cut["cut"] and cut["high"] < judge.stirred]
        if not quiet:
            yield f"{target.name}: no catalogue is from entry {judge.settled} to {judge.stirred}, and images were said to be there"
            continue
        known = {SYSTEM, *(organization.id for organization in judge.organizations)}
        for cut, exact in ((quiet[-1], True), (cuts[-1], False)):
            if set(cut["files"]) != known:
                yield f"{target.name}: the catalogue at {cut['cut']} names {set(cut['files']) ^ known} too much or not"
            work += [(target, cut, file, exact) for file in cut["files"]]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for wrong in pool.map(lambda one: judge_file(judge, *one), work):
            yield from wrong
    judge.say(f"{len(judge.litestreams)} versions of litestream restored {len(work)} files")


# Damage.


def judge_whole(judge):
    for target in judge.targets:
        code, said = judge.ours(target, "backup", "verify", "--lineage", judge.lineage)
        if code != 0:
            yield f"{target.name} is not whole: {said}"


def judge_damage(judge):
    """One byte of one image: it is named, and nobody else is touched."""
    seaweed, lineage = judge.seaweed, judge.lineage
    hurt, well = judge.organizations[0], judge.organizations[1]
    image = catalogues(seaweed, lineage)[-1]["files"][hurt.id]
    chain = f"{lineage}/files/{hurt.id}/{image['epoch']:08}/"
    # The whole image that the newest ones build on: every restore reads it.
    key = seaweed.keys(f"{chain}0009/")[-1]
    body = bytearray(seaweed.get(key))
    for place in (len(body) // 2, len(body) - 1, 0):
        flipped = bytearray(body)
        flipped[place] ^= 1
        seaweed.put(key, bytes(flipped))
        node = judge.cluster.nodes[0]
        code, said = judge.ours(seaweed, "restore", "cluster", *node.flags(), "--lineage", lineage, "--whole")
        if code == 0 or key not in said:
            yield f"damage at byte {place} of {key} is not named (exit code {code}): {said}"
        node.destroy()
        code, said = judge.ours(seaweed, "backup", "verify", "--lineage", lineage)
        if code == 0 or key not in said:
            yield f"`backup verify` does not name damage at byte {place} of {key} (exit code {code}): {said}"
    for organization, healthy in ((hurt, False), (well, True)):
        to = judge.root / f"damaged-{organization.slug}.db"
        code, said = judge.ours(seaweed, "restore", "organization", organization.id, "--lineage", lineage, "--to", to)
        if (code == 0) != healthy or to.exists() != healthy or (not healthy and key not in said):
            yield f"with damage in {key}, the restore of {organization.slug} ended with {code}: {said}"
    seaweed.put(key, bytes(body))
    to = judge.root / "healed.db"
    code, said = judge.ours(seaweed, "restore", "organization", hurt.id, "--lineage", lineage, "--to", to)
    if code != 0:
        yield f"{key} is as it was, and is not restored: {said}"
    judge.say("damage is named, and stays where it is")


PARTS = (
    judge_unusable, begin, judge_writing, judge_alarm, judge_in_place, disaster, judge_disaster, judge_places_agree, judge_litestream,
    judge_whole, judge_damage,
)


def main():
    wrong = []
    with tempfile.TemporaryDirectory() as root:
        judge = Judge(sys.argv[1], sys.argv[2:], root)
        try:
            for server in (judge.seaweed, judge.moto):
                server.start()
                server.create_bucket()
            judge.cluster.found()
            judge.organizations = [Organization(judge.cluster, f"backed-{number}") for number in range(ORGANIZATIONS)]
            for part in PARTS:
                wrong += part(judge)
        except (Unjudgeable, OSError) as error:
            wrong.append(str(error))
        finally:
            judge.stop()
    for line in wrong:
        print(f"judge: backup: {line}", file=sys.stderr)
    print(f"backup: {len(wrong)} complaints, {time.monotonic() - judge.began:.0f} s")
    sys.exit(1 if wrong else 0)


main()
