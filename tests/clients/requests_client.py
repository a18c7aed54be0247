"""The calls of an LFI, made with `requests` as an application would. Prints what came back as JSON."""
import hashlib
import json
import sys

import requests

base = sys.argv[1]
big = b"0123456789abcdef" * (10 * 1024 * 1024 // 16)
session = requests.Session()
results = {}


def keep(name, answer):
    results[name] = {
        "status": answer.status_code,
        "location": answer.headers.get("location"),
        "id": answer.headers.get("x-fapi-interaction-id"),
        "length": len(answer.content),
        "sha256": hashlib.sha256(answer.content).hexdigest(),
    }


def call(name, method, path, **more):
    keep(name, session.request(method, base + path, allow_redirects=False, timeout=30, **more))


call("get", "GET", "/cm/consents/1?a=%2Fb&c=d%20e&a=+")
call("auth", "GET", "/hh/auth?client_id=tpp&request=a%3D%3D&redirect_uri=https%3A%2F%2Ftpp.example%2Fcb")
call("form", "POST", "/hh/auth/3f1c9d2e/doConfirm", data={"a": "1", "b": "x y"})
call("patch", "PATCH", "/cm/consents/1", data=big, headers={"content-type": "application/json"})
call("chunked", "PATCH", "/cm/consents/2", data=(big[at : at + 65537] for at in range(0, len(big), 65537)))
call("small-chunked", "PATCH", "/cm/consents/3", data=(part for part in [b"{}", b" ", b"\n"]))
call("missing", "GET", "/cm/nothing")
print(json.dumps(results))
