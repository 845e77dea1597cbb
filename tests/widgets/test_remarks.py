"""What a step came to: only what its name and mark do not say."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rollcage.core.model import Step, StepState
from rollcage.widgets.remarks import remarks

CASES: list[tuple[str, Mapping[str, object], list[str]]] = [
    ("push", {"state": "unreachable", "words": "no route; queued as out-1"}, ["no route; queued as out-1"]),
    ("push", {"state": "pushed", "words": "sent"}, []),
    ("snapshot", {"warnings": ["big.bin changed while it was read"]}, ["big.bin changed while it was read"]),
    (
        "database",
        {"rows": 3, "tables": ["orders"], "unattributed": 1},
        ["3 rows taken back in orders", "1 write of nobody known left as they are"],
    ),
    ("database", {"restored": "chk-1", "files": 2}, ["restored from chk-1, and 2 files"]),
    (
        "reset_agent",
        {"leases": 2, "messages": [], "handovers": [["a", "b"]], "left": ["wip: has work of its own"]},
        ["taken back: 2 leases, 1 hand-over", "left as it is: wip: has work of its own"],
    ),
    ("metrics", {"window_s": 30.0}, ["in band for 30s"]),
    ("metrics", {"supervised": False}, ["nothing was measured: executor does not run under rollcage"]),
    ("verify", {"database": "whole"}, []),
]


@pytest.mark.parametrize(("name", "data", "said"), CASES)
def test_what_is_worth_knowing_is_said(name: str, data: Mapping[str, object], said: list[str]) -> None:
    assert list(remarks(Step("rb-1", 1, 3, name, "executor", StepState.DONE, data=data))) == said


def test_one_that_waits_for_its_window_says_for_what() -> None:
    (said,) = remarks(Step("rb-1", 1, 4, "metrics", "executor", StepState.DOING))
    assert said == "waits until what is measured of executor has stayed in band for its window"
