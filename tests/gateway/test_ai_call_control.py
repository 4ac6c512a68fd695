"""What the supervisor keeps of AI control, whatever becomes of workers."""

from __future__ import annotations

import asyncio
import os

import pytest

from kube_gateway.control import messages as control
from kube_gateway.gateway import call_control
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.call_control import CallControl
from kube_gateway.gateway.handover.messages import OfferedPolicy
from kube_gateway.gateway.memory_file import make_memory_file, read_memory_file
from kube_gateway.model.ai_report import AiReport, BudgetCount, policy_name
from kube_gateway.model.settings import Settings

AI = Settings(wanted=True, encryption="none", ai=True)
LONG = "x" * (1024 * 1024)


class Worker:
    """Hears what is sent, and reads the text of each policy at once."""

    def __init__(self):
        self.heard = []
        self.texts = []
        self.control = CallControl(self.send, pod="shop/web")

    def send(self, message, descriptors=()):
        self.heard.append(message)
        if isinstance(message, messages.UsePolicy):
            self.texts.append(read_memory_file(descriptors[0], most=2**20))

    def policies(self):
        return [(one.name, one.model) for one in self.heard if isinstance(one, messages.UsePolicy)]

    def takes(self, text, **more):
        return self.control.heard(AiReport(policy=policy_name(text), **more))


def use(text, source="its file", budgets=()):
    return control.UsePolicy(text=text, source=source, budgets=budgets)


@pytest.fixture
def worker():
    return Worker()


async def test_a_policy_as_long_as_a_config_map_reaches_the_worker(worker):
    worker.control.configure(AI)
    worker.control.use(use(LONG))
    assert worker.texts == [LONG]
    assert worker.policies() == [(policy_name(LONG), "")]


async def test_a_policy_that_comes_before_ai_control_is_asked_for_waits(worker):
    worker.control.use(use("one"))
    assert worker.heard == []
    worker.control.configure(AI)
    assert worker.texts == ["one"]


async def test_the_same_policy_is_told_once(worker):
    worker.control.configure(AI)
    for _ in range(3):
        worker.control.use(use("one"))
    assert worker.texts == ["one"]


async def test_what_has_changed_is_told_from_what_goes_on(worker):
    worker.control.configure(AI)
    assert worker.takes("one")
    assert not worker.takes("one", changed=3)
    assert worker.takes("one", model="gemma2:2b")
    assert worker.takes("one", model="gemma2:2b", refused="abc", problem="?")
    assert worker.takes("two", model="gemma2:2b")


async def test_another_model_is_told_with_the_policy_in_force(worker):
    worker.control.configure(AI)
    worker.control.use(use("one"))
    worker.control.configure(Settings(wanted=True, encryption="none", ai=True, ai_model="gemma2:2b"))
    assert worker.policies() == [(policy_name("one"), ""), (policy_name("one"), "gemma2:2b")]
    assert [one.revision for one in worker.heard] == [1, 1]


async def test_the_next_worker_gets_the_last_policy_that_was_right(worker):
    worker.control.configure(AI)
    worker.control.use(use("good"))
    worker.takes("good")
    worker.control.use(use("bad"))
    worker.takes("good", refused=policy_name("bad"), problem="rules[0]: ?")
    worker.texts.clear()
    worker.control.brief()
    assert worker.texts == ["good"]


async def test_the_next_worker_gets_what_the_last_one_had_counted(worker):
    counted = (BudgetCount(rule="day", window=86400, used=7),)
    worker.control.configure(AI)
    worker.control.use(use("one", budgets=(BudgetCount(rule="day", window=86400, used=5),)))
    assert worker.heard[-1].budgets[0].used == 5
    worker.takes("one", budgets=counted)
    worker.control.use(use("two", budgets=(BudgetCount(rule="day", window=86400, used=1),)))
    worker.control.brief()
    assert worker.heard[-1].budgets == counted
    assert worker.control.report.budgets == counted


async def test_without_ai_control_the_worker_is_told_once_and_reports_nothing(worker):
    worker.control.configure(AI)
    worker.control.use(use("one"))
    worker.takes("one")
    assert worker.control.report is not None
    for _ in range(2):
        worker.control.configure(Settings(wanted=True, encryption="permissive"))
    assert worker.heard[1:] == [messages.LeaveCallsAlone()]
    assert worker.control.report is None
    worker.control.brief()
    assert len(worker.heard) == 2


async def test_it_is_waited_for_the_policy_but_not_for_ever(worker, monkeypatch, caplog):
    monkeypatch.setattr(call_control, "POLICY_WITHIN", 0.1)
    await worker.control.decided()
    worker.control.configure(AI)
    await worker.control.decided()
    assert "no policy for LLM calls has come in 0.1 s" in caplog.text


@pytest.mark.parametrize("said", [AiReport(policy="abc"), AiReport(policy="abc", refused="def", problem="?")])
async def test_it_is_clear_which_policy_applies_when_the_worker_has_said_so(worker, said):
    worker.control.configure(AI)
    worker.control.use(use("one"))
    waiting = asyncio.create_task(worker.control.decided())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    worker.control.heard(said)
    async with asyncio.timeout(1):
        await waiting


async def test_a_later_gateway_goes_on_with_the_policy_in_force_and_all_that_was_counted(worker):
    worker.control.configure(AI)
    assert worker.control.offer() is None
    worker.control.use(use("one"))
    worker.takes("one", budgets=(BudgetCount(rule="day", window=86400, used=7),))
    told, file = worker.control.offer()
    later = Worker()
    later.control.inherit(told, os.dup(file))
    later.control.configure(AI)
    assert later.texts == ["one"]
    assert (later.heard[0].hash_key, later.heard[0].revision) == (told.hash_key, 1)
    assert later.heard[0].budgets[0].used == 7
    later.control.use(use("two"))
    assert later.heard[-1].revision == 2


async def test_what_the_watcher_said_while_it_was_handed_over_counts(worker):
    worker.control.use(use("two"))
    offered = OfferedPolicy(source="its file", revision=4, hash_key=b"k" * 32)
    worker.control.inherit(offered, make_memory_file("one", name="policy"))
    worker.control.configure(AI)
    assert worker.texts == ["two"]
    assert worker.heard[0].revision == 5


async def test_what_is_handed_over_and_no_text_is_left(worker, caplog):
    file = make_memory_file("x" * 20, name="policy")
    call_control_limit = call_control.LARGEST_POLICY
    try:
        call_control.LARGEST_POLICY = 10
        worker.control.inherit(OfferedPolicy(source="its file", revision=4, hash_key=b"k" * 32), file)
    finally:
        call_control.LARGEST_POLICY = call_control_limit
    assert "the older gateway's policy is of no use" in caplog.text
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file)
