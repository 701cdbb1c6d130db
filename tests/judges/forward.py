"""Real nginx asks before it lets a request through (`auth_request`), and a service behind it shows what it gets."""

import http.client
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.parse

import jwt

PASSWORD = "correct horse battery staple"
HEADERS = ("Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "Remote-Role", "X-ThreatFlow-Token")

# What docs/operations.md shows, on ports of our own and with a folder of its own.
CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d;
  scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port};
    location / {{ auth_request /_may_read; include {folder}/pass.conf; }}
    location /dangerous/ {{ auth_request /_may_delete; include {folder}/pass.conf; }}
    location = /_may_read {{
      internal; include {folder}/ask.conf;
      proxy_pass http://127.0.0.1:{node}/api/v2/auth/forward?permission=read:investigation&organization=judged;
    }}
    location = /_may_delete {{
      internal; include {folder}/ask.conf;
      proxy_pass http://127.0.0.1:{node}/api/v2/auth/forward?permission=delete:investigation&organization=judged;
    }}
  }}
}}
"""
ASK = "proxy_pass_request_body off; proxy_set_header Content-Length ''; proxy_set_header X-Forwarded-For $remote_addr;\n"


def passing(service):
    lines = []
    for name in HEADERS:
        variable = name.lower().replace("-", "_")
        lines.append(f"auth_request_set $told_{variable} $upstream_http_{variable};")
        lines.append(f"proxy_set_header {name} $told_{variable};")
    return "\n".join([*lines, f"proxy_pass http://127.0.0.1:{service};"])


class Service(http.server.BaseHTTPRequestHandler):
    """Behind the proxy: shows the headers that it got."""

    def do_GET(self):
        body = json.dumps({name.lower(): self.headers.get_all(name) for name in self.headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def ask(port, path, token=None, method="GET", **more):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, b"body" if method == "POST" else None, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.status == 200 else {}


def judge_proxy(node, port, admin):
    user = {"email": "zoe.proxy@judged.example", "password": PASSWORD, "role": "analyst", "first_name": "Zoë", "last_name": "Z"}
    made = node.done("POST", "/organizations/judged/users", user, admin)
    zoe = node.log_in(user["email"], PASSWORD, "judged")
    forged = {"Remote_User": "root", "Remote_Groups": "admins", "X_ThreatFlow_Token": "forged", "X_Forwarded_Uri": "/x"}
    status, got = ask(port, "/page?permission=delete:investigation", zoe, **forged)
    if status != 200:
        yield f"nginx: an analyst who may read was answered {status}"
        return
    wanted = {"remote-user": made["id"], "remote-email": user["email"], "remote-role": "analyst"}
    for name, value in wanted.items():
        if got.get(name) != [value]:
            yield f"nginx: the service was told {name} {got.get(name)} in place of {value}"
    if urllib.parse.unquote(got.get("remote-name", [""])[0]) != "Zoë Z":
        yield f"nginx: the service was told the name {got.get('remote-name')}"
    if "admins" in str(got.get("remote-groups")) or "forged" in str(got):
        yield f"nginx: what the client forged came through: {got}"
    token = got["x-threatflow-token"][0]
    keys = jwt.PyJWKSet.from_dict(node.ask("GET", "/.well-known/jwks.json")[1])
    issuer = f"http://localhost:{node.site}"
    try:
        key = keys[jwt.get_unverified_header(token)["kid"]].key
        claims = jwt.decode(token, key, ["EdDSA"], audience="threatflow-forward", issuer=issuer)
    except (jwt.PyJWTError, KeyError) as error:
        yield f"nginx: the token that the service got is not verified: {error!r}"
        return
    if claims["sub"] != made["id"] or claims["exp"] - claims["iat"] != 60:
        yield f"nginx: the token says {claims}"
    for what, wanted, path, credentials in (
        ("a caller who may not", 403, "/dangerous/page", zoe),
        ("nobody", 401, "/page", None),
        ("a bad token", 401, "/page", "nonsense"),
        ("the token for services", 401, "/page", token),
        ("an administrator", 200, "/dangerous/page", admin),
    ):
        status, _ = ask(port, path, credentials)
        if status != wanted:
            yield f"nginx: {what} was answered {status} in place of {wanted}"
    status, _ = ask(port, "/page", zoe, "POST")
    if status != 200:
        yield f"nginx: a request with a body was answered {status}"
    status, _ = node.ask("DELETE", f"/api/v2/organizations/judged/users/{made['id']}/sessions", token=admin)
    if status >= 300:
        yield f"nginx: ending the sessions was answered {status}"
    status, _ = ask(port, "/page", zoe)
    if status != 401:
        yield f"nginx: an ended session was answered {status}"


def judge_forward(node, admin, free_port):
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder, port = pathlib.Path(name), free_port()
        (folder / "ask.conf").write_text(ASK)
        (folder / "pass.conf").write_text(passing(service.server_port))
        (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port, node=node.port))
        nginx = subprocess.Popen(["nginx", "-p", name, "-e", folder / "error.log", "-c", folder / "nginx.conf"])
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    ask(port, "/")
                    break
                except OSError:
                    if nginx.poll() is not None or time.monotonic() > until:
                        yield f"nginx did not start: {(folder / 'error.log').read_text()}"
                        return
                    time.sleep(0.05)
            yield from judge_proxy(node, port, admin)
        finally:
            nginx.terminate()
            nginx.wait(30)
            service.shutdown()
