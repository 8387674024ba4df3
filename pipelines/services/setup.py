"""`python -m pipelines.services.setup`: makes databases, roles and buckets that are missing; for containers.

Reads PGHOST, PGPORT, a password for each role (POSTGRES_PASSWORD, MLFLOW_PASSWORD, PREFECT_PASSWORD), and the AWS
variables of the object store.
"""

import os

from llarp.errors import UserError
from pipelines.services.object_store import ensure_buckets
from pipelines.services.postgres import DATABASES, OWNER, ensure_databases


def main() -> None:
    """Can be repeated; UserError when a password is not given."""
    variables = {role: f"{role.upper()}_PASSWORD" for role in (OWNER, *DATABASES)}
    if missing := [name for name in variables.values() if not os.environ.get(name)]:
        raise UserError("not set", ", ".join(missing), "set them")
    passwords = {role: os.environ[name] for role, name in variables.items()}
    ensure_databases(os.environ.get("PGHOST", "127.0.0.1"), int(os.environ.get("PGPORT", "5432")), OWNER, passwords)
    ensure_buckets(os.environ)
    print("Databases and buckets are there.")


if __name__ == "__main__":
    main()
