"""The policy that somebody has written for a pod's LLM calls: read once by the watcher, before any gateway gets it.

So its author hears of a mistake at once, by the field it is in, and gateways go on with the last policy that was right.
"""

from __future__ import annotations

import logging

import msgspec

from kube_gateway.control.observed import Obstacle, PolicyFound, PolicyText
from kube_gateway.errors import KubeGatewayError
from kube_gateway.model.ai_report import LARGEST_POLICY

_log = logging.getLogger("watcher")

INVALID_POLICY = "InvalidPolicy"
KEY = "config"
"""The key of a ConfigMap under which a policy is."""

_LINT = "kube-gateway ai policy lint FILE says where; the last policy that was right stays in force"


def config_name(pod: str) -> str:
    """The name of what holds the policy of a pod that does not name another."""
    return f"{pod}-kube-gateway"


def found_policy(text: str, *, source: str) -> PolicyFound:
    """What has been found in `source`; if it is not right, with the reason. Raises nothing: others' policies go on."""
    problem = _problem(text, source)
    if problem is None:
        return PolicyFound(policy=PolicyText(text=text, source=source))
    return unusable(f"the policy in {source} is not understood: {problem}", _LINT)


def unusable(message: str, hint: str) -> PolicyFound:
    """There is something, and it is no policy."""
    return PolicyFound(problem=Obstacle(reason=INVALID_POLICY, message=message, hint=hint))


def no_policy(source: str) -> PolicyFound:
    """Nobody has written one: calls are counted, and pass."""
    return PolicyFound(policy=PolicyText(text="", source=source))


def does_not_compile(text: str) -> str | None:
    """What a gateway would say of a policy that can be read; None if it would take it. Long ones take seconds.

    Raises nothing.
    """
    from kube_gateway.ai.dialects import endpoints  # noqa: PLC0415 - see below
    from kube_gateway.ai.policy.compile import Snapshot  # noqa: PLC0415
    from kube_gateway.ai.policy.read import read_policy  # noqa: PLC0415

    try:
        Snapshot(read_policy(text), model="", served=endpoints())
    except KubeGatewayError as error:
        return error.message
    except Exception as error:
        return _unexpected(error, "what was given")
    return None


def _problem(text: str, source: str) -> str | None:
    # Only with AI control, and not small.
    from kube_gateway.ai.policy.read import read_policy  # noqa: PLC0415

    if len(text.encode(errors="replace")) > LARGEST_POLICY:
        return f"it is longer than {LARGEST_POLICY} bytes"
    try:
        read_policy(text)
    except KubeGatewayError as error:
        return error.message
    except msgspec.MsgspecError as error:
        return str(error)
    except Exception as error:
        # A mistake of ours. Whoever may write a policy would end the watcher of all pods with it, and each one after it.
        return _unexpected(error, source)
    return None


def _unexpected(error: Exception, source: str) -> str:
    _log.exception("the policy in %s could not be read", source)
    return f"it cannot be read ({type(error).__name__}), which is a mistake of kube-gateway: please report it"
