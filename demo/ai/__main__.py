"""`make demo-ai`: tell the story of `demo.ai.story` on a terminal. Needs root; exit status 1 if a step does not hold."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import NoReturn

from demo.ai.story import PAGE, PROGRAM, QUESTION, Step, Story
from kube_gateway.demo.narrate import Style
from kube_gateway.errors import KubeGatewayError

_WIDTH = 100
_WITH_LOG = ("enrolled", "model", "masked", "blocked")
_NOTED = ("requested_model", "model", "status", "usage", "matches", "blocked", "rule", "overhead")
"""Of what the audit log has of a call, enough to see what was done."""

_TOLD = {
    "before": ("Two applications as they are", "Both ask tiny:1b, and are answered by it."),
    "enrolled": (
        "Their LLM calls come under control",
        "A gateway is put beside each. Without a policy nothing changes for them: what passes is counted.",
    ),
    "model": (
        "Another model answers",
        "The next request of each goes to gemma2:2b. They still ask for tiny:1b and know nothing of it.",
    ),
    "masked": (
        "A word is masked as it streams",
        "The model says it in two pieces, ban and ana. What could still become the word is held back, all else is sent "
        "at once.",
    ),
    "blocked": (
        "Every prompt is refused",
        "By an answer that OpenAI's library, Ollama's API and a person understand. The model is not asked.",
    ),
    "left": ("The gateways leave", "All is as before."),
}


def main() -> int:
    """Tell the story; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo-ai", description="LLM calls under control, step by step.")
    parser.add_argument("--instance", default="demoai")
    parser.add_argument("--keep", action="store_true", help="leave the pods running")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    style = Style(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
    with tempfile.TemporaryDirectory(prefix="kube-gateway-demo-") as directory:
        story = Story(options.instance, Path(directory))
        try:
            _tell(story, options.instance, style)
        except KubeGatewayError as error:
            print(f"error: {error}", file=sys.stderr)
            if error.hint:
                print(f"hint: {error.hint}", file=sys.stderr)
            return 1
        finally:
            if options.keep and story.made:
                input(f"kept: kube-gateway local --instance {options.instance} pods. Press Enter to remove it. ")
            story.end()
    return 0


def _tell(story: Story, instance: str, style: Style) -> None:
    began = time.monotonic()
    pids = story.begin()
    print(style.heading("Two ordinary applications, and an Ollama with two small models"))
    print(_indented(f"{PAGE}: a web page to chat, process {pids[PAGE]}"))
    print(_indented(f"{PROGRAM}: a Python program with OpenAI's library, process {pids[PROGRAM]}"))
    print(_indented(f"Both ask: {QUESTION}") + "\n")
    for number, step in enumerate(story.steps(), start=1):
        print(_step(number, step, instance, style), flush=True)
    print(style.good("All of it held:") + " the same processes from begin to end, none of them changed.")
    print(f"It took {time.monotonic() - began:.0f} s.")


def _step(number: int, step: Step, instance: str, style: Style) -> str:
    title, words = _TOLD[step.name]
    lines = [style.heading(f"{number}. {title}")]
    lines += [f"   $ kube-gateway local --instance {instance} {command}" for command in step.commands]
    lines += [_indented(words), ""]
    for pod, said in step.said.items():
        pieces = f" ({said.pieces} pieces)" if said.pieces else ""
        lines.append(_indented(f"{pod}{pieces}: {said.text}", hanging="     "))
    if step.name in _WITH_LOG:
        noted = {name: step.noted[name] for name in _NOTED if name in step.noted}
        lines += ["", _indented(f"in the log of {PAGE}'s gateway: {json.dumps(noted)}", hanging="     ")]
    return "\n".join([*lines, ""])


def _indented(text: str, *, hanging: str = "   ") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="   ", subsequent_indent=hanging, break_on_hyphens=False)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
