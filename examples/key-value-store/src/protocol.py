import json


def encode(message):
    return json.dumps(message).encode() + b"\n"


def decode(line):
    return json.loads(line)
