"""The one error tree.

Everything that a person can be told derives from `KubeGatewayError`: what was tried and found (`message`), and what to
do next (`hint`). The command line prints both on one line each and turns the class into an exit code.

    KubeGatewayError            exit 1
    +-- UsageError              exit 2: the command or a value in it is wrong
    |   +-- InvalidAnnotation
    |   +-- PolicyError         policy_text: a policy cannot be read or means nothing
    +-- EnvironmentProblem      exit 1: this machine lacks something (privilege, kernel, cgroup2, a program)
    |   +-- NeedsPrivilege      exit 77: a gateway that is privileged could work here
    +-- IdentityError           exit 1: certificate authority, certificate or key
    |   +-- ReceiptRefused      identity/receipts: it proves nothing
    +-- LocalModeError          exit 1: local pods and their manager
    +-- CaptureError            exit 1: the wire could not be observed completely
    +-- HandoverError           exit 1: two gateways of one pod, and a hand-over between them
    +-- KubernetesError         kube/refusals, exit 1: the API server refused, or could not be asked
    |   +-- Forbidden, NotFound, Conflict, Gone, Invalid, Unreachable
    +-- LeadershipLost          kube/lease, exit 1: we led, and may not go on
    +-- NotReady                watcher/acting, exit 1: something is not known yet; it is tried again

Those with a module are defined there, as they have fields or words of their own.
"""


class KubeGatewayError(Exception):
    """Base of all errors meant for a person: one sentence of what went wrong and one of what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(KubeGatewayError):
    """The command, or a value given to it, is wrong.

    The message has at most 500 characters, however long the value is that it repeats: it is also said in logs, in events
    and in the conditions of pods.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if len(message) <= 500 else f"{message[:496]} ...", hint=hint)


class InvalidAnnotation(UsageError):
    """An annotation's key is unknown or its value is not one of those allowed."""


class EnvironmentProblem(KubeGatewayError):
    """This machine lacks something that is needed: a privilege, a kernel feature, a program."""


class NeedsPrivilege(EnvironmentProblem):
    """The gateway's container may do too little on this node. The watcher knows it by the exit code."""

    exit_code = 77  # EX_NOPERM of sysexits.h


class IdentityError(KubeGatewayError):
    """A certificate authority, certificate or key is missing, unreadable or refused."""


class LocalModeError(KubeGatewayError):
    """Local pods or their manager are not in the state that the command needs."""


class HandoverError(KubeGatewayError):
    """A gateway cannot take over from another, or be sure that it may."""


class CaptureError(KubeGatewayError):
    """The wire could not be observed completely, so nothing can be concluded from the capture."""
