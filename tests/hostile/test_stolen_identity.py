"""What a pod proves itself with is of use to nobody else, and what makes it is in nobody's memory but its maker's."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from attacks.test_hostile_peers import ATTACKER, PORT, open_frame
from datapath import scripts
from kube_gateway import _native
from kube_gateway.identity.authority import load_authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.local import cgroups

pytestmark = pytest.mark.root

SERVER = str(Path(__file__).with_name("impostor.py"))
KEY = rb"-----BEGIN PRIVATE KEY-----(?:\n|\\n)[A-Za-z0-9+/]{48}([A-Za-z0-9+/]{16})"
"""What is in front is the same for all keys of this kind (PKCS #8, P-256); 96 bits of the number itself."""


@pytest.fixture(scope="module")
def pods(module_instance):
    """Two enrolled pods, and a thief that is not enrolled and has what one of them proves itself with."""
    module_instance.run("owner", "sleep", "3600")
    module_instance.run("victim", sys.executable, "-u", "-c", scripts.server(PORT))
    module_instance.run("thief", "sleep", "3600")
    module_instance.annotate("owner", encrypt="true")
    module_instance.annotate("victim", encrypt="true")
    return module_instance


@pytest.fixture(scope="module")
def stolen(pods):
    """The owner's certificate with its key, exactly as its manager would sign it."""
    key, request = _native.create_key_and_request()
    issuer = RootIssuer(load_authority(pods.instance.authority))
    issued = issuer.sign(request, pod=pods.record("owner").pod, life=datetime.timedelta(hours=1))
    return {"chain": issued.chain, "key": key}


def speak(pods, source, to, **order):
    done = pods.in_network_with_input(source, json.dumps({"to": to, **order}), sys.executable, ATTACKER)
    return json.loads(done.stdout)


def test_a_stolen_key_and_certificate_are_of_no_use_from_another_address(pods, stolen, figures):
    """As a client: the same bytes are served from the owner's address, and refused from the thief's."""
    victim, owner, thief = (pods.address(name) for name in ("victim", "owner", "thief"))
    sent = [open_frame(victim, PORT, owner).hex()]
    assert speak(pods, "owner", victim, **stolen, send=sent)["received"].startswith("0200000100")
    before = pods.counter("victim", "handshakes_failed")
    tries = 20
    for _ in range(tries):
        for claimed in (owner, thief):
            answer = speak(pods, "thief", victim, **stolen, send=[open_frame(victim, PORT, claimed).hex()], hold=0.2)
            assert answer["received"] == ""
    pods.wait_counter("victim", "handshakes_failed", before + 2 * tries)
    pods.wait_log("victim", f"is not for the address {thief}")
    figures(
        "A stolen key and certificate are useless from another address",
        tries=2 * tries,
        served=0,
        from_the_owners_address="served",
    )


def test_a_stolen_key_and_certificate_do_not_make_a_server_at_another_address(pods, stolen, figures):
    """As a server: a client that reaches the thief sends it nothing, in the tunnel or in clear."""
    thief = pods.address("thief")
    impostor = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{pods.instance.pod_namespace('thief')}", "--", sys.executable, SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        impostor.stdin.write(json.dumps({**stolen, "address": thief, "plain": PORT}) + "\n")
        impostor.stdin.flush()
        assert impostor.stdout.readline() == "listening\n"
        text = f"""
import socket
try:
    s = socket.create_connection(({thief!r}, {PORT}), timeout=10); s.sendall(b"secret-marker"); print(s.recv(10))
except ConnectionResetError: print("reset")"""
        tries = 5
        with pods.capture("thief") as wire:
            for _ in range(tries):
                assert pods.exec("victim", sys.executable, "-c", text).stdout == "reset\n"
        assert not wire.seen(b"secret-marker")
    finally:
        heard, _ = impostor.communicate(timeout=20)
    assert "secret" not in heard
    pods.wait_log("victim", "its certificate is not for its address")
    figures("A stolen key and certificate do not make a server at another address", tries=tries, bytes_got=0)


def memory(pid):
    """All that a process can read of itself."""
    process = Path(f"/proc/{pid}")
    with (process / "maps").open() as maps, (process / "mem").open("rb", buffering=0) as bytes_of:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or "[v" in line:
                continue
            begin, end = int(match[1], 16), int(match[2], 16)
            try:
                bytes_of.seek(begin)
                yield bytes_of.read(end - begin)
            except OSError:
                # A mapping that cannot be read is nobody's secret.
                continue


def forms(key_pem):
    """A key as it may lie in memory: its number, its DER form, and its text."""
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    return {"number": number, "number, other end first": number[::-1], "text": key_pem.splitlines()[1][48:64].encode()}


def found(pid, wanted):
    return {name for block in memory(pid) for name, form in wanted.items() if form in block}


def test_the_key_of_the_authority_is_in_no_gateways_memory_and_in_no_log(pods, figures):
    wanted = forms(load_authority(pods.instance.authority).key_pem)
    # It would be found: the manager signs with it.
    (manager, *_) = cgroups.members(cgroups.instance_cgroup(pods.instance) / "manager")
    assert found(manager, wanted)
    searched = size = 0
    for name in ("owner", "victim"):
        for pid in pods.gateway_processes(name).values():
            assert found(pid, wanted) == set()
            searched += 1
            size += sum(len(block) for block in memory(pid))
    logs = list(pods.instance.directory.rglob("*.log"))
    assert len(logs) >= 5
    assert not any(wanted["text"] in log.read_bytes() for log in logs)
    figures(
        "The key of the authority is never logged, and never in a gateway",
        processes=searched,
        megabytes_searched=size // 2**20,
        found=0,
        logs=len(logs),
    )


def test_the_key_of_a_gateway_is_in_memory_only(pods, figures):
    """In no file, environment or command line, of the gateway or of anybody else; and nobody but root may look."""
    (supervisor, worker) = (pods.gateway_processes("owner")[part] for part in ("supervisor", "worker"))
    keys = {match for block in memory(supervisor) for match in re.findall(KEY, block)}
    assert keys, "the key is not found where it has to be"
    files = [path for path in pods.instance.directory.rglob("*") if path.is_file()]
    assert forms(load_authority(pods.instance.authority).key_pem)["text"] not in keys
    for path in files:
        assert not any(key in path.read_bytes() for key in keys), path
    for pid in (supervisor, worker):
        for kind in ("environ", "cmdline"):
            content = Path(f"/proc/{pid}/{kind}").read_bytes()
            assert b"PRIVATE KEY" not in content
            assert not any(key in content for key in keys)
    (manager, *_) = cgroups.members(cgroups.instance_cgroup(pods.instance) / "manager")
    assert not any(key in block for block in memory(manager) for key in keys)
    # Whoever is nobody, as the worker is, may not look into it.
    assert Path(f"/proc/{worker}/mem").stat().st_uid == 0
    figures("The key of a gateway is in its memory only", keys=len(keys), files_searched=len(files), found=0)
