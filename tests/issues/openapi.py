"""Whether a request is one that GitHub knows, by GitHub's own OpenAPI description of its REST interface.

The description is that of the npm package ``@octokit/openapi``: 13 MB, read once, and only where something was asked.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from .emulate import NODE_MODULES
from .manners import Request

DESCRIPTION = NODE_MODULES / "@octokit" / "openapi" / "generated" / "api.github.com.json"
METHODS = ("get", "post", "patch", "put", "delete")
PLACEHOLDER = re.compile(r"\{[^}]+\}")


@functools.cache
def description() -> dict[str, Any]:
    """Return GitHub's description."""
    read: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return read


@functools.cache
def _paths() -> dict[int, list[tuple[re.Pattern[str], str]]]:
    """Return the paths as patterns, by how many parts they have, those with the fewest placeholders first."""
    found: dict[int, list[tuple[re.Pattern[str], str]]] = {}
    for path in sorted(description()["paths"], key=lambda each: each.count("{")):
        words = ("[^/]+" if PLACEHOLDER.fullmatch(part) else _pattern(part) for part in path.split("/"))
        # A git ref may have slashes, though GitHub's description cannot say so.
        pattern = "/".join(words).replace("[^/]+", ".+") if path.endswith("/{ref}") else "/".join(words)
        found.setdefault(-1 if path.endswith("/{ref}") else path.count("/"), []).append((re.compile(pattern), path))
    return found


def _pattern(part: str) -> str:
    return "[^/]+".join(re.escape(word) for word in PLACEHOLDER.split(part))


def wrong(request: Request) -> tuple[str, ...]:
    """Return what GitHub's description has against a request; nothing: it is a good one."""
    if request.path == "/graphql":  # not of the REST interface: `graphql` answers what it does not know with errors
        return ()
    return tuple(f"{request.method} {request.target}: {what}" for what in _wrong(request))


def _wrong(request: Request) -> Iterator[str]:
    candidates = [*_paths().get(request.target.count("/"), ()), *_paths()[-1]]
    path = next((path for pattern, path in candidates if pattern.fullmatch(request.target)), None)
    if path is None:
        yield "GitHub has no such path"
        return
    item = description()["paths"][path]
    operation = item.get(request.method.lower())
    if operation is None:
        yield f"GitHub's {path} takes {', '.join(name for name in METHODS if name in item)}"
        return
    parameters = [_resolved(each) for each in [*item.get("parameters", ()), *operation.get("parameters", ())]]
    yield from _query(request, {each["name"]: each for each in parameters if each["in"] == "query"})
    yield from _body(request, _resolved(operation.get("requestBody", {})))


def _query(request: Request, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, word in request.query.items():
        if name not in known:
            yield f"unknown parameter {name!r}"
            continue
        schema = _resolved(known[name].get("schema", {}))
        value: Any = int(word) if schema.get("type") == "integer" and word.lstrip("-").isdigit() else word
        yield from (f"parameter {name!r}: {what}" for what in _against(schema, value))
        if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", word):
            yield f"parameter {name!r}: {word!r} is no time in UTC"
    for name, parameter in known.items():
        if parameter.get("required") and name not in request.query:
            yield f"parameter {name!r} is missing"


def _body(request: Request, described: Mapping[str, Any]) -> Iterator[str]:
    if not request.body:
        if described.get("required"):
            yield "the body is missing"
        return
    if not described:
        if request.json() not in (None, {}):
            yield "it takes no body"
        return
    if "application/json" not in request.headers.get("content-type", "application/json"):
        yield f"content type {request.headers['content-type']!r}"
    schema, content = described["content"]["application/json"]["schema"], request.json()
    if content is None:
        yield "the body is no JSON"
        return
    yield from (f"body: {what}" for what in _against(schema, content))
    properties = _resolved(schema).get("properties")
    if isinstance(content, dict) and properties:
        yield from (f"body: GitHub knows no {name!r}" for name in content if name not in properties)


def _against(schema: Mapping[str, Any], value: object) -> Iterator[str]:
    for error in _validator(json.dumps(schema, sort_keys=True)).iter_errors(value):
        place = ".".join(str(part) for part in error.absolute_path)
        yield f"{place + ': ' if place else ''}{error.message[:300]}"


@functools.cache
def _validator(schema: str) -> Any:
    """Return a checker; ``$ref`` to the description's parts is resolved, ``nullable`` (OpenAPI 3.0) is heard."""
    return jsonschema.Draft7Validator(_expanded(json.loads(schema)))


def _expanded(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_expanded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _expanded(_resolved(schema))
    told = {name: _expanded(value) for name, value in schema.items()}
    if told.pop("nullable", False) is True:
        return {"anyOf": [told, {"type": "null"}]}
    return told


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in part:
        found: Any = description()
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part
