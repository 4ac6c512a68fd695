"""A play-book: what happens (`>>`) and what is decided then (`<<`), line by line.

>> pod a encrypt=true           a pod with annotations appears, or its annotations change to these
>> gateway a starting|ready     its gateway is in that state; `clear PEER:PORT:IDLE[:OWN-PORT]...`: connections in clear
>> applied a                    the settings last decided for it were sent
>> exits a CODE                 its gateway ended
>> leaves a                     it was told to leave
>> hooks a                      hooks that refuse are left of it
>> ends a                       the pod's program ended
>> deleted a                    the pod is being deleted
>> obstacle a WORD              something keeps gateways out of the pod; without WORD: no more
>> failed a NUMBER              so many newer ones have failed in a row, the last just now
>> policy a [TEXT]             this policy is found for the pod's LLM calls, or none
>> badpolicy a WORDS            what is found is not right
>> told a                       the policy last decided for it was sent
>> inforce a [TEXT]             its gateway says that this policy applies; without TEXT, that none does yet
>> refuses a TEXT               its gateway says that it does not understand this policy
>> relayed a                   all its connections in clear go through its gateway
>> foreign a ADDRESS            the first of its connections in clear has this own address
>> flushed a                    the connections that were just decided on for it are ended
>> outdated a                   a newer version is there that shall take over from its gateway
>> peer a                       the pod is only somebody's peer: nothing is decided on it
>> time SECONDS
<< StartGateway a 1             exactly these actions, in order; `<<` alone: none
"""

from __future__ import annotations

import msgspec

from kube_gateway.control import actions
from kube_gateway.control.decide import decide
from kube_gateway.control.flush_log import FlushLog
from kube_gateway.control.observed import (
    GatewayObservation,
    Observed,
    Obstacle,
    PodObservation,
    PolicyFound,
    PolicyText,
)
from kube_gateway.errors import InvalidAnnotation
from kube_gateway.model.ai_report import AiReport, policy_name
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import settings_from_annotations


class World:
    """What is observed, changed by events."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pods: dict[str, PodObservation] = {}
        self.only_peers: set[str] = set()
        self.flushes = FlushLog()

    def decide(self) -> tuple[actions.Action, ...]:
        pods = tuple(pod for name, pod in self.pods.items() if name not in self.only_peers)
        peers = tuple(self.pods[name] for name in sorted(self.only_peers))
        return decide(Observed(now=self.now, pods=pods, peers=peers, ended=self.flushes.lately(self.now)))

    def happen(self, event: str) -> None:
        verb, *words = event.split()
        getattr(self, f"_{verb}")(*words)

    def change(self, name: str, **changes: object) -> None:
        self.pods[name] = msgspec.structs.replace(self.pods[name], **changes)

    def change_gateway(self, name: str, **changes: object) -> None:
        gateway = self.pods[name].gateway or GatewayObservation(state="starting")
        self.change(name, gateway=msgspec.structs.replace(gateway, **changes))

    def _pod(self, name: str, *annotations: str) -> None:
        pairs = {f"kube-gateway.io/{key}": value for key, _, value in (a.partition("=") for a in annotations)}
        number = len(self.pods) + 2
        if name in self.pods:
            self.change(name, pod=msgspec.structs.replace(self.pods[name].pod, annotations=pairs))
        else:
            pod = Pod(name=name, uid=name, addresses=(f"10.0.0.{number}",), annotations=pairs)
            self.pods[name] = PodObservation(pod=pod)

    def _gateway(self, name: str, state: str, *clear: str) -> None:
        connections = []
        for number, text in enumerate(word for word in clear if word != "clear"):
            peer, port, idle, own_port = (*text.split(":"), "40000")[:4]
            address = self.pods[peer].pod.addresses[0] if peer in self.pods else peer
            connections.append(
                ClearConnection(
                    cookie=number + 1,
                    local_address=self.pods[name].pod.addresses[0],
                    local_port=int(own_port),
                    remote_address=address,
                    remote_port=int(port),
                    relayed=False,
                    idle=float(idle),
                )
            )
        if self.pods[name].gateway is None or self.pods[name].gateway.state == "exited":
            self.change(name, gateway=None, generation=self.pods[name].generation + 1)
        self.change_gateway(name, state=state, clear_connections=tuple(connections))

    def _applied(self, name: str) -> None:
        self.change_gateway(name, applied=settings_from_annotations(self.pods[name].pod.annotations))

    def _exits(self, name: str, code: str) -> None:
        told = self.pods[name].gateway.told_to_leave
        self.change_gateway(name, state="exited", exit_code=int(code), clear_connections=())
        if int(code) == 0 and told:
            self.change(name, failures=0)
        else:
            self.change(name, failures=self.pods[name].failures + 1, last_failure=self.now)

    def _leaves(self, name: str) -> None:
        self.change_gateway(name, told_to_leave=True)

    def _hooks(self, name: str) -> None:
        self.change(name, hooks_left=True)

    def _ends(self, name: str) -> None:
        self.change(name, running=False)

    def _deleted(self, name: str) -> None:
        self.change(name, ending=True)

    def _obstacle(self, name: str, *words: str) -> None:
        found = Obstacle(reason=words[0], message=f"{words[0]} is in the way", hint="") if words else None
        self.change(name, obstacle=found)

    def _failed(self, name: str, number: str) -> None:
        self.change(name, failures=int(number), last_failure=self.now)

    def _policy(self, name: str, *words: str) -> None:
        self.change(name, policy=PolicyFound(policy=PolicyText(text=" ".join(words), source="its file")))

    def _badpolicy(self, name: str, *words: str) -> None:
        problem = Obstacle(reason="InvalidPolicy", message=" ".join(words), hint="")
        self.change(name, policy=PolicyFound(problem=problem))

    def _told(self, name: str) -> None:
        self.change_gateway(name, policy=self.pods[name].policy.policy)

    def _inforce(self, name: str, *words: str) -> None:
        self.change_gateway(name, ai=AiReport(policy=policy_name(" ".join(words)) if words else ""))

    def _refuses(self, name: str, *words: str) -> None:
        self.change_gateway(name, ai=AiReport(policy="0", refused=policy_name(" ".join(words)), problem="rules[0]: ?"))

    def _relayed(self, name: str) -> None:
        connections = self.pods[name].gateway.clear_connections
        relayed = tuple(msgspec.structs.replace(connection, relayed=True) for connection in connections)
        self.change_gateway(name, clear_connections=relayed)

    def _foreign(self, name: str, address: str) -> None:
        first, *others = self.pods[name].gateway.clear_connections
        first = msgspec.structs.replace(first, local_address=address)
        self.change_gateway(name, clear_connections=(first, *others))

    def _flushed(self, name: str) -> None:
        for action in self.decide():
            if isinstance(action, actions.Flush) and action.pod == f"default/{name}":
                self.carry_out(action)

    def _outdated(self, name: str) -> None:
        self.change_gateway(name, outdated=True)

    def _peer(self, name: str) -> None:
        self.only_peers.add(name)

    def _time(self, seconds: str) -> None:
        self.now += float(seconds)

    def carry_out(self, action: actions.Action) -> None:
        """What a runner would have done about it, at once and with success."""
        name = action.pod.removeprefix("default/")
        match action:
            case actions.StartGateway():
                gateway = GatewayObservation(state="starting")
                self.change(name, gateway=gateway, generation=action.generation, hooks_left=False)
            case actions.Configure():
                self.change_gateway(name, applied=action.settings, state="ready")
            case actions.SetPolicy():
                self.change_gateway(name, policy=action.policy, ai=AiReport(policy=action.policy.name))
            case actions.Leave():
                self.change_gateway(name, told_to_leave=True, state="exited", exit_code=0)
                self.change(name, failures=0)
            case actions.Flush():
                standing = self.pods[name].gateway.clear_connections
                left = tuple(each for each in standing if each.cookie not in action.cookies)
                self.change_gateway(name, clear_connections=left)
                self.flushes.record(action, now=self.now)
            case actions.RemoveHooks():
                self.change(name, hooks_left=False)
            case actions.ReportProblem():
                self.change(name, problem=action.message)
            case actions.ClearProblem():
                self.change(name, problem=None)


def spell(action: actions.Action) -> str:
    """An action as a play-book has it."""
    words = [type(action).__name__, action.pod.removeprefix("default/")]
    match action:
        case actions.StartGateway():
            words.append(str(action.generation))
        case actions.Configure():
            words.append(action.settings.encryption)
            if action.settings.ai:
                words.append(f"ai={action.settings.ai_model}")
        case actions.SetPolicy():
            words.append(repr(action.policy.text))
        case actions.Flush():
            words += map(str, action.cookies)
        case actions.ReportProblem():
            words.append(repr(action.message))
    return " ".join(words)


def play(book: str) -> None:
    """Play a book; raises `AssertionError` at the first line that does not come out as written."""
    world = World()
    lines = [line.strip() for line in book.strip().splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith(">>"):
            world.happen(line[2:])
            continue
        if number and lines[number - 1].startswith("<<"):
            continue
        wanted = []
        for later in lines[number:]:
            if not later.startswith("<<"):
                break
            wanted.append(later[2:].strip())
        decided = [spell(action) for action in world.decide()]
        assert decided == [text for text in wanted if text], f"line {number + 1}: {line}"
        for action in world.decide():
            if isinstance(action, actions.ReportProblem | actions.ClearProblem):
                world.carry_out(action)


def understood(annotations: dict[str, str]) -> bool:
    """Whether the annotations are right."""
    try:
        settings_from_annotations(annotations)
    except InvalidAnnotation:
        return False
    return True
