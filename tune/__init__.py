"""Makes pools: Ray Tune trains the seeds in parallel, MLflow compares the members. Knows nothing of the service."""
