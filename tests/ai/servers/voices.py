"""What the tiny models say. `|` is between tokens; each token stands in one place only, so that it says what follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """The texts of one model, by the last character of the prompt that they answer; None is every other character.

    Those in `endless` begin anew after their last token.
    """

    name: str
    answers: dict[str | None, str]
    endless: dict[str, str]

    def answer(self, prompt: str) -> str:
        """The text that follows a prompt, as a client gets it."""
        return self.answers.get(prompt[-1:], self.answers[None]).replace("|", "")


# Markup, quotes and letters outside ASCII are there on purpose: a server's JSON encoder escapes some and keeps others. So
# are words and numbers in pieces: no single event of a stream holds the whole of them.
TINY = Voice(
    name="tiny",
    answers={
        "?": (
            "This is| the small| model.| A gateway| stands| at the door| of this pod| and reads| what comes| and goes.|"
            ' I know| the word| ban|ana|, a café| in Zürich,| the tag| <b>| and a| "quoted"| R&D| note.'
        ),
        "#": '{"name":| "look_up",| "parameters":| {"place":| "Zür|ich",| "reason":| "ban|anas"}}',
        None: (
            "My notes| on that:| write| to ada@|example|.org| or pay| with card| 4111| 1111| 1111 1|111.| The launch|"
            " is called| Blue|berry| Pan|cake,| keep it| quiet."
        ),
    },
    endless={"!": "One sheep,| another sheep,| a third| that jumps| twice, "},
)
GEMMA = Voice(
    name="gemma",
    answers={
        "?": (
            "Now the| larger| model| speaks.| Nothing| was| restarted| in your| pod,| and yet| the answer| comes| from|"
            " me.| I know| the word| ban|ana| too."
        ),
        None: "Noted,| says| the larger| one.| Blue|berry| Pan|cake| it is.",
    },
    endless={"!": "Tick,| tock,| tick| again, "},
)
VOICES = {voice.name: voice for voice in (TINY, GEMMA)}
