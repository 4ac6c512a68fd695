"""Who is turned away, and who says so last."""

from __future__ import annotations

from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.identity_use import IdentityUse


def briefed(use, said):
    said.clear()
    use.brief(None)
    return said


def test_whom_an_older_gateway_turned_away_is_turned_away_until_the_watcher_speaks():
    said = []
    use = IdentityUse(said.append)
    use.inherit(("thief",))
    assert briefed(use, said) == [messages.SetRevoked(uids=("thief",))]
    use.revoke(())
    assert briefed(use, said) == [messages.SetRevoked(uids=())]


def test_what_the_watcher_has_said_holds_also_if_it_is_that_nobody_is():
    said = []
    use = IdentityUse(said.append)
    use.revoke(())
    use.inherit(("thief",))
    assert briefed(use, said) == [messages.SetRevoked(uids=())]
    assert use.revoked == ()
