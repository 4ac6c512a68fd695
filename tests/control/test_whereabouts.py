"""Where a watcher listens, as text and back."""

from __future__ import annotations

import pytest

from kube_gateway.control.whereabouts import Whereabouts, parse_whereabouts
from kube_gateway.errors import UsageError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("unix:/run/kube-gateway/control", Whereabouts(path="/run/kube-gateway/control")),
        ("unix:/run/with:colon", Whereabouts(path="/run/with:colon")),
        ("tls:watcher.kube-gateway.svc:18444", Whereabouts(host="watcher.kube-gateway.svc", port=18444)),
        ("tls:10.0.0.4:1", Whereabouts(host="10.0.0.4", port=1)),
        ("tls:[fd00::4]:65535", Whereabouts(host="fd00::4", port=65535)),
    ],
)
def test_there_and_back(text, place):
    assert parse_whereabouts(text) == place
    assert str(place) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix:relative",
        "/run/control",
        "tls:",
        "tls:host",
        "tls:host:",
        "tls::18444",
        "tls:host:0",
        "tls:host:65536",
        "tls:host:-1",
        "tls:host:\u0661",
        "tcp:host:1",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(UsageError) as raised:
        parse_whereabouts(text)
    assert repr(text) in raised.value.message
    assert raised.value.hint == "it must be unix:/absolute/path or tls:HOST:PORT"
