"""Objects as S3 has them: moto's server, in memory, for tests and trials; and buckets on any S3."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.server import answers
from pipelines.services.service import Service

BUCKETS = ("mlflow", "dvc")
"""For artifacts, and for a remote of DVC."""
REGION = "us-east-1"
ENDPOINT = "AWS_ENDPOINT_URL_S3"
"""Variable that boto3, and so DVC and MLflow, take the server's address from."""


def ensure_buckets(variables: Mapping[str, str], names: Sequence[str] = BUCKETS) -> None:
    """Makes the buckets that are missing, on the server and with the keys that the variables name."""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3", endpoint_url=variables.get(ENDPOINT), region_name=variables.get("AWS_DEFAULT_REGION", REGION),
        aws_access_key_id=variables.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY"),
    )  # fmt: skip
    for name in names:
        try:
            client.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise


class Moto(Service):
    """An S3 in memory: what it holds ends with it, and it lets every key in."""

    name = "s3"

    def __init__(self, root: Path, port: int, key: str, secret: str) -> None:
        """Args:
        root: folder of all services.
        port: that it listens on.
        key: of its clients.
        secret: of its clients.
        """
        super().__init__(root, port)
        self._key, self._secret = key, secret

    def command(self) -> Sequence[str]:
        """Moto's server."""
        from pipelines.server import HOST

        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]

    def settle(self) -> None:
        """Makes the buckets."""
        ensure_buckets(self.client_variables())

    def is_healthy(self) -> bool:
        """Whether it answers."""
        return self.is_running() and answers(f"{self.address}/moto-api/data.json")

    def client_variables(self) -> dict[str, str]:
        """What clients need."""
        return {
            ENDPOINT: self.address,
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": REGION,
        }
