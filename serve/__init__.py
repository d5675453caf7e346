"""The service: fans a study out to all members of a pool, and reduces their answers to one result.

settings   what can be chosen, refused in words when it makes no sense
registry   a pool by its name in an MLflow registry (the only file that knows MLflow)
shards/    members in many processes, and one answer from them
store/     every accepted study, on disk
runner     takes accepted studies from received to done or failed
reading    uploads are opened in limited processes
http/      what a client sees
app        the only place with deployments and `.bind`
local      the service on this machine, for as long as a block lasts
durable    bytes that are on disk when the call returns
silence    what may be said of an exception in a log
client     for Python programs and for `python -m serve send`
"""
