"""HTTP: what a client sees of the service.

ingress       the FastAPI application
study_routes  routes of studies
front         what the routes do, without HTTP
admission     room for studies
bodies        bodies that are too large or too slow
access        who may ask; tokens, the file that says so
event_stream  server-sent events
refusals      every refusal in the words of `pool.errors`
schemas       bodies of answers, with examples
timing        how long requests take
"""
