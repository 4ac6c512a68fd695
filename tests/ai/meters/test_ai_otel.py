"""Spans and metrics under the names of OpenTelemetry's conventions, and nothing where nobody listens."""

from __future__ import annotations

import http.server
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ai.meters.calls import call
from kube_gateway.ai.meters.call import Text, Usage
from kube_gateway.ai.meters.otel import OpenTelemetry, open_telemetry


class Collected:
    def __init__(self):
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        traces = TracerProvider()
        traces.add_span_processor(SimpleSpanProcessor(self.spans))
        self.telemetry = OpenTelemetry(traces=traces, metrics=MeterProvider((self.reader,)))

    def span(self):
        (span,) = self.spans.get_finished_spans()
        return span

    def metrics(self):
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                found |= {metric.name: metric.data.data_points for metric in scope.metrics}
        return found


@pytest.fixture
def collected():
    return Collected()


def test_a_call_is_a_span_with_the_names_of_the_conventions(collected):
    collected.telemetry.ended(call(limit=100, most_output=200, finish=("stop",), response_id="chatcmpl-1"))
    span = collected.span()
    assert (span.name, span.kind, span.status.status_code) == ("chat gemma2:2b", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.end_time - span.start_time == 500_000_000
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.original.model": "gpt-4o",
        "gen_ai.request.model": "gemma2:2b",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.response.model": "gemma2:2b",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.02,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 30,
        "http.response.status_code": 200,
        "server.address": "10.0.0.3",
        "server.port": 11434,
        "kube_gateway.policy": "0123456789ab",
        "kube_gateway.edits": ("model",),
        "kube_gateway.overhead": 0.0004,
    }


def test_content_is_in_no_span(collected):
    collected.telemetry.ended(call(texts=(Text("user", "my secret prompt"),)))
    assert "my secret prompt" not in collected.span().to_json()


def test_names_that_others_have_chosen_are_bounded(collected):
    long = "m" * 10_000
    collected.telemetry.ended(
        call(model=long, requested_model=long, response_model=long, response_id=long, finish=(long, "a\nb"))
    )
    span = collected.span()
    assert len(span.to_json()) < 3000
    assert span.attributes["gen_ai.request.model"] == "m" * 128
    assert span.attributes["gen_ai.response.finish_reasons"] == ("m" * 128, "a?b")
    for points in collected.metrics().values():
        assert all(len(value) <= 128 for point in points for value in map(str, point.attributes.values()))


def test_histograms_have_the_conventions_names_units_and_buckets(collected):
    collected.telemetry.ended(call())
    found = collected.metrics()
    assert set(found) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    }
    tokens = {point.attributes["gen_ai.token.type"]: point for point in found["gen_ai.client.token.usage"]}
    assert {kind: point.sum for kind, point in tokens.items()} == {"input": 12, "output": 30}
    assert tokens["input"].explicit_bounds[:4] == (1, 4, 16, 64)
    assert found["gen_ai.client.operation.duration"][0].explicit_bounds[-1] == 81.92


@pytest.mark.parametrize(
    ("changes", "kind"), [({"blocked": "model_denied", "status": 403}, "model_denied"), ({"status": 502}, "502")]
)
def test_a_call_that_failed_says_why(collected, changes, kind):
    collected.telemetry.ended(call(**changes))
    assert collected.span().status.status_code == StatusCode.ERROR
    assert collected.span().attributes["error.type"] == kind


def test_an_estimate_says_so(collected):
    collected.telemetry.ended(call(usage=Usage(input=3, output=4, estimated=True)))
    assert collected.span().attributes["kube_gateway.usage.estimated"] is True


def test_what_gemini_is_asked_has_the_name_of_the_conventions(collected):
    collected.telemetry.ended(call(provider="gcp.gemini", model="gemini-2.5-flash"))
    assert collected.span().name == "generate_content gemini-2.5-flash"
    assert collected.span().attributes["gen_ai.operation.name"] == "generate_content"
    assert collected.metrics()["gen_ai.client.token.usage"][0].attributes["gen_ai.operation.name"] == "generate_content"


@pytest.mark.parametrize("changes", [{"streaming": False}, {"status": 429}, {"first_chunk": None}])
def test_only_a_stream_has_a_first_chunk(collected, changes):
    collected.telemetry.ended(call(**changes))
    assert "gen_ai.client.operation.time_to_first_chunk" not in collected.metrics()
    assert "gen_ai.response.time_to_first_chunk" not in collected.span().attributes


def test_embeddings_have_no_output(collected):
    collected.telemetry.ended(call(operation="embeddings", streaming=False, usage=Usage(input=3)))
    points = collected.metrics()["gen_ai.client.token.usage"]
    assert [point.attributes["gen_ai.token.type"] for point in points] == ["input"]


def test_a_call_is_a_part_of_the_trace_that_it_says_it_is(collected):
    collected.telemetry.ended(call(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    span = collected.span()
    assert span.parent.is_remote
    assert (f"{span.context.trace_id:x}", f"{span.parent.span_id:x}") == (
        "af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
    )


def test_a_trace_that_is_not_recorded_stays_so_and_the_metrics_count(collected):
    collected.telemetry.ended(call(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
    assert collected.spans.get_finished_spans() == ()
    assert "gen_ai.client.operation.duration" in collected.metrics()


def test_a_call_without_a_trace_begins_one(collected):
    collected.telemetry.ended(call())
    assert collected.span().parent is None


def test_lists_of_models_and_the_like_are_no_spans(collected):
    collected.telemetry.ended(call(operation="models", usage=None))
    assert collected.spans.get_finished_spans() == ()


def test_without_the_extra_nothing_is_sent_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert open_telemetry("http://collector:4318", resource={}) is None
    assert "nothing is sent to http://collector:4318: kube-gateway[otel] is not installed" in caplog.text


posted = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        posted.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_collector_gets_spans_and_metrics_by_otlp():
    posted.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/"
        telemetry = open_telemetry(endpoint, resource={"service.name": "kube-gateway", "k8s.pod.name": "web"})
        telemetry.ended(call())
        telemetry.close()
        server.shutdown()
    bodies = dict(posted)
    assert set(bodies) == {"/v1/traces", "/v1/metrics"}
    assert b"chat gemma2:2b" in bodies["/v1/traces"]
    assert b"web" in bodies["/v1/traces"]
    assert b"gen_ai.client.token.usage" in bodies["/v1/metrics"]
