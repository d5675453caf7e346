"""HTTP: what a client sees of the service.

ingress        the FastAPI application: routes and refusals
front          what the routes do, without HTTP
schemas        bodies of answers, with examples
upload_limit   bodies that are too large
"""
