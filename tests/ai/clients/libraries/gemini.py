"""PyPI's google-genai: generateContent of Gemini."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

from google import genai
from google.genai import types

from ai.clients.collected import Collected, Left
from ai.clients.exchange import IMAGE, TOOL, TOOL_SCHEMA, Answer, Question


def ask(question: Question) -> Answer:
    collected = Collected(question.leave_after)
    with _client(question) as client:
        if not question.stream:
            _take(collected, client.models.generate_content(**_arguments(question)))
            return collected.answer()
        stream = client.models.generate_content_stream(**_arguments(question))
        with suppress(Left):
            for part in stream:
                _take(collected, part)
        # A generator that is only forgotten would be closed when it is collected.
        stream.close()
        return collected.answer()


async def ask_async(question: Question) -> Answer:
    collected = Collected(question.leave_after)
    async with _client(question).aio as client:
        if not question.stream:
            _take(collected, await client.models.generate_content(**_arguments(question)))
            return collected.answer()
        stream = await client.models.generate_content_stream(**_arguments(question))
        with suppress(Left):
            async for part in stream:
                _take(collected, part)
        await stream.aclose()
        return collected.answer()


def _client(question: Question) -> genai.Client:
    # The library asks for version v1; LiteLLM has v1beta only, as the library did for years.
    url = question.url.removesuffix("/v1beta")
    version = None if url == question.url else "v1beta"
    return genai.Client(api_key=question.key, http_options=types.HttpOptions(base_url=url, api_version=version))


def _arguments(question: Question) -> dict:
    parts = [types.Part.from_text(text=question.user)]
    if question.image:
        parts.insert(0, types.Part.from_bytes(data=base64.b64decode(IMAGE), mime_type="image/png"))
    functions = [
        types.FunctionDeclaration(name=TOOL, description="Look up a place.", parameters_json_schema=TOOL_SCHEMA)
    ]
    configuration = types.GenerateContentConfig(
        system_instruction=question.system,
        max_output_tokens=question.limit,
        candidate_count=question.choices if question.choices > 1 else None,
        tools=[types.Tool(function_declarations=functions)] if question.tools else None,
    )
    return {"model": question.model, "contents": [types.UserContent(parts=parts)], "config": configuration}


def _take(collected: Collected, response: types.GenerateContentResponse) -> None:
    collected.model = response.model_version or collected.model
    if response.usage_metadata:
        usage = response.usage_metadata
        collected.tokens(usage.prompt_token_count, usage.candidates_token_count)
    if response.prompt_feedback and response.prompt_feedback.block_reason:
        collected.finish = response.prompt_feedback.block_reason.value
    for candidate in response.candidates or ():
        if candidate.finish_reason:
            collected.finish = candidate.finish_reason.value
        for part in (candidate.content and candidate.content.parts) or ():
            if part.function_call:
                arguments = json.dumps(part.function_call.args, ensure_ascii=False)
                collected.call(part.function_call.id, name=part.function_call.name, arguments=arguments)
            elif part.thought:
                collected.thoughts += part.text or ""
            else:
                collected.piece(part.text, choice=candidate.index or 0)
