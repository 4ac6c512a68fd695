"""Where things are in the bodies of a dialect: data that the native core compiles, so that no body is read in Python.

A path names members from the top of a JSON document: `messages[].content[].text`, where `[]` stands for every element of
an array. Members that occur twice are all meant: which of them a server takes is its own affair.
"""

from __future__ import annotations

from typing import Literal

import msgspec

LaneName = Literal[
    "user",
    "system",
    "developer",
    "assistant",
    "tool",
    "tool_definition",
    "output",
    "reasoning",
    "refusal",
    "tool_arguments",
]
Framing = Literal["sse", "ndjson", "array", "whole"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class When(_Part, frozen=True):
    """Holds if a value at `path` is one of `any_of`: a string as text, a number, `true` or `false` as it is written.

    Without `any_of`: if it is there and neither null, false nor empty. For each `[]` that both paths begin with, the same
    element is meant. `or_absent`: also if there is no such member. `negated`: holds exactly if it would not without;
    but of members that occur twice, one that is none of `any_of` is enough.
    """

    path: str
    any_of: tuple[str, ...] = ()
    or_absent: bool = False
    negated: bool = False


class Lane(_Part, frozen=True):
    """Text of one kind, in the strings at `path`.

    `deep`: every string and number below `path`, whatever its type (arguments that are an object). `key`, in streams:
    what tells the pieces of one text from those of another (choice, content part, tool call); an index that is left out,
    or null, is the first. `begins`: a member that is there only at the start of a text, such as a tool call's id: another
    value under the same `key` begins a new text, none goes on with the last. `complete`: the text is whole where it
    stands, not a piece of a text that other events continue; so are deep ones, and all of an answer that is one document.
    `copy`: complete, and repeats text that was sent in pieces: masked as that was, not counted once more. `escaped`: the
    text is the source of a JSON document. `immutable`: counted, never changed; patterns that deny apply.
    """

    name: LaneName
    path: str
    when: tuple[When, ...] = ()
    key: tuple[str, ...] = ()
    deep: bool = False
    begins: str | None = None
    complete: bool = False
    copy: bool = False
    escaped: bool = False
    immutable: bool = False


class End(_Part, frozen=True):
    """An event that satisfies all of `when` ends the texts whose key begins with `key`; with no `key`, all of them.

    The same elements are meant in `when` and `key` for the `[]` that they begin with.
    """

    when: tuple[When, ...]
    key: tuple[str, ...] = ()


class ToolCall(_Part, frozen=True):
    """A call of a tool by the model: where its name and its arguments are, with the same `key` and `begins` in streams.

    They may be in different events; `when` holds for both. `copy`: repeats a call, and is of use only where that was not
    seen before.
    """

    name: str
    arguments: str
    when: tuple[When, ...] = ()
    key: tuple[str, ...] = ()
    begins: str | None = None
    deep: bool = False
    copy: bool = False


class ResponseShape(_Part, frozen=True):
    """The body of an answer, or one event of a stream.

    `model`: names of the model. `usage`: paths by kind of token (`input`, `output`, `cached_input`,
    `cache_creation_input`, `reasoning`); the last number seen counts. `usage_event`: the event that is there only because
    usage was asked for. `usage_members`: members of other events that are there only because of that, while null.
    `finish`: why a choice ended. `captured`: other members to remember by name, the last seen (`id`, `created`).
    `sequence`: number of an event that grows by one. `scrub`: members taken out of an event whose text was changed,
    `scrub_after`: also out of every event after that. `once`: members and elements that an extra event does not repeat,
    unless its text is in them. `error`: an event of this kind reports a failure. `last`: data of an event that ends the
    stream and is not JSON.
    """

    lanes: tuple[Lane, ...] = ()
    ends: tuple[End, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    model: tuple[str, ...] = ()
    usage: dict[str, tuple[str, ...]] = {}
    usage_event: tuple[When, ...] = ()
    usage_members: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    captured: dict[str, str] = {}
    sequence: str | None = None
    scrub: tuple[str, ...] = ()
    scrub_after: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    error: tuple[When, ...] = ()
    last: str | None = None


class RequestShape(_Part, frozen=True):
    """The body of a request. `model`, `stream` and the rest are paths.

    `limits`: the members that bound the answer's tokens, the one to add where there is none first, with the objects
    around it where they are not there either. `limit_is_kept`: servers of this API read it, as it has no other name and
    has to be there. `below_limit`: numbers that must stay below it. `model_prefix`: what ends before the name at
    `model`. `model_names`: members that name the model where `model` does not; `other_models`: those of other models
    that have a part in the call. `model_in_target`: the model is in the request target, see `Endpoint.pattern`, and
    what `model` names only repeats it. `streams_by_default`: without `stream`, the answer is a stream. `usage_option`:
    the member that asks for usage on a stream, set to true. `choices`: how many answers are asked for; `best_of`: how
    many are made for them; `prompts`: the list whose elements are answered each on its own. `messages`: what counts as
    one. `tools`: the elements; `tool_names`: the names in them; `tool_types`: the names of those that have none of
    these; `tool_kinds`: elements in which each member is a tool of that name, but for those in `tools`. `tool_choice`:
    members that make no sense once no tool is left. `token_ids`: numbers that stand for text, which no rule for text
    can read.
    """

    lanes: tuple[Lane, ...] = ()
    model: str | None = None
    model_names: tuple[str, ...] = ()
    other_models: tuple[str, ...] = ()
    model_prefix: str = ""
    model_in_target: bool = False
    stream: str | None = None
    streams_by_default: bool = False
    limits: tuple[str, ...] = ()
    limit_is_kept: bool = False
    tools: tuple[str, ...] = ()
    tool_names: tuple[str, ...] = ()
    tool_types: tuple[str, ...] = ()
    tool_kinds: tuple[str, ...] = ()
    tool_choice: tuple[str, ...] = ()
    below_limit: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()
    usage_option: tuple[str, str] | None = None
    choices: tuple[str, ...] = ()
    best_of: tuple[str, ...] = ()
    prompts: str | None = None
