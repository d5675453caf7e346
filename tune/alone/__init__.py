"""Training on one machine without Ray, MLflow and typer: for bare GPU images, and for GPUs that are lent by the minute.

The loop, the samples and the choice of members are those of `tune train`; what is missing is everything that needs more
than one machine or another program: no resume, no log but a file.
"""
