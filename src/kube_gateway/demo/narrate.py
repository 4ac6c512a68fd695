"""The demo's story for a person at a terminal: short, in 100 columns, whole without colour.

Each part is a string, so that it can be compared with a golden file; the caller prints it as soon as a stage is over.
Colour only repeats what the words say, and only where `Style` was told that the output is a terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from kube_gateway.demo.evidence import HELLO_PORT, HTTP_PORT, PeerIdentity, Sample, Stage

_WIDTH = 100
_SAMPLE_BYTES = 48
_PER_LINE = 16
_CLASSES = {"tls": "TLS records", "plain": "clear text", "empty": "nothing"}
_TITLES = {
    "clear": "Two pods as they are",
    "one-enrolled": "pod-01 is enrolled",
    "both-enrolled": "pod-02 is enrolled too",
    "flushed": "What is older than the gateways is ended",
}
_EXPLANATIONS = {
    "clear": "Everybody on the way can read along.",
    "one-enrolled": (
        "Its gateway runs, its peer has none: all goes on in clear, as before. Pods can be enrolled one by one."
    ),
    "both-enrolled": (
        "Every new connection is now mutual TLS between the pods, and no program noticed. The connection to port "
        f"{HELLO_PORT} is older than the gateways: it was not touched, and it is reported as what is left in clear."
    ),
    "flushed": (
        "netflush=true ends such connections; the programs connect again, as after any lost connection. Nothing "
        "readable is left."
    ),
}
_COMMANDS = {
    "one-enrolled": ("pod-01 encrypt=true",),
    "both-enrolled": ("pod-02 encrypt=true",),
    "flushed": ("pod-01 netflush=true", "pod-02 netflush=true"),
}
_SAMPLED = ("clear", "flushed")


class Style:
    """Terminal attributes, or none."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def heading(self, text: str) -> str:
        """Bold."""
        return self._wrap("1", text)

    def good(self, text: str) -> str:
        """Green."""
        return self._wrap("32", text)

    def bad(self, text: str) -> str:
        """Red."""
        return self._wrap("31", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def opening(pods: Sequence[tuple[str, str, int]], *, style: Style) -> str:
    """Introduce the pods: name, address and process id of each."""
    table = _table([(name, address, str(pid)) for name, address, pid in pods], header=("POD", "ADDRESS", "PROCESS"))
    words = (
        f"Each says `Hello from ...` to the other once a second on a connection to port {HELLO_PORT} that stays "
        f"open, and fetches http://PEER:{HTTP_PORT}/hello four times a second, each time on a new connection. The wire "
        "of pod-01 is captured while the two are enrolled, one after the other."
    )
    return "\n".join([style.heading("Two ordinary programs in two pods"), *_indent(table), "", *_paragraph(words), ""])


def stage(number: int, value: Stage, *, instance: str, style: Style) -> str:
    """Tell what happened in a stage and what the wire showed."""
    lines = [style.heading(f"{number}. {_TITLES[value.name]}")]
    lines += [
        f"   $ kube-gateway local --instance {instance} annotate {each}" for each in _COMMANDS.get(value.name, ())
    ]
    lines += [*_paragraph(_EXPLANATIONS[value.name]), ""]
    lines += _indent(_ports(value, style))
    lines += ["", f"   {_requests(value)}; {_count(value.left_in_clear, 'connection')} reported as left in clear"]
    if value.name in _SAMPLED:
        lines += _samples(value.samples)
    return "\n".join([*lines, ""])


def closing(last: Stage, *, captures: str, seconds: float, style: Style) -> str:
    """Say who is who in the end, and where the captures are."""
    lines = [style.heading("Who is who, by the certificates they showed each other")]
    lines += _indent(_identities(last.identities))
    lines += ["", style.good("All of it held:") + f" {_requests(last)}, the same processes from begin to end,"]
    lines += [f"each server saw its real client's address. It took {seconds:.0f} s."]
    lines += [f"One capture of each stage, for Wireshark or tcpdump: {captures}"]
    return "\n".join(lines)


def hexdump(data: bytes) -> list[str]:
    """Return lines of 16 bytes in hexadecimal, with the readable characters beside them."""
    lines = []
    for offset in range(0, len(data), _PER_LINE):
        part = data[offset : offset + _PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{part.hex(' '):<{_PER_LINE * 3 - 1}}  {text}")
    return lines


def _ports(value: Stage, style: Style) -> list[str]:
    rows = []
    for port in value.ports:
        if port.payload_bytes:
            readable = port.port in value.visible_on_ports
            rows.append((str(port.port), str(port.payload_bytes), _CLASSES[port.traffic], "yes" if readable else "no"))
    header, *lines = _table(rows, header=("PORT", "BYTES", "ON THE WIRE", "READABLE"))
    paint = {"yes": style.bad, "no": style.good}
    words = [row[-1] for row in rows]
    return [header, *(line.removesuffix(word) + paint[word](word) for line, word in zip(lines, words, strict=True))]


def _requests(value: Stage) -> str:
    return f"{_count(value.requests_ok, 'request')} answered, {value.requests_failed or 'none'} failed"


def _samples(samples: Iterable[Sample]) -> list[str]:
    lines = []
    for sample in samples:
        lines += ["", f"   from {sample.source} to {sample.destination}, port {sample.port}:"]
        lines += _indent(hexdump(bytes.fromhex(sample.payload)[:_SAMPLE_BYTES]), by=5)
    return lines


def _identities(identities: Iterable[PeerIdentity]) -> list[str]:
    """Who each pod is as its peer saw it: what was proven, not what was claimed."""
    found = sorted(identities, key=lambda each: each.peer)
    life = {each.pod: f"{each.certificate_seconds_left / 60:.0f} min" for each in found}
    rows = [
        (
            each.peer,
            each.peer_spiffe_id,
            life.get(each.peer, "-"),
            f"{each.cipher.removeprefix('TLS13_')} {each.key_exchange}",
        )
        for each in found
    ]
    return _table(rows, header=("POD", "AS ITS PEER SAW IT", "VALID", "TLS 1.3 WITH"))


def _table(rows: Sequence[tuple[str, ...]], *, header: tuple[str, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]


def _indent(lines: Iterable[str], *, by: int = 3) -> list[str]:
    return [" " * by + line for line in lines]


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="   ", subsequent_indent="   ", break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
