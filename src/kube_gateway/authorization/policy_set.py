"""All policies that are known, and what they mean for each pod.

A policy that is not understood leaves its last version that was right in force. Where there was none, it denies: whoever it
is about was to be protected, and it cannot be told how.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from kube_gateway.authorization.compiling import compile_for, compile_policy, selects
from kube_gateway.authorization.reading import read_object
from kube_gateway.authorization.schema import GatewayPolicy, PolicySpec, Selector
from kube_gateway.errors import UsageError
from kube_gateway.model.authorization import (
    LARGEST_AUTHORIZATION,
    Authorization,
    PolicyRules,
    encode_authorization,
)
from kube_gateway.model.pod import Pod

_log = logging.getLogger("watcher")


class PolicySet:
    """`problems` say of policies, by `namespace/name`, what is wrong with them as they are."""

    def __init__(self, *, trust_domain: str) -> None:
        self._trust_domain = trust_domain
        self._policies: dict[str, GatewayPolicy] = {}
        self._written: dict[str, Any] = {}
        self._texts: dict[str, tuple[Pod, str]] = {}
        self.problems: dict[str, str] = {}

    @property
    def policies(self) -> tuple[GatewayPolicy, ...]:
        """Those in force, in the order of their names."""
        return tuple(self._policies[key] for key in sorted(self._policies))

    def put(self, key: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        """There is a policy `key` (`namespace/name`), an object as its author has written it; false if it is as it was."""
        if key in self._written and self._written[key] == value:
            return False
        self._written[key] = value
        try:
            policy = read_object(value)
            if policy.key != key:
                raise UsageError(f"metadata: it is {policy.key}, and was found as {key}")
            # What holds for a pod is compiled when somebody asks, from all policies: it must not fail there.
            compile_policy(policy, trust_domain=self._trust_domain)
        except UsageError as error:
            self.put_broken(key, error.message, selector=_selector_of(value))
        except Exception as error:
            # A mistake of ours. Whoever may write a policy would end the watcher of all pods with it.
            _log.exception("the policy %s could not be read", key)
            problem = (
                f"it cannot be read ({type(error).__name__}), which is a mistake of kube-gateway: please report it"
            )
            self.put_broken(key, problem, selector=_selector_of(value))
        else:
            self._set(policy)
            self.problems.pop(key, None)
        return True

    def put_broken(self, key: str, problem: str, *, selector: Selector | None = None) -> None:
        """There is something that is no policy, about the pods of `selector` or of its whole namespace."""
        self.problems[key] = problem
        if selector is None:
            self._written.pop(key, None)
        if key not in self._policies:
            namespace, _, name = key.partition("/")
            spec = PolicySpec(selector=selector or Selector(), default="deny")
            self._set(GatewayPolicy(namespace=namespace, name=name, spec=spec))

    def remove(self, key: str) -> None:
        """It is gone."""
        self.problems.pop(key, None)
        self._written.pop(key, None)
        if self._policies.pop(key, None) is not None:
            self._texts.clear()

    def text_for(self, pod: Pod) -> str:
        """The rules for a pod's gateway (`encode_authorization`), empty where no policy selects it."""
        if not self._policies:
            return ""
        known = self._texts.get(pod.key)
        if known is None or known[0].labels != pod.labels:
            known = self._texts[pod.key] = pod, self._compile(pod)
        return known[1]

    def selecting(self, pod: Pod) -> tuple[GatewayPolicy, ...]:
        """The policies that are about a pod."""
        return tuple(policy for policy in self.policies if selects(policy, pod))

    def forget(self, pod: str) -> None:
        """A pod (`namespace/name`) is gone."""
        self._texts.pop(pod, None)

    def _set(self, policy: GatewayPolicy) -> None:
        self._policies[policy.key] = policy
        self._texts.clear()

    def _compile(self, pod: Pod) -> str:
        text = encode_authorization(compile_for(pod, self._policies.values(), trust_domain=self._trust_domain))
        if len(text.encode()) <= LARGEST_AUTHORIZATION:
            return text
        # More than a gateway takes: nobody may, until somebody has written fewer.
        too_long = PolicyRules(policy="(all together are too long)", dry_run=False, default="deny", rules=())
        return encode_authorization(Authorization(policies=(too_long,)))


def _selector_of(value: Any) -> Selector | None:  # noqa: ANN401
    """Whom a policy is about that is not understood otherwise."""
    spec = value.get("spec") if isinstance(value, dict) else None
    try:
        return msgspec.convert(spec["selector"], Selector) if isinstance(spec, dict) else None
    except (KeyError, ValueError, RecursionError):
        return None
