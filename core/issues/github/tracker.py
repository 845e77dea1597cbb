"""The tracker GitHub: each method a request that does just what was asked; see `rollcage.core.issues.tracker.Tracker`.

Points of the secondary limit: a read 1, a write 5. GitHub refuses ``If-Match`` on Issues, so it is never sent: what
makes writes safe stands above. An Issue is read as cheaply as it is surely fresh: conditionally, where what was
answered last may still stand (a 304 is free); by GraphQL, which has a limit of its own, where we changed it since; else
plainly.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ...clock import Clock, parse_iso
from ...config import TrackerSettings
from ...errors import UsageError
from ...store.paths import RepositoryPaths
from ...text import clean
from ..errors import TrackerLimitError, TrackerRefusedError
from ..issue import BodyEdit, Budget, Comment, Draft, Issue, sorted_names
from ..kept import FILE, Kept
from ..values import name_key
from .client import PER_PAGE, GitHubClient, Request, read_with
from .credentials import credential, server_of
from .limiter import CREATE, QUERY, WRITE, Cost, Limiter, limits_file
from .retry import Answer

_QUERY = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { issue(number: $number) { %s } }
}"""
_EDITS_QUERY = _QUERY % "userContentEdits(first: %d) { nodes { editedAt deletedAt diff editor { login } } }"
_ISSUE_QUERY = (
    _QUERY
    % """
    title body state createdAt updatedAt
    labels(first: 100) { totalCount nodes { name } } assignees(first: 20) { totalCount nodes { login } }"""
)


class GitHubTracker:
    """The Issues of one repository on GitHub, or on an Enterprise server."""

    kind = "github"

    def __init__(self, client: GitHubClient, kept: Kept) -> None:
        """Take the client, and what keeps its answers; closing the tracker closes them."""
        self.client, self._kept = client, kept
        self.repository = client.repository
        self._has_graphql = True

    # -- Issues

    def get(self, number: int) -> Issue:
        known = self._kept.find(number)
        if known is not None and not known.etag and (issue := self._by_graphql(number)) is not None:
            return issue
        what = f"Issue #{number}"
        request = Request("GET", self._issue_path(number), what, etag=known.etag if known is not None else "")
        answer = self.client.send(request)
        if answer.status == 304 and known is not None:
            return known.issue
        if isinstance(answer.data, dict) and answer.data.get("pull_request"):
            raise TrackerRefusedError(f"#{number} in {self.repository} is a pull request, not an Issue", 404)
        issue = read_with(what, read_issue, answer.data)
        if known is not None and known.etag and known.of_write and known.issue == issue:
            self._kept.no_use_of_writes()
        self._kept.keep(issue, answer.headers.get("etag", ""))
        return issue

    def _by_graphql(self, number: int) -> Issue | None:
        """Return the Issue by a query, where that can be sent at once and tells all of it."""
        try:
            data = self._query(_ISSUE_QUERY, number, f"Issue #{number}", patience=0.0)
        except TrackerLimitError:
            return None
        return None if data is None else read_with(f"Issue #{number}", lambda one: _read_node(one, number), data)

    def issues(
        self, *, state: str = "open", labels: tuple[str, ...] = (), since: datetime | None = None
    ) -> Iterator[Issue]:
        parameters = {"state": state, "sort": "created", "direction": "desc"}
        # The filter is a list with commas: what has one in its name is looked for among the rest.
        if plain := [label for label in labels if "," not in label]:
            parameters["labels"] = ",".join(plain)
        if since is not None:
            parameters["since"] = github_time(since)
        wanted = {name_key(label) for label in labels}
        seen = set[int]()
        for page in self._pages_of(parameters):
            for issue in sorted(page, key=lambda issue: issue.number, reverse=True):
                # While pages are read new Issues push others to the next page.
                if issue.number not in seen and wanted <= {name_key(label) for label in issue.labels}:
                    seen.add(issue.number)
                    yield issue

    def _pages_of(self, parameters: Mapping[str, str]) -> Iterator[list[Issue]]:
        """Yield the list's pages; one of a single page that is as it was costs nothing."""
        query = json.dumps(parameters, sort_keys=True)
        known = None if "since" in parameters else self._kept.find_list(query)
        for place, (answer, page) in enumerate(self.listed(parameters, known[0] if known is not None else "")):
            if answer.status == 304 and known is not None:
                yield known[1]
                return
            if not place and "since" not in parameters:
                is_all = "link" not in answer.headers
                if is_all or known is not None:
                    self._kept.keep_list(query, answer.headers.get("etag", "") if is_all else "", page)
            yield page

    def listed(self, parameters: Mapping[str, str], etag: str = "") -> Iterator[tuple[Answer, list[Issue]]]:
        """Yield the list's pages as they are asked for, each with its answer; a 304 to ``etag`` ends it, empty."""
        request = Request(
            "GET",
            f"{self.client.root}/issues",
            "its Issues",
            parameters={**parameters, "per_page": str(PER_PAGE)},
            etag=etag,
        )
        for answer in self.client.pages(request):
            if answer.status == 304:
                yield answer, []
                return
            yield answer, read_with("a list of Issues", read_list, answer.data)

    def booked(self, writes: int, *, creations: int = 0, looks: int = 0) -> AbstractContextManager[None]:
        points = WRITE.points * (writes + creations) + QUERY.points * looks
        return self.client.booked(Cost(writes + creations, points, creations, looks))

    def create(self, draft: Draft) -> Issue:
        body: dict[str, object] = {"title": draft.title, "body": draft.body}
        if draft.labels:
            body["labels"] = list(draft.labels)
        if draft.assignees:
            body["assignees"] = list(draft.assignees)
        return self._written(Request("POST", f"{self.client.root}/issues", "a new Issue", CREATE, body=body))

    def write(
        self, number: int, *, title: str | None = None, body: str | None = None, state: str | None = None
    ) -> Issue:
        given = {"title": title, "body": body, "state": state}
        fields = {name: value for name, value in given.items() if value is not None}
        if not fields:
            return self.get(number)
        return self._written(Request("PATCH", self._issue_path(number), f"Issue #{number}", WRITE, body=fields))

    # -- labels and people: single, atomic on the server

    def add_label(self, number: int, label: str) -> tuple[str, ...] | None:
        path = f"{self._issue_path(number)}/labels"
        return self._labels(number, Request("POST", path, f"Issue #{number}", WRITE, body={"labels": [label]}))

    def remove_label(self, number: int, label: str) -> tuple[str, ...] | None:
        path = f"{self._issue_path(number)}/labels/{self._in_path(label)}"
        return self._labels(number, Request("DELETE", path, f"Issue #{number}", WRITE, fine=frozenset({404})), label)

    def _labels(self, number: int, request: Request, gone: str = "") -> tuple[str, ...] | None:
        """Return all labels after a write to them; ``None``: the answer does not tell."""
        try:
            answer = self.client.send(request)
        finally:
            self._kept.changed(number)
        if answer.status == 404:
            if "label" not in answer.message.lower():
                there = self.get(number).labels
                self._require_gone(number, name_key(gone) in map(name_key, there), f"label {clean(gone)}")
            return None
        return read_with(request.what, _read_label_names, answer.data, written=True)

    def add_assignee(self, number: int, name: str) -> Issue:
        path = f"{self._issue_path(number)}/assignees"
        what = f"{clean(name, limit=60)} as assignee of Issue #{number}"
        issue = self._written(Request("POST", path, what, WRITE, body={"assignees": [name]}))
        if name_key(name) not in map(name_key, issue.assignees):  # GitHub drops them in silence
            raise TrackerRefusedError(
                f"{clean(name, limit=60)} cannot be assigned in {self.repository}; only those who may write there can, "
                "and at most 10 to one Issue",
                422,
            )
        return issue

    def remove_assignee(self, number: int, name: str) -> Issue:
        path = f"{self._issue_path(number)}/assignees"
        fine = frozenset({404})
        request = Request("DELETE", path, f"Issue #{number}", WRITE, body={"assignees": [name]}, fine=fine)
        try:
            answer = self.client.send(request)
        finally:
            self._kept.changed(number)
        if answer.status == 404:
            issue = self.get(number)
            assigned = name_key(name) in map(name_key, issue.assignees)
            self._require_gone(number, assigned, f"assignee {clean(name, limit=60)}")
            return issue
        return self._taken_in(request, answer)

    # -- comments

    def comment(self, number: int, body: str) -> Comment:
        path, what = f"{self._issue_path(number)}/comments", f"a comment on Issue #{number}"
        data = self.client.send(Request("POST", path, what, CREATE, body={"body": body})).data
        return read_with(what, lambda one: read_comment(one, number), data, written=True)

    def edit_comment(self, comment: Comment, body: str) -> Comment:
        what = f"a comment on Issue #{comment.issue}"
        data = self.client.send(Request("PATCH", self._comment_path(comment), what, WRITE, body={"body": body})).data
        return read_with(what, lambda one: read_comment(one, comment.issue), data, written=True)

    def delete_comment(self, comment: Comment) -> None:
        what = f"a comment on Issue #{comment.issue}"
        self.client.send(Request("DELETE", self._comment_path(comment), what, WRITE, fine=frozenset({404, 410})))

    def comments(self, number: int) -> Iterator[Comment]:
        what = f"comments on Issue #{number}"
        seen = set[int]()
        for data in self._pages(f"{self._issue_path(number)}/comments", f"Issue #{number}"):
            for each in read_with(what, lambda page: [read_comment(one, number) for one in page], data):
                if each.id not in seen:
                    seen.add(each.id)
                    yield each

    # -- history

    def body_edits(self, number: int, most: int = 20) -> tuple[BodyEdit, ...] | None:
        """See `Tracker.body_edits`. GitHub's ``diff`` of an edit is the whole body as it was after it."""
        data = self._query(_EDITS_QUERY % most, number, f"the history of Issue #{number}")
        return None if data is None else read_with("a history", _read_edits, data)

    def _query(self, query: str, number: int, what: str, patience: float | None = None) -> object:
        """Return what GraphQL tells of an Issue; ``None``: it does not. Raises as `get` does."""
        if not self._has_graphql:
            return None
        owner, _, name = self.repository.partition("/")
        request = Request(
            "POST",
            self.client.graphql,
            what,
            QUERY,
            body={"query": query, "variables": {"owner": owner, "name": name, "number": number}},
            fine=frozenset({400, 404, 405, 410, 501}),
            reads=True,
            patience=patience,
        )
        answer = self.client.send(request)
        if answer.status != 200 or not isinstance(answer.data, dict) or "data" not in answer.data:
            self._has_graphql = answer.status == 200  # a server without GraphQL is asked once
            return None
        errors = answer.data.get("errors") or []
        kinds = {str(error.get("type")) for error in errors if isinstance(error, dict)}
        if "RATE_LIMITED" in kinds:
            seconds = self.client.limiter.pause(answer.pause)
            raise TrackerLimitError(
                f"GitHub's limit of GraphQL queries is used up; next try in {seconds:.0f} s", seconds
            )
        if "NOT_FOUND" in kinds:
            raise TrackerRefusedError(f"GitHub knows no Issue #{number} in {self.repository}", 404)
        return None if errors else answer.data

    # -- label definitions

    def label_definitions(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for data in self._pages(f"{self.client.root}/labels", "its labels"):
            found |= read_with("labels", _read_labels, data)
        return found

    def define_label(self, name: str, colour: str, description: str = "") -> None:
        what = f"label {clean(name, limit=60)}"
        body = {"color": colour, "description": description}
        path = f"{self.client.root}/labels"
        fine = frozenset({422})
        answer = self.client.send(Request("POST", path, what, WRITE, body={"name": name, **body}, fine=fine))
        if answer.status == 422:  # it exists, or it is none: the second request tells which
            self.client.send(Request("PATCH", f"{path}/{self._in_path(name)}", what, WRITE, body=body))

    # -- issue dependencies: https://docs.github.com/en/rest/issues/issue-dependencies

    def blocked_by(self, number: int) -> tuple[int, ...]:
        return tuple(sorted(self._blockers(number)))

    def add_blocker(self, number: int, blocker: int) -> None:
        path, what = self._blocker_path(number), f"Issue #{blocker} as blocker of #{number}"
        identity = self._id(blocker)
        fine = frozenset({422})
        answer = self.client.send(Request("POST", path, what, WRITE, body={"issue_id": identity}, fine=fine))
        if answer.status == 422 and blocker not in self._blockers(number):
            raise TrackerRefusedError(
                f"GitHub does not take {what} in {self.repository}"
                + (f" ({answer.message})" if answer.message else ""),
                422,
            )

    def remove_blocker(self, number: int, blocker: int) -> None:
        identity = self._blockers(number).get(blocker)
        if identity is not None:
            path = f"{self._blocker_path(number)}/{identity}"
            self.client.send(Request("DELETE", path, f"Issue #{number}", WRITE, fine=frozenset({404})))

    def _blockers(self, number: int) -> dict[int, int]:
        """Return the blockers of this repository: number to the id that the API wants. Those of others are left out."""
        found: dict[int, int] = {}
        for data in self._pages(self._blocker_path(number), f"Issue #{number}"):
            found |= read_with("blockers", lambda page: _read_ids(page, self.repository), data)
        return found

    def _id(self, number: int) -> int:
        what = f"Issue #{number}"
        data = self.client.send(Request("GET", self._issue_path(number), what)).data
        return read_with(what, lambda one: int(one["id"]), data)

    # -- the rest

    def budget(self) -> Budget | None:
        return self.client.limiter.budget()

    def online(self) -> bool | None:
        """Return whether GitHub answered the last time that a process asked; ``None``: nobody did."""
        return self.client.limiter.online()

    def close(self) -> None:
        self.client.close()
        self.client.limiter.close()
        self._kept.close()

    def _written(self, request: Request) -> Issue:
        return self._taken_in(request, self.client.send(request))

    def _taken_in(self, request: Request, answer: Answer) -> Issue:
        """Return the Issue that a write's answer tells, and keep it."""
        issue = read_with(request.what, read_issue, answer.data, written=True)
        self._kept.keep(issue, answer.headers.get("etag", ""), of_write=True)
        return issue

    def _pages(self, path: str, what: str) -> Iterator[Any]:
        for answer in self.client.pages(Request("GET", path, what, parameters={"per_page": str(PER_PAGE)})):
            yield answer.data

    def _require_gone(self, number: int, still_there: bool, what: str) -> None:
        """Raise where a removal got a 404 and the thing is there: without permission GitHub says 404 too."""
        if still_there:
            raise TrackerRefusedError(
                f"GitHub does not permit taking {what} from Issue #{number} in {self.repository}; give the token of "
                f"{self.client.credential.name} the permission Issues: read and write",
                403,
            )

    def _in_path(self, name: str) -> str:
        if name in {".", ".."}:  # a path ends there: the request would be about something else
            raise TrackerRefusedError(f"label {name} cannot be named in an address; rename it on GitHub", 422)
        return quote(name, safe="")

    def _issue_path(self, number: int) -> str:
        return f"{self.client.root}/issues/{number}"

    def _comment_path(self, comment: Comment) -> str:
        return f"{self.client.root}/issues/comments/{comment.id}"

    def _blocker_path(self, number: int) -> str:
        return f"{self._issue_path(number)}/dependencies/blocked_by"


def open_github(
    settings: TrackerSettings,
    paths: RepositoryPaths,
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
    *,
    leave: threading.Event | None = None,
) -> GitHubTracker:
    """Open the tracker that the settings name; asks nothing of the server yet. Nobody waits once ``leave`` is set.

    Raises TrackerRefusedError without a token, UsageError for settings that name no repository, StoreError.
    """
    if settings.repo is None:
        raise UsageError("tracker: of kind github names no repo; write repo: owner/name in rollcage.yml")
    server = server_of(settings)
    who = credential(settings, clock, environ)
    limiter = Limiter(limits_file(paths, server, who.identity), clock)
    kept = Kept(paths.root / FILE, f"{server} {settings.repo} {who.identity}")
    return GitHubTracker(GitHubClient(server, settings.repo, who, limiter, clock, leave=leave), kept)


def github_time(moment: datetime) -> str:
    """Return ``moment`` as GitHub writes it: UTC in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_issue(data: Any) -> Issue:
    """Return an Issue from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    return Issue(
        number=int(data["number"]),
        title=str(data["title"]),
        body=data["body"] or "",
        state=data["state"],
        labels=sorted_names(_label_name(label) for label in data["labels"]),
        assignees=sorted_names(str(person["login"]) for person in data["assignees"]),
        created=parse_iso(data["created_at"]),
        updated=parse_iso(data["updated_at"]),
    )


def read_list(data: Any) -> list[Issue]:
    """Return the Issues of a list's JSON, without pull requests. Raises as `read_issue` does."""
    return [read_issue(each) for each in data if not each.get("pull_request")]


def read_comment(data: Any, issue: int) -> Comment:
    """Return a comment from its JSON. Raises as `read_issue` does."""
    return Comment(
        id=int(data["id"]),
        issue=issue,
        body=data["body"] or "",
        author=_login(data["user"]),
        created=parse_iso(data["created_at"]),
        updated=parse_iso(data["updated_at"]),
    )


def _label_name(label: Any) -> str:
    return label if isinstance(label, str) else str(label["name"])


def _login(person: Any) -> str:
    return "ghost" if person is None else str(person["login"])  # as GitHub shows those who left


def _read_labels(data: Iterable[Any]) -> dict[str, tuple[str, str]]:
    return {str(one["name"]): (str(one["color"]), one.get("description") or "") for one in data}


def _read_ids(data: Iterable[Any], repository: str) -> dict[int, int]:
    end = f"/repos/{repository}".lower()
    return {int(one["number"]): int(one["id"]) for one in data if one["repository_url"].lower().endswith(end)}


def _read_label_names(data: Any) -> tuple[str, ...]:
    return sorted_names(_label_name(label) for label in data)


def _read_node(data: Any, number: int) -> Issue | None:
    """Return an Issue as GraphQL tells it; ``None``: it has more names than were asked for."""
    node = data["data"]["repository"]["issue"]
    names = [
        [str(one[key]) for one in node[kind]["nodes"]] for kind, key in (("labels", "name"), ("assignees", "login"))
    ]
    if any(len(each) < node[kind]["totalCount"] for each, kind in zip(names, ("labels", "assignees"), strict=True)):
        return None
    return Issue(
        number,
        str(node["title"]),
        node["body"] or "",
        str(node["state"]).lower(),
        sorted_names(names[0]),
        sorted_names(names[1]),
        parse_iso(node["createdAt"]),
        parse_iso(node["updatedAt"]),
    )


def _read_edits(data: Any) -> tuple[BodyEdit, ...]:
    nodes = data["data"]["repository"]["issue"]["userContentEdits"]["nodes"]
    edits = [
        BodyEdit(parse_iso(node["editedAt"]), _login(node["editor"]), None if node["deletedAt"] else node["diff"])
        for node in nodes
        if node is not None
    ]
    return tuple(sorted(edits, key=lambda edit: edit.at, reverse=True))
