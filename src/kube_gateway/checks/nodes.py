"""Can the nodes run gateways? What only shows from inside a node is told by the gateways that run, or do not, there."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from kube_gateway.checks.asking import Refusal, known, read_all
from kube_gateway.checks.enrolment import PRIVILEGED_HINT
from kube_gateway.checks.model import Category, Check, Finding, Outcome, bad, ok
from kube_gateway.checks.objects import Node
from kube_gateway.checks.session import Session
from kube_gateway.watcher.generations import NEEDS_PRIVILEGE, Generation, generations
from kube_gateway.watcher.objects import PodObject

OLDEST = (5, 10)
GOOD = (5, 19)
"""Before that the worker keeps CAP_BPF, as a program that has none may not use maps."""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes, and all pods."""

    nodes: tuple[Node, ...] | Refusal
    pods: tuple[PodObject, ...] | Refusal


async def fetch(session: Session) -> NodeFacts:
    """Raises `KubernetesError`."""
    nodes, pods = await asyncio.gather(
        read_all(session.client, "/api/v1/nodes", Node), read_all(session.client, "/api/v1/pods", PodObject)
    )
    return NodeFacts(nodes=nodes, pods=pods)


def kernel(version: str) -> tuple[int, int]:
    """Of `6.1.0-13-amd64` 6 and 1; 0 and 0 if it has no such beginning."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _new_enough(facts: NodeFacts) -> Outcome:
    nodes = _linux(facts)
    findings = _older_than(nodes, OLDEST)
    if findings:
        return bad(f"no gateway can start on these, {len(findings)} of {len(nodes)}", findings=findings)
    return ok(_counted(node.status.node_info.kernel_version for node in nodes))


def _good(facts: NodeFacts) -> Outcome:
    nodes = [node for node in _linux(facts) if kernel(node.status.node_info.kernel_version) >= OLDEST]
    findings = _older_than(nodes, GOOD)
    message = "the process that faces the network keeps CAP_BPF there"
    return bad(message, findings=findings) if findings else ok()


def _runtime(facts: NodeFacts) -> Outcome:
    runtimes = [node.status.node_info.container_runtime_version.replace("://", " ") for node in _linux(facts)]
    unnamed = sum(not runtime for runtime in runtimes)
    return bad(f"not named by {unnamed} of {len(runtimes)}") if unnamed else ok(_counted(runtimes))


def _gives_enough(facts: NodeFacts) -> Outcome:
    needy, privileged = set(), set()
    for pod in known(facts.pods):
        history = generations(pod)
        if history and _lacks_privilege(history[-1]):
            needy.add(pod.spec.node_name)
        elif history and history[-1].privileged:
            privileged.add(pod.spec.node_name)
    if needy:
        message = f"exit code {NEEDS_PRIVILEGE}: this node gives a gateway too little unless it is privileged"
        findings = tuple(Finding(about=node, message=message) for node in sorted(needy))
        return bad("gateways cannot start on these", hint=PRIVILEGED_HINT, findings=findings)
    return ok(f"privileged on {', '.join(sorted(privileged))}" if privileged else "")


def _all_serve(facts: NodeFacts) -> Outcome:
    alive: set[str] = set()
    last_words: dict[str, str] = {}
    for pod in known(facts.pods):
        for generation in generations(pod):
            ended = generation.terminated
            if generation.state.running is not None:
                alive.add(pod.spec.node_name)
            elif ended is not None and ended.exit_code:
                last_words[pod.spec.node_name] = _last_words(generation)
    findings = tuple(
        Finding(about=node, message=last_words[node]) for node in sorted(last_words.keys() - alive) if node
    )
    if findings:
        return bad("all that were started ended", findings=findings)
    return ok(f"on {len(alive)}" if alive else "no gateway runs anywhere yet")


def _last_words(generation: Generation) -> str:
    ended = generation.terminated
    lines = [line.strip() for line in (ended.message if ended else "").splitlines() if line.strip()]
    # Errors are two lines, and what comes before is the log.
    said = next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "nothing")
    return f"exit code {ended.exit_code if ended else '?'}: {said[:160]}"


def _lacks_privilege(generation: Generation) -> bool:
    ended = generation.terminated
    return ended is not None and ended.exit_code == NEEDS_PRIVILEGE and not generation.privileged


def _linux(facts: NodeFacts) -> list[Node]:
    return [node for node in known(facts.nodes) if node.status.node_info.operating_system == "linux"]


def _older_than(nodes: list[Node], version: tuple[int, int]) -> tuple[Finding, ...]:
    return tuple(
        Finding(about=node.metadata.name, message=f"Linux {node.status.node_info.kernel_version}")
        for node in nodes
        if kernel(node.status.node_info.kernel_version) < version
    )


def _counted(names: Iterable[str]) -> str:
    counts = Counter(names).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{name} on {count}" for name, count in counts)


NODES: Category[NodeFacts] = Category(
    name="nodes",
    fetch=fetch,
    checks=(
        Check(
            description=f"kernels are Linux {OLDEST[0]}.{OLDEST[1]} or later",
            judge=_new_enough,
            hint="upgrade these nodes, or keep enrolled pods away from them",
        ),
        Check(
            description=f"kernels are Linux {GOOD[0]}.{GOOD[1]} or later",
            judge=_good,
            hint="upgrade these nodes when there is an opportunity",
            warns=True,
        ),
        Check(
            description="nodes name their container runtime",
            judge=_runtime,
            hint="kubectl get nodes -o wide",
            warns=True,
        ),
        Check(description="nodes give gateways what they need", judge=_gives_enough),
        Check(
            description="gateways run on each node where one was started",
            judge=_all_serve,
            hint="kube-gateway status -A",
            warns=True,
        ),
    ),
)
