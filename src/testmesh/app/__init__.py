"""The HTTP front of a node: the only room that knows flask and gunicorn."""
