"""moto_server as a process of its own: a real S3 API on loopback that stands in for AWS. Run as a script, it serves.

In a fleet: `write_config(folder, sources={"s3": server.settings("bucket")})`, with `server.environment` set for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

REGION = "us-east-1"


class S3Server:
    """Takes any credentials until `check_credentials()`; then only `keys`, which may read and write everything."""

    def __init__(self, pool: Path | None = None, bucket: str = "pool", delay_s: float = 0.0) -> None:
        """`pool`: a folder whose files the bucket holds from the start, by their names; each answer after the delay."""
        self._options = {"pool": pool and str(pool), "bucket": bucket, "delay_s": delay_s}
        self.keys = ("AKIAEXAMPLE", "example-secret")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> S3Server:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()  # it ends with its input
        self._process = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find these credentials, and no others that the machine may hold."""
        return {
            "AWS_ACCESS_KEY_ID": self.keys[0],
            "AWS_SECRET_ACCESS_KEY": self.keys[1],
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def settings(self, *allow: str, **others: Any) -> dict[str, Any]:
        """The section `sources.s3` that reads from here."""
        return {"endpoint": self.url, "region": REGION, "allow": list(allow)} | others

    def client(self, service: str = "s3") -> Any:
        return _client(service, self.url, *self.keys)

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Make the bucket where there is none, and put or replace the objects."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for key, data in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=data)

    def check_credentials(self) -> None:
        """From now on, `keys` are those of a user who may do everything with S3, and nobody else gets in."""
        iam = self.client("iam")
        iam.create_user(UserName="reader")
        allowed = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        assert connection.getresponse().status == 200
        connection.close()
        self.keys = (key["AccessKeyId"], key["SecretAccessKey"])


@cache
def _client(service: str, url: str, key: str, secret: str) -> Any:
    import boto3

    return boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret
    )


def _serve(options: dict[str, Any]) -> None:
    import threading

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    # Else it closes the connection after each answer, and a benchmark would measure that.
    MotoRequestHandler.protocol_version = "HTTP/1.1"
    application = DomainDispatcherApplication(create_backend_app)

    def delayed(environ: Any, start_response: Any) -> Any:
        time.sleep(options["delay_s"])
        return application(environ, start_response)

    if options["pool"]:
        _fill(options["bucket"], Path(options["pool"]))
    app = delayed if options["delay_s"] else application
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def _fill(bucket: str, pool: Path) -> None:
    """Past the API, which takes many milliseconds for each object."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(bucket, REGION)
    for path in pool.iterdir():
        backend.put_object(bucket, path.name, path.read_bytes())


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
