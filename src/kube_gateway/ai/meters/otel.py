"""Spans and metrics of LLM calls by OpenTelemetry, for those who have a collector.

The libraries are many times as big as the rest of a gateway, so they are an extra (`kube-gateway[otel]`), and only loaded
where a policy or the environment names a collector. A span has no content in it.
Source: open-telemetry/semantic-conventions-genai, 'Spans' and 'Metrics' (development status; the names of version 1).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kube_gateway.ai.meters.call import Call, Usage
from kube_gateway.ai.meters.figures import (
    FIRST_BUCKETS,
    MEASURED,
    SECOND_BUCKETS,
    TOKEN_BUCKETS,
    error_type,
    first_chunk,
    operation_name,
    tokens,
)
from kube_gateway.ai.meters.names import countable

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_log = logging.getLogger("worker")

_SCOPE = "kube_gateway.ai"
_NANOSECONDS = 1_000_000_000

Attributes = dict[str, str | int | float | bool | tuple[str, ...]]


class OpenTelemetry:
    """Tells each call that a model was asked for by a span and some histograms."""

    def __init__(self, *, traces: TracerProvider, metrics: MeterProvider) -> None:
        self._traces, self._metrics = traces, metrics
        self._tracer: Tracer = traces.get_tracer(_SCOPE)
        meter = metrics.get_meter(_SCOPE)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", unit="{token}", explicit_bucket_boundaries_advisory=list(TOKEN_BUCKETS)
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", unit="s", explicit_bucket_boundaries_advisory=list(SECOND_BUCKETS)
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            explicit_bucket_boundaries_advisory=list(FIRST_BUCKETS),
        )

    def ended(self, call: Call) -> None:
        """Tell of one call; sending is the exporters' business, later and elsewhere."""
        if call.operation not in MEASURED:
            return
        self._trace(call)
        shared = _shared(call)
        self._duration.record(call.duration, shared)
        first = first_chunk(call)
        if first is not None:
            self._first.record(first, shared)
        for kind, count in tokens(call).items():
            self._tokens.record(count, {**shared, "gen_ai.token.type": kind})

    def close(self) -> None:
        """Send what is left, and end; takes as long as the collector takes."""
        self._traces.shutdown()
        self._metrics.shutdown()

    def _trace(self, call: Call) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        # A part of the application's trace where it has one, and it says whether that is recorded.
        carrier = {"traceparent": call.traceparent} if call.traceparent else {}
        parent = TraceContextTextMapPropagator().extract(carrier)
        start = int(call.started * _NANOSECONDS)
        model = countable(call.model or call.requested_model)
        span = self._tracer.start_span(
            f"{operation_name(call)} {model}".strip(),
            context=parent,
            kind=SpanKind.CLIENT,
            start_time=start,
            attributes=_of_span(call),
        )
        if problem := error_type(call):
            span.set_status(Status(StatusCode.ERROR, problem))
        span.end(end_time=start + int(call.duration * _NANOSECONDS))


def open_telemetry(endpoint: str, *, resource: Mapping[str, str]) -> OpenTelemetry | None:
    """Return what sends to the collector at `endpoint` by OTLP over HTTP; None without the extra, which is logged."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        _log.warning("nothing is sent to %s: kube-gateway[otel] is not installed (%s)", endpoint, error)
        return None
    base = endpoint.rstrip("/")
    about = Resource.create(dict(resource))
    traces = TracerProvider(resource=about)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{base}/v1/metrics"))
    return OpenTelemetry(traces=traces, metrics=MeterProvider((reader,), resource=about))


def _shared(call: Call) -> Attributes:
    address, _, port = call.destination.rpartition(":")
    attributes: Attributes = {
        "gen_ai.operation.name": operation_name(call),
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": countable(call.model or call.requested_model),
        "server.address": address.strip("[]"),
    }
    if port.isdecimal():
        attributes["server.port"] = int(port)
    if call.response_model:
        attributes["gen_ai.response.model"] = countable(call.response_model)
    if problem := error_type(call):
        attributes["error.type"] = problem
    return attributes


def _of_span(call: Call) -> Attributes:
    usage = call.usage or Usage()
    found: dict[str, str | int | float | bool | tuple[str, ...] | None] = {
        "gen_ai.original.model": countable(call.requested_model),
        "gen_ai.request.stream": call.streaming,
        "gen_ai.request.max_tokens": call.limit,
        "gen_ai.response.id": countable(call.response_id),
        "gen_ai.response.finish_reasons": tuple(map(countable, call.finish)),
        "gen_ai.response.time_to_first_chunk": first_chunk(call),
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_input,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "http.response.status_code": call.status,
        "kube_gateway.usage.estimated": usage.estimated,
        "kube_gateway.policy": call.policy_hash,
        "kube_gateway.rule": call.rule,
        "kube_gateway.blocked": call.blocked,
        "kube_gateway.edits": call.edits,
        "kube_gateway.overhead": call.overhead,
    }
    return {**_shared(call), **{name: value for name, value in found.items() if value}}
