"""Bodies that are refused before they are read, sent with Python as the simplest applications do: all is written
before anything is read. Arguments: base, "path=status ...", sizes."""
import http.client
import socket
import sys
import urllib.parse

base, asks, *sizes = sys.argv[1:]


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(base.removeprefix("unix:"))


def connection():
    if base.startswith("unix:"):
        return Unix("localhost"), ""
    url = urllib.parse.urlsplit(base)
    return http.client.HTTPConnection(url.netloc, timeout=60), url.path


for ask in asks.split(" "):
    path = ask.split("=")[0]
    for size in sizes:
        body = b"a" * int(size)
        for how in ["fixed", "chunked"]:
            wire, prefix = connection()
            pieces = (body[at : at + 65537] for at in range(0, len(body), 65537))
            wire.request("POST", prefix + path, body=body if how == "fixed" else pieces, encode_chunked=how == "chunked",
                         headers={} if how == "fixed" else {"transfer-encoding": "chunked"})
            answer = wire.getresponse()
            answer.read()
            print(path, size, how, answer.status)
            wire.close()
