"""At each moment of a rotation any two workloads whose certificates are valid accept each other, whoever lags behind."""

from __future__ import annotations

import itertools
import random
from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.errors import IdentityError
from kube_gateway.identity.bundle import trust_generation
from kube_gateway.identity.rotation import Holder, Plan, Rotation, abort, advance, plan, waits_for
from properties import cases

LIFE = 60.0


def begun(stage="introduce", *, old="old", new="new", now=0.0):
    return Rotation(stage=stage, old=old, new=new, begun=now, changed=now)


def holder(trusted, issuer, *, name="a", expires=100.0, reachable=True):
    return Holder(
        name=name, trust_generation=trust_generation(trusted), issuer=issuer, expires=expires, reachable=reachable
    )


@pytest.mark.parametrize(
    ("stage", "signer", "trusted"),
    [("introduce", "old", {"old", "new"}), ("switch", "new", {"old", "new"}), ("retire", "new", {"new"})],
)
def test_what_signs_and_what_is_trusted(stage, signer, trusted):
    assert plan(begun(stage)) == Plan(signer=signer, trusted=frozenset(trusted))


def test_each_step_waits_for_the_last_one_who_has_not_taken_it():
    both = ("old", "new")
    first = begun()
    assert advance(first, [holder(both, "old"), holder(("old",), "old", name="b")], now=1.0) == first
    second = advance(first, [holder(both, "old"), holder(both, "old", name="b")], now=1.0)
    assert second == msgspec.structs.replace(first, stage="switch", changed=1.0)
    assert advance(second, [holder(both, "new"), holder(both, "old", name="b")], now=2.0) == second
    third = advance(second, [holder(both, "new"), holder(both, "new", name="b")], now=2.0)
    assert third.stage == "retire"
    assert advance(third, [holder(both, "new")], now=3.0) == third
    assert advance(third, [holder(("new",), "new")], now=3.0) is None


def test_a_step_lasts_as_long_as_was_asked_for():
    rotation = begun()
    assert advance(rotation, [], now=9.9, at_least=10.0) == rotation
    assert advance(rotation, [], now=10.0, at_least=10.0).stage == "switch"


def test_who_is_waited_for_is_told_by_name_and_why():
    found = waits_for(
        begun("switch"),
        [
            holder(("old", "new"), "old", name="shop/web"),
            holder(("old", "new"), "new", name="shop/db"),
            holder(("old",), "old", name="shop/gone", reachable=False, expires=90.0),
            Holder(name="shop/new", expires=90.0),
        ],
        now=50.0,
    )
    assert [(one.name, one.why) for one in found] == [
        ("shop/gone", "away, its certificate lives for 40 s more, it does not trust both roots yet"),
        ("shop/new", "it does not trust both roots yet"),
        ("shop/web", "its certificate is not of the new root yet"),
    ]


def test_nobody_waits_for_one_that_is_away_once_its_certificate_has_expired():
    away = holder(("old",), "old", reachable=False, expires=90.0)
    assert waits_for(begun(), [away], now=89.0)
    assert not waits_for(begun(), [away], now=90.0)
    # One that is there gets a new one, late as it is.
    assert waits_for(begun(), [msgspec.structs.replace(away, reachable=True)], now=90.0)


def test_there_is_no_way_back_once_the_old_root_is_forgotten():
    assert abort(begun(), now=1.0) is None
    back = abort(begun("switch"), now=1.0)
    assert plan(back) == Plan(signer="old", trusted=frozenset(("old", "new")))
    with pytest.raises(IdentityError, match="no way back"):
        abort(begun("retire"), now=1.0)


class World:
    """A watcher and its workloads. What they say to each other takes its time, and stays in order on each line."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.now = 0.0
        self.rotation = None
        self.root = "root-0"
        self.roots = itertools.count(1)
        self.serials = itertools.count(1)
        self.parties = []
        self.finished = 0
        for _ in range(self.random.randint(1, 4)):
            self.step_join()

    def plan(self):
        return plan(self.rotation) if self.rotation else Plan(signer=self.root, trusted=frozenset((self.root,)))

    def step(self):
        steps = [name for name in dir(self) if name.startswith("step_")]
        weights = [1 if name in ("step_join", "step_abort", "step_leave", "step_line") else 6 for name in steps]
        getattr(self, self.random.choices(steps, weights)[0])()

    # What can happen.

    def step_join(self):
        if len(self.parties) < 6:
            self.parties.append(Party(f"p{next(self.serials)}", self.plan(), serial=next(self.serials), now=self.now))

    def step_leave(self):
        if len(self.parties) > 1:
            self.parties.remove(self.random.choice(self.parties))

    def step_line(self):
        party = self.random.choice(self.parties)
        party.reachable = not party.reachable
        if not party.reachable:
            # What was on its way is lost, and nobody knows how much of it.
            party.down.clear()
            party.up.clear()
            return
        party.lines += 1
        party.report()
        if party.expires <= self.now:
            # Nobody accepts it, so it begins anew.
            self.certify(party)

    def step_tell(self):
        """The watcher looks at what it last heard, and says what is to be."""
        party = self.random.choice(self.parties)
        if party.reachable and not party.down and not party.up:
            if party.heard[0] != self.plan().trusted:
                party.down.append(("trust", self.plan().trusted))
            if party.heard[1] != self.plan().signer:
                party.down.append(("renew",))

    def step_hear(self):
        """The workload takes what the watcher has said."""
        party = self.random.choice(self.parties)
        if party.down:
            what, *rest = party.down.popleft()
            if what == "trust":
                party.trusted = rest[0]
            elif what == "renew":
                party.up.append(("request",))
            else:
                party.issuer, party.trusted, party.serial, party.expires = rest
            party.report()

    def step_take(self):
        """The watcher takes what a workload has said."""
        party = self.random.choice(self.parties)
        if party.up:
            what, *rest = party.up.popleft()
            if what == "request":
                self.certify(party)
            else:
                party.heard = tuple(rest)
                line, serial = party.awaited
                if line < party.lines or serial == party.heard[2]:
                    party.awaited = (party.lines, party.heard[2])

    def certify(self, party):
        party.awaited = (party.lines, next(self.serials))
        party.down.append(("certificate", self.plan().signer, self.plan().trusted, party.awaited[1], self.now + LIFE))

    def step_time(self):
        later = self.now + self.random.choice((1.0, 5.0, LIFE))
        for party in self.parties:
            if party.reachable and party.expires > self.now:
                # In time: what expires is not a matter of roots.
                party.expires = max(party.expires, later + LIFE / 2)
        self.now = later

    def step_rotate(self):
        if self.rotation is None:
            self.rotation = begun(old=self.root, new=f"root-{next(self.roots)}", now=self.now)

    def step_abort(self):
        if self.rotation is not None and self.rotation.stage != "retire":
            self.follow(abort(self.rotation, now=self.now), done=self.rotation.old)

    def step_advance(self):
        if self.rotation is not None:
            self.follow(advance(self.rotation, self.holders(), now=self.now), done=self.rotation.new)

    def follow(self, rotation, *, done):
        if rotation is None:
            self.root = done
            self.finished += 1
        self.rotation = rotation

    def holders(self):
        return [party.holder() for party in self.parties]

    # What must hold.

    def check(self):
        alive = [party for party in self.parties if party.expires > self.now]
        for one, other in itertools.permutations(alive, 2):
            assert one.issuer in other.trusted, (self.rotation, vars(one), vars(other))
        # The watcher is one of them, and first to take each step.
        for party in alive:
            assert self.plan().signer in party.trusted, (self.rotation, vars(party))
            assert party.issuer in self.plan().trusted, (self.rotation, vars(party))

    def settle(self):
        """Everybody is there and listens: what is under way comes to its end."""
        for party in self.parties:
            if not party.reachable:
                party.reachable = True
                party.lines += 1
                party.report()
                if party.expires <= self.now:
                    self.certify(party)
        for _ in range(200 * len(self.parties)):
            for name in ("step_tell", "step_hear", "step_take", "step_advance"):
                getattr(self, name)()
            self.check()
            if self.rotation is None and all(party.is_at(self.plan()) for party in self.parties):
                return
        raise AssertionError((self.rotation, self.holders()))


class Party:
    """A workload, and what the watcher last heard of it. A certificate that is on its way is not heard of yet."""

    def __init__(self, name, given, *, serial, now):
        self.name, self.serial = name, serial
        self.trusted, self.issuer = given.trusted, given.signer
        self.expires = now + LIFE
        self.reachable = True
        self.down, self.up = deque(), deque()
        self.heard = (self.trusted, self.issuer, self.serial, self.expires)
        self.lines = 1
        self.awaited = (1, serial)

    def report(self):
        self.up.append(("report", self.trusted, self.issuer, self.serial, self.expires))

    def holder(self):
        trusted, issuer, serial, expires = self.heard
        if self.awaited[1] != serial:
            issuer = ""
        return holder(trusted, issuer, name=self.name, expires=max(expires, self.expires), reachable=self.reachable)

    def is_at(self, wanted):
        return (self.trusted, self.issuer) == (wanted.trusted, wanted.signer) and not self.down


@cases(400)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 300))
def test_no_two_workloads_ever_refuse_each_other_and_every_rotation_ends(seed, steps):
    world = World(seed)
    for _ in range(steps):
        world.step()
        world.check()
    world.settle()


def test_the_worlds_of_the_property_do_rotate():
    """It would hold of a world in which nothing happens, too."""
    finished = 0
    for seed in range(40):
        world = World(seed)
        for _ in range(300):
            world.step()
        finished += world.finished
    assert finished >= 20
