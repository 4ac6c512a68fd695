"""OpenAI's models: `GET …/models` and `GET …/models/{model}`.

Source: OpenAI API reference, "Models". Many sites have a folder called models, and a GET has no content type to tell by:
only what stands below a version or below `/openai` is meant. A name may have slashes in it (vLLM).
The clients of Anthropic and Google ask at `/v1/models` too, and find the message of an error where OpenAI's do.
"""

from __future__ import annotations

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import _openai
from kube_gateway.ai.shape import RequestShape, ResponseShape

_MODELS = "/(?:v[0-9]+|openai)/models"


class OpenAIModels(_openai.OpenAI):
    """The list of models, and one of them."""

    name = "openai_models"
    endpoints = (
        Endpoint(
            name="models",
            operation="models",
            method="GET",
            pattern=_MODELS,
            request=RequestShape(),
            response=ResponseShape(error=_openai.FAILED),
            streams="never",
        ),
        Endpoint(
            name="model",
            operation="models",
            method="GET",
            pattern=_MODELS + "/(?P<model>.+)",
            request=RequestShape(model_in_target=True),
            response=ResponseShape(model=("id",), error=_openai.FAILED),
            streams="never",
        ),
    )

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return an error that says `text`."""
        return self.error(asked, status=403, reason="blocked", message=text)

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return nothing: there are no streams to end."""
        del asked, outcome, reason, message
        return b""


DIALECT = OpenAIModels()
