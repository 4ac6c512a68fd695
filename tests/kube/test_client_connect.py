"""How the client finds its cluster, and what it says where it finds none."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl

import httpx2
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kube.client_parts import PODS, Thing, a_thing
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import KubernetesError, Unreachable


async def test_nobody_listens():
    async with KubernetesClient(httpx2.AsyncClient(base_url="http://127.0.0.1:1", trust_env=False)) as client:
        with pytest.raises(Unreachable, match="Connect call failed") as caught:
            await client.list(PODS, Thing)
    assert caught.value.hint


async def test_a_certificate_that_is_not_trusted(tmp_path, serve):
    certificate = a_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    async with listener, KubernetesClient(httpx2.AsyncClient(base_url=f"https://127.0.0.1:{port}")) as client:
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await client.list(PODS, Thing)


def a_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def a_kubeconfig(directory, server, user):
    file = directory / "config"
    config = {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "two", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(json.dumps(config))
    return file


async def test_connect_with_a_file(tmp_path, serve):
    seen = []

    async def handler(request):
        seen.append((request.path, request.headers.get("Authorization"), request.headers["User-Agent"]))
        return web.json_response(a_thing("a"))

    url = (await serve(handler)).server + "/k8s/clusters/c1"
    file = a_kubeconfig(tmp_path, url, {"token": "secret"})
    async with KubernetesClient.connect(kubeconfig=file) as client:
        assert (client.server, client.namespace) == (url, "shop")
        await client.get("/api/v1/pods/a", Thing)
    async with KubernetesClient.connect(kubeconfig=file, context="two") as client:
        assert client.namespace == "default"
        await client.get("/api/v1/pods/a", Thing)
    path = "/k8s/clusters/c1/api/v1/pods/a"
    assert seen == [(path, "Bearer secret", "kube-gateway"), (path, None, "kube-gateway")]


@pytest.mark.parametrize(
    ("content", "context", "says"),
    [
        (None, None, "not found"),
        ("{}", None, "KeyError 'clusters'"),
        ("a: [", None, "expected"),
        ("just words", None, "AttributeError"),
        ('{"contexts":[],"clusters":[]}', None, "No current context"),
        ('{"contexts":[],"clusters":[]}', "mine", "Context 'mine' not found"),
    ],
)
def test_connect_without_a_usable_file(tmp_path, content, context, says):
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KubernetesError, match=says) as caught:
        KubernetesClient.connect(kubeconfig=file, context=context)
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_connect_without_any_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(KubernetesError, match="no cluster to connect to"):
        KubernetesClient.connect()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ({"command": "/nowhere/plugin"}, "/nowhere/plugin"),
        ({"command": "false"}, "returned 1"),
        ({"command": "true"}, "no credentials"),
        ({"command": "echo", "args": ["null"]}, "no credentials"),
        ({"command": "echo", "args": ["{}"]}, "status"),
    ],
)
async def test_an_exec_plugin_that_fails(tmp_path, command, says):
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1beta1", **command}
    file = a_kubeconfig(tmp_path, "http://127.0.0.1:1", {"exec": exec_})
    async with KubernetesClient.connect(kubeconfig=file) as client:
        with pytest.raises(KubernetesError, match=says):
            await client.list(PODS, Thing)
