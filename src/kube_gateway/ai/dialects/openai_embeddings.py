"""OpenAI embeddings: `POST …/embeddings`, and the same as an Azure deployment. Never a stream.

Source: OpenAI API reference, "Create embeddings". The input may be token ids instead of text, which no rule for text can
read. Servers for models that see also take messages (vLLM). No text can be the answer: a refusal is always an error.
"""

from __future__ import annotations

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import _openai
from kube_gateway.ai.shape import Lane, RequestShape, ResponseShape

REQUEST = RequestShape(
    lanes=(
        Lane(name="user", path="input"),
        Lane(name="user", path="input[]"),
        Lane(name="user", path="messages[].content"),
        Lane(name="user", path="messages[].content[]"),
        Lane(name="user", path="messages[].content[].text"),
    ),
    model="model",
    token_ids=("input[]", "input[][]"),
)

EMBEDDINGS = Endpoint(
    name="embeddings",
    operation="embeddings",
    method="POST",
    pattern="/embeddings",
    request=REQUEST,
    response=ResponseShape(
        model=("model",), usage={"input": ("usage.prompt_tokens",)}, captured={"id": "id"}, error=_openai.FAILED
    ),
    streams="never",
)


class OpenAIEmbeddings(_openai.OpenAI):
    """Embeddings."""

    name = "openai_embeddings"
    endpoints = _openai.with_deployment(EMBEDDINGS)

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return an error that says `text`."""
        return self.error(asked, status=403, reason="blocked", message=text)

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return nothing: there are no streams to end."""
        del asked, outcome, reason, message
        return b""


DIALECT = OpenAIEmbeddings()
