"""A pod with a model's server, and one with a client that has AI control."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from kube_gateway.model.ai_report import policy_name

HERE = Path(__file__).parent
PORT = 11434
RULES = "version: 1\nrules:\n"


def words(*banned, replacement="***"):
    """A policy that masks these words in answers."""
    listed = ", ".join(banned)
    return f"{RULES}- {{name: words, kind: words, lanes: [answer], words: [{listed}], replacement: '{replacement}'}}\n"


class Chat:
    """A client with one connection, until told otherwise."""

    def __init__(self, pods, name, host):
        self._process = pods.start(
            name, sys.executable, str(HERE / "chat_program.py"), host, str(PORT), stdin=subprocess.PIPE
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer(30)

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _answer(self, timeout):
        found = self._lines.get(timeout=timeout)
        assert found is not None, self._process.stderr.read()
        return found

    def say(self, prompt):
        """Ask, and do not wait."""
        self._process.stdin.write(f"{prompt}\n")
        self._process.stdin.flush()

    def hear(self, timeout=60):
        """The answer to what was asked first."""
        return self._answer(timeout)

    def ask(self, prompt):
        self.say(prompt)
        return self.hear()

    def end(self):
        self._process.stdin.close()
        self._process.wait(10)


class Scene:
    """`ollama` has no gateway unless `server` says so."""

    def __init__(self, pods, *, server=None, **settings):
        self.pods = pods
        pods.run("ollama", sys.executable, str(HERE / "ollama_program.py"), str(PORT), **(server or {}))
        pods.wait_log("ollama", "ready", container="app")
        pods.run("client", "sleep", "3600", **settings)
        for name in ("ollama", "client"):
            pods.client.wait_settled(name, timeout=30)
        self.chats = []

    def chat(self):
        chat = Chat(self.pods, "client", self.pods.address("ollama"))
        self.chats.append(chat)
        return chat

    def close(self):
        for chat in self.chats:
            chat.end()

    def seen(self):
        """What the server has been asked."""
        return [json.loads(line) for line in self.pods.log("ollama", "app").splitlines() if line.startswith("{")]

    @property
    def policy(self):
        return Path(self.pods.pod("client").policy)

    def use(self, text):
        self.pods.client.configure("client", text)
        return self.pods.client.wait_settled("client", timeout=10)

    def edit(self, text):
        """As a person does, with an editor; waits until that is in force, and returns how long it took."""
        self.policy.parent.mkdir(exist_ok=True)
        self.policy.write_text(text)
        began = time.monotonic()
        while (ai := self.ai()) is None or ai.policy != policy_name(text):
            assert time.monotonic() - began < 10, f"not in force:\n{self.pods.log('client')}"
            time.sleep(0.02)
        return time.monotonic() - began

    def ai(self):
        """What the gateway reports of LLM calls."""
        return self.pods.report("client").ai

    def wait_ai(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not ((ai := self.ai()) is not None and condition(ai)):
            assert time.monotonic() < deadline, f"{ai}\n{self.pods.log('client')}"
            time.sleep(0.05)
        return ai

    def audit(self):
        """The lines of the audit log."""
        lines = self.pods.log("client").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"kind":"llm_call"')]
