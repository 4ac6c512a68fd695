"""Where a watcher listens for gateways: `unix:/path` on this machine, `tls:HOST:PORT` in a cluster."""

from __future__ import annotations

import msgspec

from kube_gateway.errors import UsageError


class Whereabouts(msgspec.Struct, frozen=True):
    """`path` of a unix socket, or `host` (an address or a name) and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"tls:[{self.host}]:{self.port}" if ":" in self.host else f"tls:{self.host}:{self.port}"


def parse_whereabouts(text: str) -> Whereabouts:
    """Return what `text` spells. Raises `UsageError`."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest.startswith("/"):
        return Whereabouts(path=rest)
    if scheme == "tls":
        host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return Whereabouts(host=host, port=int(port))
    raise UsageError(f"{text!r} is no place of a watcher", hint="it must be unix:/absolute/path or tls:HOST:PORT")
