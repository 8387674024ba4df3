"""`python -m pipelines.cli`, the same as `llarp`."""

from pipelines.cli.main import main

main()
