"""Evidence as a demo that goes well collects it."""

import msgspec

from kube_gateway.demo.evidence import PeerIdentity, Sample, Stage
from kube_gateway.model.flow import ClearConnection
from kube_gateway.observe.proof import PortTraffic

ADDRESSES = {"pod-01": "10.89.0.2", "pod-02": "10.89.0.3"}
PIDS = {"pod-01": 4711, "pod-02": 4712}
TEXT = Sample(source="10.89.0.2", destination="10.89.0.3", port=9000, payload=b"Hello from pod-01\n".hex())
CIPHERTEXT = Sample(
    source="10.89.0.2", destination="10.89.0.3", port=18443, payload="1703030071" + bytes(range(40, 83)).hex()
)


def connection(local: str, local_port: int, remote: str, remote_port: int) -> ClearConnection:
    return ClearConnection(
        cookie=1,
        local_address=local,
        local_port=local_port,
        remote_address=remote,
        remote_port=remote_port,
        relayed=False,
        idle=0.5,
    )


OLD = {
    "pod-01": (connection("10.89.0.2", 40000, "10.89.0.3", 9000), connection("10.89.0.2", 9000, "10.89.0.3", 41000)),
    "pod-02": (connection("10.89.0.3", 9000, "10.89.0.2", 40000), connection("10.89.0.3", 41000, "10.89.0.2", 9000)),
}
NONE_LEFT = {"pod-01": (), "pod-02": ()}


def identity(pod: str, peer: str) -> PeerIdentity:
    return PeerIdentity(
        pod=pod,
        peer=peer,
        spiffe_id=f"spiffe://cluster.local/ns/default/sa/{pod}",
        peer_spiffe_id=f"spiffe://cluster.local/ns/default/sa/{peer}",
        cipher="TLS13_AES_128_GCM_SHA256",
        key_exchange="X25519MLKEM768",
        certificate_seconds_left=3590,
    )


IDENTITIES = (identity("pod-01", "pod-02"), identity("pod-02", "pod-01"))


def traffic(port: int, payload_bytes: int, kind: str) -> PortTraffic:
    return PortTraffic(port=port, connections=2, payload_bytes=payload_bytes, traffic=kind)


def _stage(name: str, *ports: PortTraffic, visible: tuple[int, ...], requests: int, **more: object) -> Stage:
    stage = Stage(
        name=name,
        capture=f"/tmp/{name}.pcap",
        seconds=2.2,
        frames=200,
        bytes=sum(port.payload_bytes for port in ports),
        payload_visible=bool(visible),
        visible_on_ports=visible,
        ports=ports,
        pids=PIDS,
        addresses=ADDRESSES,
        seen_as=ADDRESSES,
        requests_ok=requests,
        requests_failed=0,
        reconnects=0,
    )
    return msgspec.structs.replace(stage, **more)


CLEAR = _stage(
    "clear",
    traffic(9000, 72, "plain"),
    traffic(9080, 3222, "plain"),
    traffic(18443, 0, "empty"),
    visible=(9000, 9080),
    requests=20,
    samples=(TEXT,),
)
ONE = _stage(
    "one-enrolled", traffic(9000, 72, "plain"), traffic(9080, 3222, "plain"), visible=(9000, 9080), requests=40
)
BOTH = _stage(
    "both-enrolled",
    traffic(9000, 72, "plain"),
    traffic(18443, 6216, "tls"),
    visible=(9000,),
    requests=76,
    clear_connections=OLD,
    identities=IDENTITIES,
)
FLUSHED = _stage(
    "flushed",
    traffic(18443, 6392, "tls"),
    visible=(),
    requests=96,
    reconnects=2,
    clear_connections=NONE_LEFT,
    identities=IDENTITIES,
    samples=(CIPHERTEXT,),
)
