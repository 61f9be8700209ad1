"""How the fuzzer writes bodies that are files of lines: as generated where that is text, else as JSON."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return (json.dumps(value) + "\n").encode()
