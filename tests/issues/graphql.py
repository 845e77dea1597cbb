"""As much of GitHub's GraphQL as tells who edited an Issue's body: one query, its variables, its selection.

A field that GitHub has and this has not is answered as an error, as a misspelled one is: the tests shall notice.
Source of the names: GitHub's public schema, objects Query, Repository, Issue, UserContentEdit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(r'\s*(?:#[^\n]*)?,?\s*([A-Za-z_]\w*|\$\w+|[{}()\[\]:!=]|"(?:\\.|[^"\\])*"|-?\d+)')
Find = Callable[[str, int], dict[str, Any] | None]


class BadQueryError(Exception):
    """GitHub would answer with ``errors``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a selection."""

    name: str
    alias: str
    arguments: Mapping[str, Any]
    chosen: Sequence[Field]


def edit(at: str, login: str, body: str) -> dict[str, Any]:
    """Return an entry of a body's history; ``diff`` is, as at GitHub, the whole text that it became."""
    return {
        "createdAt": at,
        "editedAt": at,
        "updatedAt": at,
        "deletedAt": None,
        "editor": {"login": login},
        "diff": body,
    }


def issue(given: Mapping[str, Any], edits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an Issue of the REST interface, with its history, as an object of GraphQL."""
    return {
        "id": given["node_id"],
        "databaseId": given["id"],
        "number": given["number"],
        "title": given["title"],
        "body": given["body"] or "",
        "state": given["state"].upper(),
        "createdAt": given["created_at"],
        "updatedAt": given["updated_at"],
        "labels": [{"name": each["name"]} for each in given["labels"]],
        "assignees": [{"login": each["login"]} for each in given["assignees"]],
        "lastEditedAt": edits[0]["editedAt"] if edits else None,
        "editor": edits[0]["editor"] if edits else None,
        "userContentEdits": list(edits),
    }


def answer(content: Mapping[str, Any], find: Find) -> dict[str, Any]:
    """Answer a request's body; ``find`` returns the Issue of a repository (``owner/name``) by its number."""
    try:
        fields = _Reader(str(content.get("query", "")), content.get("variables") or {}).read()
    except BadQueryError as error:
        return {"errors": [{"message": str(error)}]}
    data, errors = {}, []
    for each in fields:
        if each.name != "repository":
            return {"errors": [{"message": f"Field '{each.name}' doesn't exist on type 'Query'"}]}
        try:
            data[each.alias] = _repository(each, find)
        except BadQueryError as error:
            return {"errors": [{"message": str(error)}]}
        except LookupError as error:
            data[each.alias] = {"issue": None}
            errors.append({"type": "NOT_FOUND", "path": [each.alias], "message": str(error)})
    return {"data": data, "errors": errors} if errors else {"data": data}


def _repository(field: Field, find: Find) -> dict[str, Any]:
    told: dict[str, Any] = {}
    name = f"{field.arguments.get('owner')}/{field.arguments.get('name')}"
    for each in field.chosen:
        if each.name != "issue":
            raise BadQueryError(f"Field '{each.name}' doesn't exist on type 'Repository'")
        number = each.arguments.get("number")
        found = find(name, number) if isinstance(number, int) else None
        if found is None:
            raise LookupError(f"Could not resolve to an Issue with the number of {number}.")
        told[each.alias] = _pick(each, found)
    return told


def _pick(field: Field, value: Any) -> Any:
    if isinstance(value, list):
        return _connection(field, value)
    if not isinstance(value, Mapping):
        if field.chosen:
            raise BadQueryError(f"Selections can't be made on scalars (field '{field.name}')")
        return value
    if not field.chosen:
        raise BadQueryError(f"Field '{field.name}' must have selections")
    for each in field.chosen:
        if each.name not in value:
            raise BadQueryError(f"Field '{each.name}' doesn't exist on '{field.name}'")
    return {each.alias: _pick(each, value[each.name]) for each in field.chosen}


def _connection(field: Field, values: Sequence[Any]) -> dict[str, Any]:
    first, last = field.arguments.get("first"), field.arguments.get("last")
    if not isinstance(first, int) and not isinstance(last, int):
        raise BadQueryError(f"You must provide a `first` or `last` value to properly paginate `{field.name}`.")
    if not 1 <= (first or last or 0) <= 100:
        raise BadQueryError(f"Requesting {first or last} records on `{field.name}` exceeds the limit of 100 records.")
    part = values[:first] if isinstance(first, int) else values[-(last or 0) :]
    told: dict[str, Any] = {}
    for each in field.chosen:
        if each.name == "totalCount":
            told[each.alias] = len(values)
        elif each.name == "nodes":
            told[each.alias] = [_pick(each, value) for value in part]
        elif each.name == "pageInfo":
            more = len(part) < len(values)
            told[each.alias] = _pick(each, {"hasNextPage": more, "endCursor": None, "hasPreviousPage": False})
        else:
            raise BadQueryError(f"Field '{each.name}' doesn't exist on the connection '{field.name}'")
    return told


class _Reader:
    """Reads one anonymous or named query; no fragments, no directives."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self.variables, self.words, place = variables, list[str](), 0
        text = text.rstrip()
        while place < len(text):
            found = TOKEN.match(text, place)
            if found is None:
                raise BadQueryError(f"Parse error at {text[place : place + 20]!r}")
            self.words.append(found[1])
            place = found.end()
        self.words.reverse()

    def read(self) -> tuple[Field, ...]:
        if self._next() == "query":
            if self._next() not in "({":  # its name
                self._next()
            if self.last == "(":
                declared = self._declared()
                if extra := set(self.variables) - declared:
                    raise BadQueryError(f"Variables not declared: {sorted(extra)}")
                self._next()
        if self.last != "{":
            raise BadQueryError(f"Expected a query, got {self.last!r}")
        fields = self._selection()
        if self.words:
            raise BadQueryError(f"Unexpected {self.words[-1]!r}")
        return fields

    def _next(self) -> str:
        if not self.words:
            raise BadQueryError("Unexpected end of document")
        self.last = self.words.pop()
        return self.last

    def _declared(self) -> set[str]:
        names = set()
        while (word := self._next()) != ")":
            if word.startswith("$"):
                names.add(word[1:])
        return names

    def _selection(self) -> tuple[Field, ...]:
        fields = []
        while (name := self._next()) != "}":
            alias, arguments, chosen = name, dict[str, Any](), tuple[Field, ...]()
            if self.words and self.words[-1] == ":":
                self._next()
                name = self._next()
            if self.words and self.words[-1] == "(":
                self._next()
                arguments = self._arguments()
            if self.words and self.words[-1] == "{":
                self._next()
                chosen = self._selection()
            fields.append(Field(name, alias, arguments, chosen))
        return tuple(fields)

    def _arguments(self) -> dict[str, Any]:
        told = {}
        while (name := self._next()) != ")":
            if self._next() != ":":
                raise BadQueryError(f"Expected a value for {name!r}")
            word = self._next()
            if word.startswith("$"):
                if word[1:] not in self.variables:
                    raise BadQueryError(f"Variable {word} was not provided")
                told[name] = self.variables[word[1:]]
            else:
                told[name] = json.loads(word)
        return told
