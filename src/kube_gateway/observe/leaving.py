"""How much TCP payload left a pod by what a capture shows, to be compared with what the pod's hooks have counted.

By what is on the wire alone: the tunnel by its port, TLS by its records. Bytes that were sent twice count twice, as they do
for the hooks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from kube_gateway.model.ports import TLS_TUNNEL_PORT
from kube_gateway.observe.packets import parse_frame
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.proof import classify
from kube_gateway.observe.streams import Flow, Reassembler


def leaving(path: Path, *, addresses: Collection[str]) -> dict[str, int]:
    """Return bytes by kind (`tunnel`, `tls`, `plain`) that `addresses` sent to others. Raises `CaptureError`."""
    sent: Counter[Flow] = Counter()
    reassembler = Reassembler()
    for frame in read_pcap(path):
        segment = parse_frame(frame.data)
        if segment is None or segment.source not in addresses or segment.destination in addresses:
            continue
        reassembler.add(segment, time=frame.time)
        flow = Flow(segment.source, segment.source_port, segment.destination, segment.destination_port)
        sent[flow] += len(segment.payload)
    plain = {stream.flow for stream in reassembler.streams() if classify(stream) == "plain"}
    kinds = dict.fromkeys(("tunnel", "tls", "plain"), 0)
    for flow, count in sent.items():
        kinds[_kind(flow, is_plain=flow in plain)] += count
    return kinds


def _kind(flow: Flow, *, is_plain: bool) -> str:
    if is_plain:
        return "plain"
    return "tunnel" if TLS_TUNNEL_PORT in (flow.source_port, flow.destination_port) else "tls"
