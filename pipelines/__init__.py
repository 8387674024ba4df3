"""When and where: Prefect flows and the `llarp` command line."""
