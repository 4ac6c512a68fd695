"""What a pod's annotations ask for, as one frozen value.

Annotations are text typed by people; everything past this module works with `Settings`. A key or value that is not
understood is an error, never a silent default: a typing mistake in `encrypt` must not leave a pod in clear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.ports import ANNOTATION_PREFIX, RESERVED_PORTS

Encryption = Literal["none", "off", "permissive", "strict"]
"""`off`: tunnels without TLS to gateways that have it off too. `none`: no tunnels at all, straight to the destination."""

Flush = Literal["never", "all", "idle"]

Udp = Literal["allow", "dns-only", "block"]
"""What of the pod's UDP leaves it: all, what goes to port 53, nothing. Counted in any case."""

_ENCRYPTION: dict[str, Encryption] = {"true": "permissive", "strict": "strict", "false": "off"}
_FLUSH: dict[str, Flush] = {"true": "all", "idle": "idle", "false": "never"}
_BOOLEAN = {"true": True, "false": False}
_UDP: dict[str, Udp] = {"allow": "allow", "dns-only": "dns-only", "block": "block"}
_NOT_YET = {"ktls"}
_ONLY_WITH = {"ai-model": ("ai",), "ai-config": ("ai",), "metrics-port": ("encrypt", "ai")}
_LONGEST_MODEL = 256

MOST_ITEMS = 200
"""CIDRs or ports in one annotation: the kernel's maps hold all of a pod's, and many connections are held against them."""

_OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the gateway of one pod shall do.

    `wanted` says whether the pod shall have a gateway at all. `capture_cidrs` empty means everything that is not
    excluded, loopback or link-local. CIDRs are canonical text, ports are 1 to 65535.

    `ai`: the pod's LLM calls pass a policy. `ai_model` is the model that they all go to, empty for none; `ai_config` the
    name of what holds the policy, empty for `<pod>-kube-gateway`. `metrics_port` is where the pod's address serves figures,
    of them and of what leaves the pod, 0 for nowhere.

    `udp` is what of the pod's UDP may leave it. `exempt_sources` are CIDRs that a strict pod is reached from in clear all
    the same. `flush_exclude_ports`: a connection with one of these at either end is never ended for being in clear.
    """

    wanted: bool = False
    encryption: Encryption = "off"
    flush: Flush = "never"
    accept_only: bool = False
    capture_cidrs: tuple[str, ...] = ()
    exclude_cidrs: tuple[str, ...] = ()
    exclude_ports: tuple[int, ...] = ()
    debug: bool = False
    ai: bool = False
    ai_model: str = ""
    ai_config: str = ""
    metrics_port: int = 0
    udp: Udp = "allow"
    exempt_sources: tuple[str, ...] = ()
    flush_exclude_ports: tuple[int, ...] = ()

    @property
    def encrypting(self) -> bool:
        """Whether the gateway offers and requires mutual TLS."""
        return self.wanted and self.encryption in {"permissive", "strict"}

    @property
    def tunnel(self) -> Literal["tls", "plain"] | None:
        """Which tunnels the gateway accepts and tries, None for none at all."""
        if self.encryption == "none":
            return None
        return "plain" if self.encryption == "off" else "tls"


def settings_from_annotations(annotations: Mapping[str, str]) -> Settings:
    """Return the settings that `annotations` ask for; keys of other products are ignored.

    Raises `InvalidAnnotation` for an unknown `kube-gateway.io/` key or a value that is not allowed.
    """
    ours = {
        key.removeprefix(ANNOTATION_PREFIX): value.strip()
        for key, value in annotations.items()
        if key.startswith(ANNOTATION_PREFIX)
    }
    unknown = sorted(set(ours) - _PARSERS.keys() - _NOT_YET)
    if unknown:
        raise InvalidAnnotation(
            f"unknown annotation {ANNOTATION_PREFIX}{unknown[0]}",
            hint="known: " + ", ".join(sorted(_PARSERS)),
        )
    for key in sorted(set(ours) & _NOT_YET):
        if ours[key] != "false":
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key} is not supported by this version", hint="remove it"
            )
    values: dict[str, object] = {}
    for key, text in ours.items():
        if key in _PARSERS:
            field, parse = _PARSERS[key]
            values[field] = parse(key, text)
    _check_ai(values, ours)
    enabled = values.pop("enabled", True)
    asked = "encryption" in values or values.get("ai") is True
    if values.get("ai") is True:
        values.setdefault("encryption", "none")
    return msgspec.convert({**values, "wanted": bool(enabled) and asked}, Settings)


def at_least_strict(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return `annotations` as a watcher takes them that wants every pod which encrypts to be strict.

    A floor: what asks for no encryption is as it was, and what is not understood is left for others to tell.
    """
    key = f"{ANNOTATION_PREFIX}encrypt"
    floor = {key: "strict"} if _ENCRYPTION.get(annotations.get(key, "").strip()) == "permissive" else {}
    return {**annotations, **floor}


def _check_ai(values: Mapping[str, object], given: Mapping[str, str]) -> None:
    """Raise `InvalidAnnotation` for what can have no effect."""
    for key, others in _ONLY_WITH.items():
        if key in given and not any(other in given for other in others):
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key} means nothing without "
                + " or ".join(f"{ANNOTATION_PREFIX}{other}" for other in others),
                hint=f"set {ANNOTATION_PREFIX}{others[0]}=true, or remove {ANNOTATION_PREFIX}{key}",
            )
    if values.get("ai") is True and values.get("accept_only") is True:
        raise InvalidAnnotation(
            f"{ANNOTATION_PREFIX}endpoint=true lets the pod's own connections go direct, "
            f"and {ANNOTATION_PREFIX}ai=true is about these",
            hint="remove one of the two",
        )


def _choice(choices: Mapping[str, object]) -> Callable[[str, str], object]:
    def parse(key: str, text: str) -> object:
        if text not in choices:
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key} has the value {text!r}",
                hint="allowed: " + ", ".join(choices),
            )
        return choices[text]

    return parse


def _items(key: str, text: str) -> list[str]:
    # No further than needed, as an annotation may have 256 KiB; a comma at the end is no entry.
    pieces = text.split(",", MOST_ITEMS + 1)
    items = [piece.strip() for piece in pieces if piece.strip()]
    if len(items) > MOST_ITEMS or len(pieces) > MOST_ITEMS + 1:
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key} has more than {MOST_ITEMS} entries",
            hint="put them together into fewer, wider ones",
        )
    return items


def _cidrs(key: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in _items(key, text))
    except ValueError as error:
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key}: {error}", hint="give CIDRs separated by commas: 10.0.0.0/8,fd00::/8"
        ) from None


def _ports(key: str, text: str) -> tuple[int, ...]:
    ports = []
    for item in _items(key, text):
        # int() refuses numbers of thousands of digits in its own way.
        if not (item.isascii() and item.isdigit() and len(item) <= 5 and 1 <= int(item) <= 65535):
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key}: {item!r} is not a port",
                hint="give numbers from 1 to 65535 separated by commas",
            )
        ports.append(int(item))
    return tuple(ports)


def _model(key: str, text: str) -> str:
    if not text or len(text) > _LONGEST_MODEL or not text.isprintable() or any(map(str.isspace, text)):
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key}: {text!r} cannot be a model's name",
            hint=f"give a name as clients do (gemma2:2b), of at most {_LONGEST_MODEL} characters and without blanks",
        )
    return text


def _object_name(key: str, text: str) -> str:
    if not _OBJECT_NAME.fullmatch(text):
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key}: {text!r} cannot be the name of a ConfigMap",
            hint="give lower-case letters, digits, dots and dashes",
        )
    return text


def _own_port(key: str, text: str) -> int:
    ports = _ports(key, text)
    if len(ports) != 1 or ports[0] in RESERVED_PORTS:
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key} has the value {text!r}",
            hint="give one port that nobody has, also not the gateway: " + ", ".join(map(str, RESERVED_PORTS)),
        )
    return ports[0]


_PARSERS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "encrypt": ("encryption", _choice(_ENCRYPTION)),
    "netflush": ("flush", _choice(_FLUSH)),
    "netflush-exclude-ports": ("flush_exclude_ports", _ports),
    "exempt-sources": ("exempt_sources", _cidrs),
    "udp": ("udp", _choice(_UDP)),
    "endpoint": ("accept_only", _choice(_BOOLEAN)),
    "enabled": ("enabled", _choice(_BOOLEAN)),
    "debug": ("debug", _choice(_BOOLEAN)),
    "podcidr": ("capture_cidrs", _cidrs),
    "exclude-cidrs": ("exclude_cidrs", _cidrs),
    "exclude-ports": ("exclude_ports", _ports),
    "ai": ("ai", _choice(_BOOLEAN)),
    "ai-model": ("ai_model", _model),
    "ai-config": ("ai_config", _object_name),
    "metrics-port": ("metrics_port", _own_port),
}
