"""The interoperability scenarios of AuthZEN judge our decision point, and Cedar's own engine our table of roles.

The scenarios are set up through the API alone: a group for each role and department, and policies about things of others.
Vectors name people by ids of other directories; each such id stands for one user of ours and is replaced by that user's id. Nothing
else of a vector is changed. `judge_table` writes the published table of roles as Cedar text by itself and compares cedarpy's
decisions with ours.
"""

import json
import pathlib
import random

import cedarpy

DATA = pathlib.Path(__file__).parent / "data" / "authzen"
PASSWORD = "correct horse battery staple"
SEED, REQUESTS, BATCH = 20260111, 10_000, 100


def read(name):
    return json.loads((DATA / f"{name}.json").read_text())


class Place:
    """An organization of its own for one scenario."""

    def __init__(self, node, root, slug):
        self.node, self.slug = node, slug
        admin = {"email": f"admin@{slug}.example", "password": PASSWORD}
        made = {"name": slug, "slug": slug, "domain": f"{slug}.example", "plan": "enterprise",
                "billing_email": f"bills@{slug}.example", "admin": admin}
        node.done("POST", "/organizations", made, root)
        self.token = node.log_in(admin["email"], PASSWORD, slug)
        self.groups, self.users, self.policies = {}, {}, 0

    def done(self, method, path, body=None):
        return self.node.done(method, f"/organizations/{self.slug}{path}", body, self.token)

    def group(self, name):
        if name not in self.groups:
            self.groups[name] = self.done("POST", "/groups", {"name": name})["id"]
        return self.groups[name]

    def user(self, name, email, groups, role="analyst"):
        made = self.done("POST", "/users", {"email": email, "password": PASSWORD, "role": role})
        self.users[name] = made["id"]
        for group in groups:
            path = f"/api/v2/organizations/{self.slug}/groups/{self.group(group)}/members/{made['id']}"
            status, answer = self.node.ask("PUT", path, {}, self.token)
            assert status < 300, answer

    def policy(self, text):
        self.policies += 1
        self.done("POST", "/policies", {"name": f"policy {self.policies}", "text": text})

    def ask(self, path, asked):
        """Asks one vector, with its people replaced by ours."""
        asked = json.loads(json.dumps(asked))
        if "id" in asked.get("subject", {}):
            asked["subject"]["id"] = self.users[asked["subject"]["id"]]
        status, answer = self.node.ask("POST", f"/access/v1/{path}", asked, self.token)
        return answer if status == 200 else {"status": status, "answer": answer}


def actions(*names):
    return "action in [" + ", ".join(f'Action::"{name}"' for name in names) + "]"


def inside(place, *groups):
    return "(" + " || ".join(f'principal in Group::"{place.group(group)}"' for group in groups) + ")"


# The people of the todo application: which roles they have, and the address that their todos name.
PEOPLE = {
    "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ("rick@the-citadel.com", ["admin", "evil_genius"]),
    "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ("morty@the-citadel.com", ["editor"]),
    "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ("summer@the-smiths.com", ["editor"]),
    "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ("beth@the-smiths.com", ["viewer"]),
    "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs": ("jerry@the-smiths.com", ["viewer"]),
}


def todo_place(node, root):
    place = Place(node, root, "todos")
    for name, (email, groups) in PEOPLE.items():
        place.user(name, email, groups)
    everybody = inside(place, "admin", "evil_genius", "editor", "viewer")
    place.policy(f'permit (principal, action == Action::"can_read_user", resource is External::user) when {{ {everybody} }};')
    place.policy(f'permit (principal, action == Action::"can_read_todos", resource is External::todo) when {{ {everybody} }};')
    writers = inside(place, "admin", "editor")
    place.policy(f'permit (principal, action == Action::"can_create_todo", resource is External::todo) when {{ {writers} }};')
    owned = f'{inside(place, "editor")} && resource has ownerID && resource.ownerID == principal.email'
    place.policy(
        f'permit (principal, {actions("can_update_todo", "can_delete_todo")}, resource is External::todo) when {{ {owned} }};'
    )
    place.policy(
        f'permit (principal, action == Action::"can_delete_todo", resource is External::todo) when {{ {inside(place, "admin")} }};'
    )
    genius = inside(place, "evil_genius")
    place.policy(f'permit (principal, action == Action::"can_update_todo", resource is External::todo) when {{ {genius} }};')
    # The gateway's routes.
    for path in ("/users/{userId}", "/todos"):
        route = f"resource == External::route::{json.dumps(path)}"
        place.policy(f'permit (principal, action == Action::"GET", {route}) when {{ {everybody} }};')
    for method, path in (("POST", "/todos"), ("PUT", "/todos/{todoId}"), ("DELETE", "/todos/{todoId}")):
        route = f"resource == External::route::{json.dumps(path)}"
        place.policy(f'permit (principal, action == Action::"{method}", {route}) when {{ {writers} }};')
    return place


def judge_decisions(node, root):
    place, count = todo_place(node, root), 0
    for name in ("todo", "gateway"):
        for vector in read(name)["evaluation"]:
            count += 1
            answer = place.ask("evaluation", vector["request"])
            if answer.get("decision") is not vector["expected"]:
                yield f"authzen {name}: {vector} was answered {answer}"
    for vector in read("todo")["evaluations"]:
        count += 1
        answer = place.ask("evaluations", vector["request"])
        decisions = [{"decision": one["decision"]} for one in answer.get("evaluations", [])]
        if decisions != vector["expected"]:
            yield f"authzen todo: {vector} was answered {answer}"
    if count != 68:
        yield f"authzen: {count} vectors in place of 68"


def search_place(node, root):
    place = Place(node, root, "records")
    for user in read("users"):
        place.user(user["id"], f"{user['id']}@records.example", [user["role"], user["department"]])
    place.policy(
        f'permit (principal in Group::"{place.group("manager")}", action == Action::"view", resource is External::record);'
    )
    for record in read("records"):
        thing = f'resource == External::record::"{record["id"]}"'
        owner = f'principal == User::"{place.users[record["owner"]]}"'
        place.policy(f'permit ({owner}, {actions("view", "edit", "delete")}, {thing});')
        department = f'principal in Group::"{place.group(record["department"])}"'
        place.policy(f'permit ({department}, action == Action::"view", {thing});')
        chief = inside(place, "manager")
        place.policy(f'permit ({department}, action == Action::"edit", {thing}) when {{ {chief} }};')
    return place


def judge_searches(node, root):
    place, count = search_place(node, root), 0
    names = {ours: name for name, ours in place.users.items()}
    for what in ("subject", "resource", "action"):
        for vector in read(f"search-{what}")["evaluation"]:
            count += 1
            # Small pages, so that tokens are used.
            found, token = [], ""
            while True:
                answer = place.ask(f"search/{what}", {**vector["request"], "page": {"token": token, "limit": 3}})
                found += answer.get("results", [answer])
                token = answer.get("page", {}).get("next_token", "")
                if not token:
                    break
            if what == "subject":
                found = [{**one, "id": names.get(one.get("id"), one.get("id"))} for one in found]
            wanted = vector["expected"]["results"]
            if sorted(map(json.dumps, found)) != sorted(map(json.dumps, wanted)):
                yield f"authzen search {what}: {vector['request']} found {found} in place of {wanted}"
    if count != 198:
        yield f"authzen: {count} searches in place of 198"


def judge_metadata(node):
    status, answer = node.ask("GET", "/.well-known/authzen-configuration")
    url = f"http://localhost:{node.site}"
    if status != 200 or answer.get("policy_decision_point") != url:
        yield f"authzen: the metadata are {answer}"
        return
    for name, path in (("access_evaluation", "evaluation"), ("access_evaluations", "evaluations"),
                       ("search_subject", "search/subject"), ("search_resource", "search/resource"),
                       ("search_action", "search/action")):
        if answer.get(f"{name}_endpoint") != f"{url}/access/v1/{path}":
            yield f"authzen: {name}_endpoint is {answer.get(f'{name}_endpoint')}"


ROLES = ["analyst", "senior_analyst", "team_lead", "admin"]
# A text of Cedar for each condition that the built-in roles have.
CONDITIONS = {
    "owner": lambda _: "resource has owner && resource.owner == principal",
    "read_only": lambda _: "resource has read_only && resource.read_only",
    "limited": lambda _: "resource has limited && resource.limited",
    "field": lambda rule: f"resource has {rule['field']} && {json.dumps(rule['in'])}.contains(resource.{rule['field']})",
}


def table_as_cedar(matrix):
    texts = []
    for row in (row for row in matrix["roles"] if row["role"] in ROLES):
        role = f'principal in Role::"{row["role"]}"'
        for rule in row["adds"]:
            held = f'permit ({role}, action == Action::"{rule["permission"]}", resource)'
            condition = rule["condition"]
            when = f" when {{ {CONDITIONS[next(iter(condition))](condition)} }}" if condition else ""
            texts.append(f"{held}{when};")
        if row["everything"]:
            names = [one["name"] for one in matrix["permissions"] if one["grantable"]]
            texts.append(f'permit ({role}, {actions(*names)}, resource);')
    return "\n".join(texts)


def judge_table(node, root):
    place = Place(node, root, "table")
    for role in ROLES:
        place.user(role, f"some.{role}@table.example", [], role)
    matrix = node.done("GET", "/access/matrix", token=place.token)
    policies, dice = table_as_cedar(matrix), random.Random(SEED)
    inherits = {row["role"]: row["inherits"] for row in matrix["roles"]}
    roles = [
        {"uid": {"type": "Role", "id": role}, "attrs": {},
         "parents": [{"type": "Role", "id": inherits[role]}] if inherits[role] else []}
        for role in ROLES
    ]
    # What is open to everybody is held by no rule that could be compared.
    names = [one["name"] for one in matrix["permissions"] if one["name"] != "manage:own_account"]
    differences, allowed = 0, 0
    for _ in range(REQUESTS // BATCH):
        checks, asked, entities = [], [], []
        for number in range(BATCH):
            role, name = dice.choice(ROLES), dice.choice(names)
            owner = dice.choice([None, *ROLES])
            thing = {"id": str(number)}
            for key, value in (("owner", owner and place.users[owner]), ("read_only", dice.choice([None, True, False])),
                               ("limited", dice.choice([None, True, False]))):
                if value is not None:
                    thing[key] = value
            form = dice.choice([None, "json", "png", "stix", "csv"])
            if form:
                thing["fields"] = {"format": form}
            checks.append({"permission": name, "user": place.users[role], "resource": thing})
            attrs = {key: value for key, value in thing.items() if key in ("read_only", "limited")}
            if owner:
                attrs["owner"] = {"__entity": {"type": "User", "id": owner}}
            if form:
                attrs["format"] = form
            entities.append({"uid": {"type": "Thing", "id": str(number)}, "attrs": attrs, "parents": []})
            asked.append({"principal": f'User::"{role}"', "action": f'Action::"{name}"',
                          "resource": f'Thing::"{number}"', "context": {}})
        people = [{"uid": {"type": "User", "id": role}, "attrs": {}, "parents": [{"type": "Role", "id": role}]}
                  for role in ROLES]
        theirs = cedarpy.is_authorized_batch(asked, policies, entities + people + roles)
        ours = place.done("POST", "/access/check", {"checks": checks})["results"]
        for check, their, our in zip(checks, theirs, ours, strict=True):
            allowed += their.allowed
            if their.allowed != our["allowed"]:
                differences += 1
                if differences <= 5:
                    yield f"cedar: {check} is {their.decision} there and {our} here"
    if differences:
        yield f"cedar: {differences} of {REQUESTS} decisions differ"
    if not REQUESTS * 0.1 < allowed < REQUESTS * 0.9:
        yield f"cedar: {allowed} of {REQUESTS} are allowed, which compares little"


def judge_authzen(node, root):
    yield from judge_metadata(node)
    yield from judge_decisions(node, root)
    yield from judge_searches(node, root)
    yield from judge_table(node, root)
