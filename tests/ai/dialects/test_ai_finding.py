"""The native core finds by a request's shape what a plain walk through the document finds, and in the same bytes."""

from __future__ import annotations

import json

import ai_requests
import msgspec
import pytest
from ai_asking import dialect
from ai_reading import at, texts
from ai_samples import exchange, names

from kube_gateway._native import Finder
from kube_gateway.ai.dialects import find

RECORDED = [name for name in names() if exchange(name).request and "bad-json" not in name]


def found(shape, body: bytes) -> list[tuple[str, str]]:
    wanted = [{"name": lane.name, "path": lane.path, "when": lane.when, "deep": lane.deep} for lane in shape.lanes]
    return sorted((hit.name, hit.text) for hit in Finder(msgspec.json.encode(wanted)).scan(body).hits)


@pytest.mark.parametrize("name", RECORDED)
def test_texts_of_recorded_requests(name):
    sample = exchange(name)
    shape = find(sample.method, sample.target)[1].request
    assert found(shape, sample.request) == sorted(texts(shape.lanes, sample.asked()))


@pytest.mark.parametrize(("which", "document"), ai_requests.ALL)
def test_texts_of_requests_with_all_that_an_api_knows(which, document):
    shape = next(each for each in dialect(which[0]).endpoints if each.name == which[1]).request
    body = json.dumps(document).encode()
    assert found(shape, body) == sorted(texts(shape.lanes, document))
    assert Finder(b"[]").scan(body).apply() is body


@pytest.mark.parametrize(("which", "document"), ai_requests.ALL)
def test_models_limits_and_tools_of_requests(which, document):
    shape = next(each for each in dialect(which[0]).endpoints if each.name == which[1]).request
    paths = [path for path in (shape.model, shape.stream, *shape.limits, *shape.tool_names, *shape.token_ids) if path]
    wanted = [{"name": path, "path": path, "scalar": True} for path in paths]
    hits = Finder(msgspec.json.encode(wanted)).scan(json.dumps(document).encode()).hits
    walked = [(path, value) for path in paths for _, value in at(document, path) if not isinstance(value, dict | list)]
    assert sorted((hit.name, hit.text) for hit in hits) == sorted(
        (path, value if isinstance(value, str) else json.dumps(value)) for path, value in walked
    )
