"""The service: fans a study out to all members of a pool, and reduces their answers to one result.

settings   what can be chosen, refused in words when it makes no sense
registry   a pool by its name in an MLflow registry (the only file that knows MLflow)
members    a shard: some members of the pool, ready to work            (plain)
selector   asks all shards about every slice, then concludes           (plain)
studies    every accepted study, on disk                               (plain)
runner     takes accepted studies from received to done or failed      (plain)
ingress    HTTP                                                        (FastAPI)
handles    the seam to Ray Serve's handles
app        the only place with deployments and `.bind`
local      the service on this machine, for as long as a block lasts
client     for Python programs and for `python -m serve send`
"""
