"""A thief that listens as a gateway would, with what it has stolen, and on the application's port; prints what it hears.

Run inside a pod's network; stdin is one line of JSON with `chain`, `key` (PEM), `address` and `plain` (a port). Ends when
stdin does.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import tempfile
import threading


def serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        connection.settimeout(3)
        try:
            spoken = context.wrap_socket(connection, server_side=True) if context else connection
            heard = spoken.recv(65536)
        except OSError as error:
            print(f"nothing: {error}", flush=True)
        else:
            print(f"{'tunnel' if context else 'clear'}: {heard!r}", flush=True)
        finally:
            connection.close()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["kube-gateway/1"])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(order["key"] + order["chain"])
        file.flush()
        context.load_cert_chain(file.name)
    for port, spoken in ((18443, context), (order["plain"], None)):
        listener = socket.create_server((order["address"], port))
        threading.Thread(target=serve, args=(listener, spoken), daemon=True).start()
    print("listening", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
