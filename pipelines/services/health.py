"""`python -m pipelines.services.health`: exit code 0 when the server at LLARP_HEALTH_URL answers; for containers."""

import os

from pipelines.server import answers

ADDRESS = "LLARP_HEALTH_URL"


def main() -> int:
    """0 when it answers, or when no address is given; else 1."""
    address = os.environ.get(ADDRESS)
    return int(bool(address) and not answers(str(address)))


if __name__ == "__main__":
    raise SystemExit(main())
