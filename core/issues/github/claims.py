"""Claims between machines that share nothing but GitHub: a git ref, which only one can create.

Refs are the only compare-and-swap that GitHub has: creating one fails where it exists. A claim costs three requests (11
points) and has no end by itself, so it is for rare things; leases are for the rest. A ref cannot be deleted "if it is
still mine" over REST: who releases looks first, and between the look and the deletion only somebody who breaks the
claim by hand could come in.
"""

from __future__ import annotations

import hashlib
import json
import uuid

from ..errors import OutcomeUnknownError, TrackerRefusedError
from .client import GitHubClient, Request, read_with
from .limiter import WRITE

SPACE = "rollcage/claims"
"""Below ``refs/``: neither a branch nor a tag, so that nobody fetches them by default."""


class GitClaims:
    """Claims of one repository, made by this process. Safe between threads."""

    def __init__(self, client: GitHubClient) -> None:
        """Take the client of the tracker; needs the permission Contents: read and write."""
        self._client = client
        self._mine: dict[str, str] = {}

    def claim(self, name: str, content: str) -> bool:
        """Claim ``name`` for whom or what ``content`` says; return whether it is ours now, ``False``: somebody has it.

        Raises OutcomeUnknownError where even looking does not tell, and the errors of a tracker.
        """
        sha = self._tag(name, content)
        request = Request(
            "POST",
            f"{self._client.root}/git/refs",
            f"a claim of {name}",
            WRITE,
            body={"ref": f"refs/{_ref(name)}", "sha": sha},
            fine=frozenset({422}),
        )
        try:
            answer = self._client.send(request)
        except OutcomeUnknownError:
            holder = self._holder(name)
            if holder is None:  # it may still arrive
                raise
        else:
            if answer.status == 422 and "exists" not in answer.message.lower():
                raise TrackerRefusedError(f"GitHub does not take a claim of {name} ({answer.message})", 422)
            holder = sha if answer.status == 201 else self._holder(name)
        if holder == sha:
            self._mine[name] = sha
        return holder == sha

    def release_claim(self, name: str) -> bool:
        """Give ``name`` back; return whether it was ours to give."""
        sha = self._mine.pop(name, None)
        if sha is None or self._holder(name) != sha:
            return False
        path = f"{self._client.root}/git/refs/{_ref(name)}"
        # 422: "Reference does not exist".
        self._client.send(Request("DELETE", path, f"the claim of {name}", WRITE, fine=frozenset({404, 422})))
        return True

    def content(self, name: str) -> str | None:
        """Return what the holder wrote; ``None``: nobody has it."""
        sha = self._holder(name)
        if sha is None:
            return None
        answer = self._client.send(Request("GET", f"{self._client.root}/git/tags/{sha}", f"the claim of {name}"))
        return read_with(f"the claim of {name}", lambda tag: str(json.loads(tag["message"])["content"]), answer.data)

    def _holder(self, name: str) -> str | None:
        request = Request(
            "GET", f"{self._client.root}/git/ref/{_ref(name)}", f"the claim of {name}", fine=frozenset({404})
        )
        answer = self._client.send(request)
        if answer.status == 404:
            return None
        return read_with(f"the claim of {name}", lambda ref: str(ref["object"]["sha"]), answer.data)

    def _tag(self, name: str, content: str) -> str:
        """Make the object that the ref will point to; like any two claims of one content, told apart by a random id."""
        head = self._head()
        message = json.dumps({"name": name, "content": content, "id": uuid.uuid4().hex})
        body = {"tag": _ref(name).rpartition("/")[2], "message": message, "object": head, "type": "commit"}
        answer = self._client.send(
            Request("POST", f"{self._client.root}/git/tags", f"a claim of {name}", WRITE, body=body)
        )
        return read_with(f"a claim of {name}", lambda tag: str(tag["sha"]), answer.data, written=True)

    def _head(self) -> str:
        """Return any commit: a tag needs something to point to."""
        answer = self._client.send(
            Request("GET", f"{self._client.root}/commits", "its commits", parameters={"per_page": "1"})
        )
        return read_with("its commits", lambda commits: str(commits[0]["sha"]), answer.data)


def _ref(name: str) -> str:
    """Return a ref, without ``refs/``, that any name has: git forbids much in refs."""
    return f"{SPACE}/{hashlib.sha256(name.encode()).hexdigest()[:40]}"
