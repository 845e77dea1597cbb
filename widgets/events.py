"""The log: what happened, newest last, each event in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ..core.model import Event
from . import figures
from .live_table import Cell, Column, LiveTable
from .spans import Line, Span
from .titles import counted
from .view import Unpicking, View

Body = Mapping[str, Any]


def _join(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part is not None and part != "")


def _names(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value or "")


def _checks(value: object) -> str:
    checks = [check for check in value if isinstance(check, Mapping)] if isinstance(value, list) else []
    failed = [check for check in checks if check.get("passed") is False]
    if failed:
        return f"fails {_names([check.get('name', '') for check in failed])}"
    passed = sum(check.get("passed") is True for check in checks)
    return f"{passed} of {len(checks)} checks pass" if checks else ""


def _finding(body: Body) -> str:
    return _join(body.get("agent"), body.get("summary"), "(over)" if body.get("ended") else "")


def _incident(body: Body) -> str:
    state = str(body.get("state", "")).replace("_", " ")
    note = f"({body['note']})" if body.get("note") else ""
    return _join(body.get("id"), state + ":" if state else "", body.get("agent"), body.get("title"), note)


def _diagnosis(body: Body) -> str:
    return _join(body.get("incident"), str(body.get("verdict", "")).replace("_", " ") + ":", body.get("root_cause"))


def _option(body: Body) -> str:
    rehearsal = body.get("rehearsal")
    rehearsal = rehearsal if isinstance(rehearsal, Mapping) else {}
    applies = "applies" if rehearsal.get("applies") else "does not apply"
    found = ", ".join(text for text in (applies, _checks(rehearsal.get("checks"))) if text)
    return _join(body.get("id"), body.get("type"), body.get("risk_level"), f"rehearsed: {found}")


def _plan(body: Body) -> str:
    steps = body.get("steps")
    count = figures.count(len(steps), "step") if isinstance(steps, list) else ""
    return _join(body.get("option"), "plan", str(body.get("plan_hash", ""))[:8], count)


def _decision(body: Body) -> str:
    by = f"by {body['by']}" if body.get("by") else ""
    return _join(body.get("option") or body.get("incident"), body.get("verdict"), by, body.get("reason"))


def _phase(body: Body) -> str:
    parts = [_join(body.get("rollback") or body.get("incident"), "phase", body.get("phase"), body.get("state"))]
    if body.get("action"):
        parts.append(_join(body["action"], body.get("agent")))
    if body.get("told"):
        parts.append(f"{figures.count(len(body['told']), 'agent')} standing by")
    if body.get("snapshot"):
        parts.append(f"snapshot {body['snapshot']}")
    return ", ".join(parts)


def _step(body: Body) -> str:
    name = str(body.get("name", "")).replace("_", " ")
    return _join(body.get("rollback"), name, body.get("subject"), body.get("state"), body.get("note"))


def _verification(body: Body) -> str:
    found = "verified" if body.get("verified") else "not verified"
    return _join(body.get("rollback"), f"{found}:" if body.get("note") else found, body.get("note"))


def _agent(body: Body) -> str:
    change = ""
    if body.get("from") or body.get("to"):
        change = f"{body.get('from', '-')} → {body.get('to', '-')}"
    by = f"by {body['by']}" if body.get("by") else ""
    return _join(body.get("agent") or body.get("name"), body.get("action"), change, body.get("state"), by)


def _issue(body: Body) -> str:
    return _join(f"#{body['number']}" if body.get("number") else "", body.get("change"), body.get("title"))


def _outcome(body: Body) -> str:
    head = ""
    if body.get("head_before") and body.get("head_after") and body["head_before"] != body["head_after"]:
        head = f"{figures.short(str(body['head_before']))} → {figures.short(str(body['head_after']))}"
    return _join(body.get("result"), _names(body.get("incidents")), head)


def _anything(body: Body) -> str:
    for key in ("text", "summary", "message", "title", "note"):
        if body.get(key):
            return str(body[key])
    simple = {key: value for key, value in body.items() if isinstance(value, (str, int, float))}
    return ", ".join(f"{key} {value}" for key, value in simple.items())


_WORDS: Mapping[str, Callable[[Body], str]] = {
    "finding": _finding,
    "incident": _incident,
    "diagnosis": _diagnosis,
    "option": _option,
    "plan": _plan,
    "decision": _decision,
    "phase": _phase,
    "step": _step,
    "verification": _verification,
    "agent": _agent,
    "issue": _issue,
    "outcome": _outcome,
}


def words(event: Event) -> str:
    """Return an event in one line for people."""
    return _WORDS.get(event.event, _anything)(event.body).strip() or _anything(event.body)


_PLAIN, _BAD, _WARN, _GOOD = (" ", "info"), ("✖", "critical"), ("▲", "warning"), ("✓", "ok")


def mark(event: Event) -> tuple[str, str]:
    """Return a glyph that says how bad an event is, and the style that repeats it."""
    body = event.body
    severity, state = str(body.get("severity")), str(body.get("state"))
    if body.get("ended") is True:
        return _GOOD
    if severity == "critical" or state == "failed" or body.get("verified") is False:
        return _GOOD if state in {"recovered", "cleared"} else _BAD
    if body.get("verified") is True or state in {"recovered", "cleared"}:
        return _GOOD
    return _WARN if severity == "warning" else _PLAIN


class EventsPanel(Unpicking, LiveTable[Event]):
    """A row for each event; the cursor stays on the newest until somebody moves it."""

    COLUMNS: ClassVar[Sequence[Column]] = (
        Column("time", 8),
        Column("event", 14, drop=1),
        Column("", 20, most=400),
    )
    EMPTY: ClassVar[str] = "nothing has happened yet"
    HEADED: ClassVar[bool] = False

    def __init__(self, *, id: str = "events") -> None:  # noqa: A002 - Textual's word
        """Take the id."""
        super().__init__(id=id)
        self.follow = True

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self.show_items(view.board.events)

    def title(self) -> Line:
        """See `Panel.title`."""
        return counted("Events", self)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total()

    def key_of(self, item: Event) -> str:
        """See `LiveTable.key_of`."""
        return str(item.seq)

    def cells_of(self, item: Event) -> Sequence[Cell]:
        """See `LiveTable.cells_of`."""
        glyph, style = mark(item)
        return (Span(figures.clock(item.at), "muted"), Span(f"{glyph} {item.event}", style), Span(words(item)))
