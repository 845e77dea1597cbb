"""A GitHub for tests: emulate behind the fault proxy, a fresh repository for each test, each request checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from . import emulate, openapi
from .fault_proxy import FaultProxy

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class GitHub:
    """One repository on the test's GitHub."""

    url: str
    """Of the REST interface: a client's ``base_url``."""
    repository: str
    """``owner/name``; empty at first."""
    token: str
    """Of ``bot``, who may write."""
    proxy: FaultProxy
    """Records what is asked, and fails on demand: ``proxy.fail(Fault.RESET_AFTER, method="POST")``."""

    def direct(self, method: str, path: str, body: object = None, person: str = "mallory") -> Any:
        """Do what a foreign writer does, below this repository; return the JSON.

        No fault, no limit and no record: the test's own hand.
        """
        status, told = self.proxy.direct(method, f"/repos/{self.repository}{path}", body, person)
        assert status < 300, f"{method} {path}: {status} {told}"
        return told

    def issues(self, state: str = "all") -> list[dict[str, Any]]:
        """Return all Issues as they truly are, oldest first."""
        return sorted(self._all(f"/issues?state={state}"), key=lambda each: int(each["number"]))

    def comments(self, number: int) -> list[str]:
        """Return the texts of an Issue's comments, oldest first."""
        return [str(each["body"]) for each in self._all(f"/issues/{number}/comments?sort=created")]

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in itertools.count(1):
            part = self.direct("GET", f"{path}&per_page=100&page={page}")
            found += part
            if len(part) < 100:
                break
        return found

    def wrong_requests(self) -> list[str]:
        """Return what GitHub's own description has against what was asked so far."""
        return [what for each in tuple(self.proxy.exchanges) for what in openapi.wrong(each.request)]


@pytest.fixture(scope="session")
def fault_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """Yield the proxy before emulate, started by the first test that needs it; nothing of it is left at the end."""
    if why := emulate.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("emulate")
    with FaultProxy.serving(lambda url: emulate.Emulate.started(folder, url)) as proxy:
        yield proxy


@pytest.fixture
def github(fault_proxy: FaultProxy) -> Iterator[GitHub]:
    """Yield a fresh repository; at the end, every request that the test sent must be one that GitHub knows."""
    fault_proxy.reset()
    yield (made := new_repository(fault_proxy))
    fault_proxy.heal()
    assert made.wrong_requests() == []


def new_repository(proxy: FaultProxy) -> GitHub:
    """Make an empty repository that all may write to."""
    name = f"shop-{next(_numbers)}"
    status, told = proxy.direct("POST", "/user/repos", {"name": name, "auto_init": True}, emulate.OWNER)
    assert status == 201, told
    made = GitHub(proxy.url, f"{emulate.OWNER}/{name}", emulate.token_of("bot"), proxy)
    for person in emulate.PEOPLE[1:]:
        made.direct("PUT", f"/collaborators/{person}", {"permission": "push"}, emulate.OWNER)
    return made
