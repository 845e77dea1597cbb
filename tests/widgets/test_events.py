"""Events in words, whatever their bodies hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollcage.core.model import Event
from rollcage.widgets.events import _WORDS, mark, words
from tests.boards import NOW, waiting

KINDS = [*sorted(_WORDS), "alert", "other"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "id",
        "state",
        "agent",
        "title",
        "note",
        "summary",
        "ended",
        "incident",
        "verdict",
        "rehearsal",
        "steps",
        "told",
        "by",
        "reason",
        "rollback",
        "phase",
        "action",
        "snapshot",
        "verified",
        "from",
        "head_before",
        "head_after",
        "severity",
        "text",
        "incidents",
        "name",
        "plan_hash",
    ]
)


def test_the_events_of_an_incident_read_as_its_story() -> None:
    story = [words(event) for event in waiting().events[-6:]]
    assert story == [
        "executor tests fail: test_add",
        "inc-12 open: executor tests fail",
        "inc-12 phase 1 done, pause executor, 2 agents standing by, snapshot snap-20261120T140016Z",
        "inc-12 act: a41be07 turned the sum in add() into a difference",
        "opt-12.1 FILE_SELECTIVE LOW rehearsed: applies, 1 of 1 checks pass",
        "inc-12 waiting: executor tests fail, memory climbs",
    ]


def test_how_bad_an_event_is_stands_there_as_a_glyph() -> None:
    def glyph(**body: object) -> str:
        return mark(Event(1, NOW, "x", body))[0]

    assert glyph(severity="critical") == "✖"
    assert glyph(severity="warning") == "▲"
    assert glyph(verified=False) == "✖"
    assert glyph(severity="critical", state="recovered") == "✓"
    assert glyph(severity="critical", ended=True) == "✓"
    assert glyph(text="hello") == " "


@given(st.sampled_from(KINDS), st.dictionaries(FIELDS, JSON, max_size=8))
def test_no_body_is_too_odd_to_show(kind: str, body: dict[str, object]) -> None:
    event = Event(1, NOW, kind, body)
    assert isinstance(words(event), str)
    assert mark(event)[0]


def test_a_change_of_an_issue_is_told_by_its_number() -> None:
    body = {"number": 7, "change": "closed", "title": "Mend it", "state": "closed", "labels": ["a"], "version": "f"}
    assert words(Event(1, NOW, "issue", body)) == "#7 closed Mend it"
    assert words(Event(1, NOW, "issue", {"number": 7, "change": "gone"})) == "#7 gone"
