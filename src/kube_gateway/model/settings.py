"""What a pod's annotations ask for, as one frozen value.

Annotations are text typed by people; everything past this module works with `Settings`. A key or value that is not
understood is an error, never a silent default: a typing mistake in `encrypt` must not leave a pod in clear.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.ports import ANNOTATION_PREFIX

Encryption = Literal["off", "permissive", "strict"]
Flush = Literal["never", "all", "idle"]

_ENCRYPTION: dict[str, Encryption] = {"true": "permissive", "strict": "strict", "false": "off"}
_FLUSH: dict[str, Flush] = {"true": "all", "idle": "idle", "false": "never"}
_BOOLEAN = {"true": True, "false": False}
_NOT_YET = {"ai", "ai-model", "ktls", "exempt-sources"}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the gateway of one pod shall do.

    `wanted` says whether the pod shall have a gateway at all. `capture_cidrs` empty means everything that is not
    excluded, loopback or link-local. CIDRs are canonical text, ports are 1 to 65535.
    """

    wanted: bool = False
    encryption: Encryption = "off"
    flush: Flush = "never"
    accept_only: bool = False
    capture_cidrs: tuple[str, ...] = ()
    exclude_cidrs: tuple[str, ...] = ()
    exclude_ports: tuple[int, ...] = ()
    debug: bool = False

    @property
    def encrypting(self) -> bool:
        """Whether the gateway offers and requires mutual TLS."""
        return self.wanted and self.encryption != "off"


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
    enabled = values.pop("enabled", True)
    return msgspec.convert({**values, "wanted": bool(enabled) and "encryption" in values}, Settings)


def _choice(choices: Mapping[str, object]) -> Callable[[str, str], object]:
    def parse(key: str, text: str) -> object:
        if text not in choices:
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key} has the value {text!r}",
                hint="allowed: " + ", ".join(choices),
            )
        return choices[text]

    return parse


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _cidrs(key: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in _items(text))
    except ValueError as error:
        raise InvalidAnnotation(
            f"annotation {ANNOTATION_PREFIX}{key}: {error}", hint="give CIDRs separated by commas: 10.0.0.0/8,fd00::/8"
        ) from None


def _ports(key: str, text: str) -> tuple[int, ...]:
    ports = []
    for item in _items(text):
        if not (item.isascii() and item.isdigit() and 1 <= int(item) <= 65535):
            raise InvalidAnnotation(
                f"annotation {ANNOTATION_PREFIX}{key}: {item!r} is not a port",
                hint="give numbers from 1 to 65535 separated by commas",
            )
        ports.append(int(item))
    return tuple(ports)


_PARSERS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "encrypt": ("encryption", _choice(_ENCRYPTION)),
    "netflush": ("flush", _choice(_FLUSH)),
    "endpoint": ("accept_only", _choice(_BOOLEAN)),
    "enabled": ("enabled", _choice(_BOOLEAN)),
    "debug": ("debug", _choice(_BOOLEAN)),
    "podcidr": ("capture_cidrs", _cidrs),
    "exclude-cidrs": ("exclude_cidrs", _cidrs),
    "exclude-ports": ("exclude_ports", _ports),
}
