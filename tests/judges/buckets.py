"""Servers that speak S3 and are not ours, a folder, and what a judge does with each."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import boto3
import botocore.config
import botocore.exceptions

from cluster import await_condition, free_port

ACCESS_KEY, SECRET_KEY, BUCKET, PREFIX = "AKIDJUDGE", "a-secret-of-judges", "backups", "judged/here"
PROGRAMS = pathlib.Path(sys.executable).parent


class Server:
    """A server that speaks S3, as a process of its own."""

    def __init__(self, name, root):
        self.name, self.root, self.port, self.secret = name, pathlib.Path(root) / name, free_port(), SECRET_KEY
        self.root.mkdir()
        self.process = None
        self.prefix = f"{PREFIX}/"

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.prepare()
        with open(self.root / "log", "a") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.root)
        await_condition(f"{self.name} to answer", self.answers)

    def prepare(self):
        pass

    def answers(self):
        try:
            self.client().list_buckets()
            return True
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return False

    def client(self):
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": self.secret}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config, **keys)

    def create_bucket(self):
        def made():
            try:
                self.client().create_bucket(Bucket=BUCKET)
                return True
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                return False
        await_condition(f"{self.name} to make a bucket", made)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def target(self, bucket=BUCKET, secret=None, access=ACCESS_KEY, endpoint=None):
        """What is PUT to back up here."""
        settings = {"kind": "s3", "endpoint": endpoint or self.endpoint, "bucket": bucket, "prefix": PREFIX}
        settings |= {"path_style": True, "allow_http": True}
        return {"settings": settings, "credentials": {"access_key": access, "secret_key": secret or SECRET_KEY}}

    def place(self):
        """How the command line is told of it."""
        return ["--from", f"s3://{BUCKET}/{PREFIX}", "--endpoint", self.endpoint, "--path-style", "--allow-http"]

    def url(self, key):
        """How litestream is told of it."""
        return f"s3://{BUCKET}/{PREFIX}/{key}?endpoint={self.endpoint}&force-path-style=true&region=us-east-1"

    def keys(self, prefix):
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=self.prefix + prefix)
        return sorted(found["Key"].removeprefix(self.prefix) for page in pages for found in page.get("Contents", []))

    def get(self, key):
        return self.client().get_object(Bucket=BUCKET, Key=self.prefix + key)["Body"].read()

    def put(self, key, body):
        self.client().put_object(Bucket=BUCKET, Key=self.prefix + key, Body=body)


class SeaweedFS(Server):
    """SeaweedFS: it checks who asks."""

    def __init__(self, root):
        super().__init__("seaweedfs", root)
        self.ports = [free_port() for _ in range(3)]

    def prepare(self):
        keys = {"accessKey": ACCESS_KEY, "secretKey": self.secret}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "judge", "credentials": [keys], "actions": actions}]}
        (self.root / "s3.json").write_text(json.dumps(identities))

    def command(self):
        master, volume, filer = self.ports
        command = [PROGRAMS / "weed", "server", f"-dir={self.root}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}"]
        command += ["-s3", f"-s3.port={self.port}", f"-s3.config={self.root / 's3.json'}", "-master.telemetry=false", "-master.electionTimeout=1s"]
        # What else it serves, on ports that others use too.
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        return [*command, "-master.volumeSizeLimitMB=64", "-volume.max=50"]


class Moto(Server):
    """moto: it takes whoever asks, and keeps everything in memory."""

    def __init__(self, root):
        super().__init__("moto", root)

    def command(self):
        return [PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(self.port)]


class Folder:
    """A folder."""

    def __init__(self, root):
        self.name, self.path = "folder", pathlib.Path(root) / "folder"
        self.path.mkdir()

    def target(self):
        return {"settings": {"kind": "folder", "path": str(self.path)}}

    def place(self):
        return ["--from", str(self.path)]

    def url(self, key):
        return f"file://{self.path}/{key}"

    def keys(self, prefix):
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(key for key in (str(path.relative_to(self.path)) for path in files) if key.startswith(prefix))

    def get(self, key):
        return (self.path / key).read_bytes()


def catalogues(target, lineage, since=None):
    """Which image of each file is one cut: the newest catalogue, or all from an index on."""
    keys = target.keys(f"{lineage}/catalog/")
    index = lambda key: int(key.rsplit("/", 1)[1].split("-")[0], 16)
    chosen = keys[-1:] if since is None else [key for key in keys if index(key) >= since]
    return [json.loads(target.get(key))["catalogue"] for key in chosen]


def newest_index(target, lineage):
    """The last entry that the log archive holds, by the names of its objects."""
    names = [key.rsplit("/", 1)[1] for key in target.keys(f"{lineage}/log/")]
    return max(int(name.removesuffix(".seg").split("-")[1], 16) for name in names)


def environment():
    """Ours, and what opens the buckets: for our command line and for litestream."""
    # What the machine says about AWS is about another one.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return {**ours, **keys, "LITESTREAM_ACCESS_KEY_ID": ACCESS_KEY, "LITESTREAM_SECRET_ACCESS_KEY": SECRET_KEY}
