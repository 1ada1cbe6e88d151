"""An object store on this machine: moto's server, which speaks S3 on the loopback interface."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an empty object store."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the object store, in which srkd finds its buckets: `photos`, and `closed` without permission."""
    import boto3
    import fsspec

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    for bucket in ("photos", "closed"):
        client.create_bucket(Bucket=bucket)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::closed/*"}
    client.put_bucket_policy(Bucket="closed", Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    yield client
    client.delete_bucket_policy(Bucket="closed")
    for bucket in ("photos", "closed"):
        for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
        client.delete_bucket(Bucket=bucket)
    client.close()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def refusing(server: str, s3: Any) -> Iterator[None]:
    """The object store rejects every request, with the key of `s3` too."""

    def check_keys(after: str) -> None:
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", after.encode(), plain)).close()

    check_keys(after="0")
    yield
    check_keys(after="inf")
