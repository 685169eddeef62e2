"""Ask klag-trio through its Service, as `helm test` does: HOST PORT, "secured" where it may want a login."""

import socket
import sys
import urllib.request

host, port, *secured = sys.argv[1:]
if secured:
    # Without a certificate or a password of ours, that somebody listens is all there is to see.
    socket.create_connection((host, int(port)), timeout=10).close()
    print(f"{host}:{port} listens")
    sys.exit()
for path, expected in ("/health", b""), ("/leader", b'"is_leader"'), ("/metrics", b"klag_build_info"):
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
        body = answer.read()
    if expected not in body:
        sys.exit(f"{path} answers {answer.status} without {expected.decode()}: {body[:300]!r}")
    print(f"{path} answers {answer.status}, {len(body)} bytes")
