"""Is there a cluster, is it new enough, and who are we there?"""

from __future__ import annotations

import re
import time

import msgspec

from kube_gateway.checks.asking import Refusal, known, read
from kube_gateway.checks.clock import SKEW, SelfReview, self_review
from kube_gateway.checks.model import Category, Check, Outcome, bad, ok
from kube_gateway.checks.session import Session
from kube_gateway.kube.refusals import KubernetesError

OLDEST = (1, 33)
"""Before that the kubelet did not give a new ephemeral container the values of a Secret that came after the pod."""


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """What /version says; `minor` may have a + at its end."""

    major: str = ""
    minor: str = ""
    git_version: str = ""


class ApiFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`problem`: why the server could not be asked. `before` and `after` the question, in seconds by our own clock."""

    server: str = ""
    client_problem: KubernetesError | None = None
    problem: KubernetesError | None = None
    version: Version | Refusal | None = None
    review: SelfReview | Refusal = SelfReview()
    before: float = 0.0
    after: float = 0.0


async def fetch(session: Session) -> ApiFacts:
    """Raises nothing: that it cannot be asked is what is to be found out."""
    try:
        client = session.client
    except KubernetesError as error:
        return ApiFacts(client_problem=error)
    try:
        version = await read(client, "/version", Version)
        before = time.time()
        review = await self_review(client)
    except KubernetesError as error:
        return ApiFacts(server=client.server, problem=error)
    return ApiFacts(server=client.server, version=version, review=review, before=before, after=time.time())


def _has_client(facts: ApiFacts) -> Outcome:
    problem = facts.client_problem
    return ok() if problem is None else bad(problem.message, hint=problem.hint or "")


def _can_query(facts: ApiFacts) -> Outcome:
    if facts.problem is not None:
        return bad(facts.problem.message, hint=facts.problem.hint or "")
    user = facts.review.user if isinstance(facts.review, SelfReview) else ""
    return ok(f"{facts.server} as {user}" if user else facts.server)


def _is_new_enough(facts: ApiFacts) -> Outcome:
    version = known(facts.version) or Version()
    numbers = [re.match(r"\d+", text) for text in (version.major, version.minor)]
    if not all(numbers):
        return bad(f"it does not say its version: {version.git_version or 'nothing'}")
    found = tuple(int(number[0]) for number in numbers if number)
    return ok(version.git_version) if found >= OLDEST else bad(f"it is {version.git_version}")


def _clocks_agree(facts: ApiFacts) -> Outcome:
    # It says whole seconds.
    said = known(facts.review).time
    skew = facts.before - said - 1 if facts.before > said + 1 else min(facts.after - said, 0.0)
    if not said or abs(skew) <= SKEW:
        return ok()
    return bad(f"the clock here is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's")


KUBERNETES_API: Category[ApiFacts] = Category(
    name="kubernetes-api",
    fetch=fetch,
    checks=(
        Check(
            description="can create the client",
            judge=_has_client,
            hint="see that `kubectl cluster-info` works",
            stops="everything",
        ),
        Check(
            description="can query the API",
            judge=_can_query,
            hint="see that `kubectl cluster-info` works",
            retry=True,
            stops="everything",
        ),
        Check(
            description=f"the server is Kubernetes {OLDEST[0]}.{OLDEST[1]} or later",
            judge=_is_new_enough,
            hint="upgrade the cluster: older ones do not give Secrets to containers that are added to a running pod",
        ),
        Check(
            description="the clock here agrees with the server's",
            judge=_clocks_agree,
            hint="set the clock, as certificates are valid by it",
            warns=True,
        ),
    ),
)
