"""The main job of AI control, on this machine: a running pod's calls go to another model, and through a policy."""

from __future__ import annotations

import sys
import time

import pytest

from ai.local.scenes import PORT, Scene, words

pytestmark = pytest.mark.root


@pytest.fixture
def scene(instance):
    scene = Scene(instance)
    yield scene
    scene.close()


@pytest.fixture
def controlled(instance):
    scene = Scene(instance, ai="true")
    yield scene
    scene.close()


def test_an_annotated_pods_next_request_goes_to_another_model_and_nothing_is_restarted(scene):
    pods = scene.pods
    before = [pods.record(name).pid for name in ("ollama", "client")]
    pods.annotate("client", ai="true")
    chat = scene.chat()
    assert chat.ask("hello there")["text"] == "hello there"
    began = time.monotonic()
    pods.client.annotate("client", {"kube-gateway.io/ai-model": "gemma2:2b"})
    pods.client.wait_settled("client", timeout=10)
    assert time.monotonic() - began < 2
    answer = chat.ask("hello again")
    assert (answer["status"], answer["text"]) == (200, "hello again")
    asked = scene.seen()
    assert [one["model"] for one in asked] == ["llama3", "gemma2:2b"]
    assert len({one["connection"] for one in asked}) == 1
    assert [pods.record(name).pid for name in ("ollama", "client")] == before
    assert pods.pod("client").generation == 1
    assert "all go to the model gemma2:2b" in pods.log("client")
    pods.annotate("client", remove=("ai-model",))
    chat.ask("and back")
    assert scene.seen()[-1]["model"] == "llama3"


def test_a_connection_that_is_older_than_the_gateway_comes_back_through_it_on_request(scene):
    chat = scene.chat()
    chat.ask("before")
    scene.pods.annotate("client", ai="true", ai_model="gemma2:2b")
    assert chat.ask("still direct")["status"] == 200
    assert scene.seen()[-1]["model"] == "llama3"
    scene.pods.annotate("client", netflush="true")
    scene.pods.wait_log("client", "ended 1 connections that were in clear")
    assert chat.ask("ended")["status"] == 0
    assert chat.ask("through the gateway")["status"] == 200
    assert scene.seen()[-1]["model"] == "gemma2:2b"
    time.sleep(2)
    assert chat.ask("and it stays")["status"] == 200
    assert scene.pods.log("client").count("connections that were in clear") == 1


def test_the_log_says_which_model_was_asked_for_and_which_was_asked(scene):
    scene.pods.annotate("client", ai="true", ai_model="gemma2:2b")
    scene.chat().ask("one two three")
    ai = scene.wait_ai(lambda ai: ai.models)
    (line,) = scene.audit()
    assert (line["requested_model"], line["model"], line["status"]) == ("llama3", "gemma2:2b", 200)
    assert line["usage"] == {"input": 7, "output": 3}
    assert "one two three" not in str(line)
    (model,) = ai.models
    assert (model.model, model.calls, model.input, model.output) == ("gemma2:2b", 1, 7, 3)


def test_a_policy_that_is_edited_drops_no_stream_and_counts_from_the_next_request_on(controlled):
    chat = controlled.chat()
    chat.say("slow 0.1 " + "secret " * 25)
    time.sleep(0.8)
    took = [controlled.edit(words("secret"))]
    streamed = chat.hear()
    assert streamed["text"].count("secret") == 25
    assert "***" not in streamed["text"]
    assert chat.ask("a secret here")["text"] == "a *** here"
    took += [controlled.edit(words(word)) for word in ("another", "nothing")]
    assert chat.ask("a secret here")["text"] == "a secret here"
    # The quickest: the machine may be busy with something else once in a while.
    assert min(took) < 1.0, took
    assert len({one["connection"] for one in controlled.seen()}) == 1


def test_an_edit_that_is_not_right_keeps_the_last_policy_and_names_the_field(controlled):
    controlled.use(words("secret"))
    chat = controlled.chat()
    controlled.policy.write_text(words("secret").replace("kind: words", "kind: wrods"))
    deadline = time.monotonic() + 2
    while not (problem := controlled.pods.pod("client").problem):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "rules[0].kind" in problem
    assert str(controlled.policy) in problem
    assert problem in controlled.pods.instance.manager_log.read_text()
    assert chat.ask("a secret here")["text"] == "a *** here"
    controlled.edit(words("here"))
    assert controlled.pods.pod("client").problem is None
    assert chat.ask("a secret here")["text"] == "a secret ***"


def test_the_json_of_the_first_kube_gateway_still_works(controlled):
    controlled.use(
        '{"request": {"modelReplace": [{"Orig": "llama3", "New": "tiny"}]}, "response": {"bannedWords": ["b"]}}'
    )
    answer = controlled.chat().ask("a b c")
    assert answer["text"] == "a *** c" or answer["text"].split(" ")[1] != "b"
    assert controlled.seen()[0]["model"] == "tiny"
    controlled.use('{"request": {"block": true}}')
    assert controlled.chat().ask("a b c")["text"] == "kube-gateway says no"
    assert len(controlled.seen()) == 1


def test_without_ai_control_calls_are_left_alone_again(controlled):
    controlled.use(words("secret"))
    chat = controlled.chat()
    assert chat.ask("a secret here")["text"] == "a *** here"
    controlled.pods.annotate("client", remove=("ai",), encrypt="true")
    assert controlled.ai() is None
    assert controlled.chat().ask("a secret here")["text"] == "a secret here"
    assert "LLM calls are left alone" in controlled.pods.log("client")


def test_a_gateway_for_calls_alone_tries_no_tunnel_and_accepts_none(instance):
    scene = Scene(instance, server={"ai": "true"}, ai="true", debug="true")
    pods = scene.pods
    listening = pods.in_network("ollama", "ss", "-ltnH").stdout
    assert ":18001" not in listening
    assert ":18443" not in listening
    assert ":18000" in listening
    with pods.capture("client") as wire:
        assert scene.chat().ask("hello")["text"] == "hello"
    scene.close()
    assert wire.seen(b"hello")
    assert set(wire.ports()) == {PORT}
    assert "is not enrolled" not in pods.log("client")
    pods.counts("client", "clear_outbound", 1)


def test_with_encryption_calls_go_through_policy_and_tunnel(instance):
    scene = Scene(instance, server={"encrypt": "true"}, ai="true", encrypt="strict", ai_model="gemma2:2b")
    pods = scene.pods
    with pods.capture("client") as wire:
        assert scene.chat().ask("needle-in-clear")["text"] == "needle-in-clear"
    scene.close()
    assert not wire.seen(b"needle-in-clear")
    assert scene.seen()[0]["model"] == "gemma2:2b"


def test_other_traffic_of_the_pod_is_not_looked_at(controlled):
    controlled.use(words("secret"))
    pods = controlled.pods
    pods.run("echo", sys.executable, "-c", ECHO)
    pods.wait_log("echo", "ready", container="app")
    said = pods.exec("client", sys.executable, "-c", SAY, pods.address("echo")).stdout
    assert said == "welcome\nPOST /secret HTTP/1.1\n"
    assert controlled.ai().models == ()


ECHO = """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"welcome\\n")
        self.wfile.write(self.rfile.readline())
server = socketserver.ThreadingTCPServer(("0.0.0.0", 7), Handler)
print("ready", flush=True)
server.serve_forever()
"""
SAY = """
import socket, sys
with socket.create_connection((sys.argv[1], 7)) as connection, connection.makefile("rw") as file:
    print(file.readline(), end="")
    file.write("POST /secret HTTP/1.1\\n")
    file.flush()
    print(file.readline(), end="")
"""
