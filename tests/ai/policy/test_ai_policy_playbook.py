"""What is decided on requests, rule by rule: the play-books in `playbooks/`, in the words of `policy_scenes`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from policy_scenes import play


def plays() -> Iterator[object]:
    for path in sorted((Path(__file__).parent / "playbooks").glob("*.txt")):
        for part in ("\n" + path.read_text()).split("\n== ")[1:]:
            name, _, text = part.partition("\n")
            yield pytest.param(text, id=f"{path.stem}: {name}")


@pytest.mark.parametrize("text", list(plays()))
def test_play(text):
    play(text)
