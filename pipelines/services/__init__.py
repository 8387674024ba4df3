"""The servers a lab runs for itself on one machine: PostgreSQL, objects, MLflow, Prefect, a worker."""
