"""What a watcher answers on a line."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from kube_gateway.control import connected, messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.conversation import LONGEST_LINE, converse
from kube_gateway.errors import IdentityError
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot
from kube_gateway.model.service import Backend, ServiceBackends

SERVICE = ServiceBackends(service="shop/web", backends=(Backend(address="10.0.0.3", port=8080),))
CERTIFICATE = messages.Certificate(
    number=7,
    serial="a",
    expires=1.0,
    chain="c",
    trust_bundle="b",
    trust_generation=1,
    spiffe_id="spiffe://x/y",
    trust_domain="x",
)


class Answers:
    """Knows one peer and one Service."""

    def __init__(self):
        self.changes = 0
        self.refuses = False

    def certify(self, request):
        if self.refuses:
            raise IdentityError("the pod is gone")
        return msgspec.structs.replace(CERTIFICATE, number=request.number)

    def is_enrolled(self, address):
        return address == "10.0.0.3"

    def resolve(self, address, port):
        return SERVICE if (address, port) == ("10.96.0.1", 80) else None

    def changed(self):
        self.changes += 1


def report(state="ready", *clear):
    return messages.Report(
        state=state, settings_revision=0, certificate_expires=0.0, clear_connections=clear, snapshot=GatewaySnapshot()
    )


CLEAR = ClearConnection(
    cookie=1, local_address="10.0.0.2", local_port=1, remote_address="10.0.0.3", remote_port=2, relayed=False, idle=0.0
)


class Line:
    """A line over a unix socket; `say` and `hear` are the gateway's."""

    def __init__(self, path, *, limit=LONGEST_LINE):
        self.answers = Answers()
        self.gateway = ConnectedGateway()
        self.error = None
        self._path, self._limit = str(path / "line"), limit
        self._done = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=self._limit)
        self.reader, self.writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        async with asyncio.timeout(3):
            await self._done.wait()
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            await converse(self.answers, self.gateway, reader=reader, writer=writer, name="shop/web")
        except (OSError, ValueError) as error:
            self.error = error
        finally:
            writer.close()
            self._done.set()

    async def ask(self, *said):
        for message in said:
            self.writer.write(message if isinstance(message, bytes) else messages.encode(message))
        async with asyncio.timeout(3):
            return messages.decode_from_watcher(await self.reader.readline())

    async def ended(self):
        async with asyncio.timeout(3):
            assert await self.reader.read() == b""
            await self._done.wait()


QUERY, NO = messages.PeerQuery(address="10.0.0.9"), messages.PeerAnswer(address="10.0.0.9", enrolled=False)


async def test_questions_are_answered(tmp_path):
    async with Line(tmp_path) as line:
        assert await line.ask(messages.PeerQuery(address="10.0.0.3")) == messages.PeerAnswer(
            address="10.0.0.3", enrolled=True
        )
        assert await line.ask(QUERY) == NO
        answer = await line.ask(messages.ServiceQuery(address="10.96.0.1", port=80))
        assert answer == messages.ServiceAnswer(address="10.96.0.1", port=80, service=SERVICE)
        answer = await line.ask(messages.ServiceQuery(address="10.96.0.1", port=81))
        assert answer == messages.ServiceAnswer(address="10.96.0.1", port=81)
        assert await line.ask(messages.CertificateRequest(number=9, csr="")) == msgspec.structs.replace(
            CERTIFICATE, number=9
        )


async def test_a_certificate_that_is_refused_is_logged_and_the_line_stays(tmp_path, caplog):
    async with Line(tmp_path) as line:
        line.answers.refuses = True
        assert await line.ask(messages.CertificateRequest(number=9, csr=""), QUERY) == NO
    assert "no certificate for shop/web: the pod is gone" in caplog.text


async def test_it_is_looked_when_a_line_comes_and_goes_and_when_the_state_changes(tmp_path):
    async with Line(tmp_path) as line:
        await line.ask(QUERY)
        assert line.answers.changes == 1
        await line.ask(report("starting"), report("ready"), QUERY)
        assert line.answers.changes == 3
        await line.ask(report("ready"), report("ready"), QUERY)
        assert line.answers.changes == 3
        await line.ask(report("ready", CLEAR), report("ready", CLEAR), QUERY)
        assert line.answers.changes == 5
        assert line.gateway.is_connected
        assert line.gateway.report.clear_connections == (CLEAR,)
    assert line.answers.changes == 6
    assert not line.gateway.is_connected
    assert line.error is None


@pytest.mark.parametrize(
    "said", [b"hello\n", b'{"type":"Leave","grace":1}\n', b"\xff\xfe\n", b"\n", b'{"type":"Report"}\n']
)
async def test_what_is_no_message_ends_the_line(tmp_path, said):
    async with Line(tmp_path) as line:
        line.writer.write(said)
        await line.ended()
    assert isinstance(line.error, ValueError)
    assert not line.gateway.is_connected


async def test_a_line_without_end_ends_the_line(tmp_path):
    async with Line(tmp_path, limit=4096) as line:
        line.writer.write(b"x" * 20_000)
        with contextlib.suppress(ConnectionError):  # there is unread data on the other side
            await line.ended()
    assert isinstance(line.error, ValueError)


async def test_a_second_introduction_changes_nothing(tmp_path):
    async with Line(tmp_path) as line:
        assert await line.ask(messages.Hello(pod="shop/other", uid="2", generation=2, version="0"), QUERY) == NO


async def test_a_gateway_that_says_nothing_any_more_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("kube_gateway.control.conversation.SILENT_AFTER", 0.8)
    async with Line(tmp_path) as line:
        for _ in range(12):
            assert await line.ask(QUERY) == NO
            await asyncio.sleep(0.1)
        await line.ended()
    assert isinstance(line.error, TimeoutError)
    assert not line.gateway.is_connected


async def receipt(line, **period):
    """Ask the gateway for a receipt; the question as it came, and the answer when there is one."""
    answer = asyncio.create_task(line.gateway.receipt(**{"since": 0.0, "until": 0.0, **period}))
    async with asyncio.timeout(3):
        return messages.decode_from_watcher(await line.reader.readline()), answer


async def test_a_receipt_is_asked_for_and_comes(tmp_path):
    async with Line(tmp_path) as line:
        assert await line.ask(QUERY) == NO
        question, answer = await receipt(line, since=1.5, until=2.5)
        assert (question.since, question.until) == (1.5, 2.5)
        signed = messages.Receipt(number=question.number, receipt="signed")
        assert await line.ask(signed, QUERY) == NO
        assert await answer == signed


async def test_two_who_ask_at_once_get_each_their_own(tmp_path):
    async with Line(tmp_path) as line:
        assert await line.ask(QUERY) == NO
        first, its_answer = await receipt(line)
        second, other_answer = await receipt(line)
        assert first.number != second.number
        told = [messages.Receipt(number=one.number, receipt=str(one.number)) for one in (second, first)]
        assert await line.ask(*told, QUERY) == NO
        assert (await its_answer, await other_answer) == (told[1], told[0])


async def test_a_receipt_that_nobody_asked_for_is_of_no_use(tmp_path):
    async with Line(tmp_path) as line:
        assert await line.ask(messages.Receipt(number=99, receipt="x"), QUERY) == NO


async def test_a_gateway_that_does_not_sign_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(connected, "_SIGNED_WITHIN", 0.1)
    async with Line(tmp_path) as line:
        assert await line.ask(QUERY) == NO
        _, answer = await receipt(line)
        assert (await answer).problem == "the gateway has not answered in 0.1 s"


async def test_a_gateway_without_a_line_signs_nothing():
    answer = await ConnectedGateway().receipt(since=0.0, until=0.0)
    assert answer.problem == "the gateway is not connected to its watcher"
