"""Whose Issue is whose: an agent writes only to Issues of its own competition, checked before anything is written.

A competition is one workspace: a folder, a virtual environment, and a label that its Issues carry. Which agent works
here, and for which competition, the supervisor says in the environment (``$ROLLCAGE_AGENT``,
``$ROLLCAGE_COMPETITION``). People have no scope: they may write everything.

This guards against agents that are confused, not against hostile ones: those could change their own environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..config import NAME, Settings, competition_settings
from ..errors import StoreError, UsageError
from ..text import clean
from .errors import IsolationViolationError, ScopeViolationError
from .issue import Draft, Issue, sorted_names
from .values import name_key

AGENT, COMPETITION = "agent:", "comp:"
"""How the labels begin that say whose an Issue is."""
Change = Draft | Mapping[str, object]
"""A creation's draft; else what is to become of an Issue: ``title``, ``labels`` (the wanted set), or ``add`` and
``remove`` (labels); other keys are nobody's business here."""

_TITLE = re.compile(r"\s*\[(?P<competition>[^\[\]]*)\]\s*(?P<agent>[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63})\s*:")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    """What one agent may write."""

    agent: str
    """Empty: a person who works for one competition."""
    competition: str
    """Empty: none; then no Issue of a competition that the settings name."""
    label: str
    """That Issues of the competition carry; empty: none."""
    agent_label: str
    stage: str = ""
    stages: tuple[str, ...] = ()
    """All stages, in the order of the work."""
    agents: tuple[tuple[str, str, str], ...] = ()
    """The agents of the settings: name, competition, stage."""
    others: tuple[tuple[str, str], ...] = ()
    """The other competitions of the settings: name, label."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """Where an agent works for a competition. Paths are relative to the top of the repository."""

    working_directory: str
    virtual_environment: str
    issue_filter: str
    """The label of the competition's Issues."""
    agent_scope: Scope
    resource_namespace: str
    """Begins the names of what it makes elsewhere: locks, databases, branches."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A write to Issues that is about to be done."""

    kind: str
    """``create``, or what it does to ``issue``: update, comment, label, close, block, ..."""
    scope: Scope
    """In whose name it is done."""
    issue: Issue | None
    """As it is now, just read; ``None``: it is to be created."""
    change: Change


# -- who works here


def scope_of_environment(settings: Settings, environ: Mapping[str, str]) -> Scope | None:
    """Return what the process with this environment may write; ``None``: everything, for it is a person's.

    Raises UsageError where a name in it is none.
    """
    agent, competition = environ.get("ROLLCAGE_AGENT", ""), environ.get("ROLLCAGE_COMPETITION", "")
    if not agent and not competition:
        return None
    for variable, name in (("ROLLCAGE_AGENT", agent), ("ROLLCAGE_COMPETITION", competition)):
        if name and not NAME.fullmatch(name):
            raise UsageError(
                f"{variable} is '{clean(name, limit=80)}', no name; allowed: what `rollcage run` sets, or nothing"
            )
    return scope_of(settings, agent, competition)


def scope_of(settings: Settings, agent: str, competition: str = "") -> Scope:
    """Return what ``agent`` may write while it works for ``competition``; default: that of the settings, if any."""
    known = settings.agents.get(agent)
    competition = competition or (known.competition if known is not None else "")
    names = dict.fromkeys([*settings.competitions, *(each.competition for each in settings.agents.values())])
    return Scope(
        agent=agent,
        competition=competition,
        label=competition_settings(settings, competition).label or "" if competition else "",
        agent_label=f"{AGENT}{agent}" if agent else "",
        stage=known.stage if known is not None else "",
        stages=tuple(settings.stages),
        agents=tuple((name, each.competition, each.stage) for name, each in settings.agents.items()),
        others=tuple(
            (name, competition_settings(settings, name).label or "") for name in names if name and name != competition
        ),
    )


def ensure_execution_isolation(settings: Settings, agent: str, competition: str, top: Path | None = None) -> Isolation:
    """Return where ``agent`` works for ``competition``; below ``top``, where it is given, its folder is made.

    Raises UsageError for an agent or a competition that the settings do not know, ScopeViolationError for an agent of
    another competition, IsolationViolationError where its folder really lies elsewhere (a link), StoreError where it
    cannot be made.
    """
    known = settings.agents.get(agent)
    if known is None:
        raise UsageError(f"there is no agent {clean(agent, limit=80)}; known: {', '.join(settings.agents) or 'none'}")
    names = [*settings.competitions] or [known.competition]
    if not competition or competition not in names:
        raise UsageError(
            f"there is no competition {clean(competition, limit=80)}; known: {', '.join(filter(None, names)) or 'none'}"
        )
    if known.competition != competition:
        whose = f"to {known.competition}" if known.competition else "to none"
        raise ScopeViolationError(f"agent {agent} does not belong to competition {competition} but {whose}")
    where = competition_settings(settings, competition)
    if top is not None:
        _make_folder(top, str(where.directory), competition)
    return Isolation(
        working_directory=f"{where.directory}/",
        virtual_environment=f"{where.venv}/",
        issue_filter=where.label or "",
        agent_scope=scope_of(settings, agent, competition),
        resource_namespace=f"{competition}_{agent}",
    )


def _make_folder(top: Path, directory: str, competition: str) -> None:
    folder = top / directory
    try:
        real = folder.resolve()
        if real != top.resolve() / directory:
            raise IsolationViolationError(
                f"the folder {directory} of competition {competition} really lies at {clean(str(real))}: a link leads"
                " out of it; make it a folder of its own"
            )
        real.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {directory} of competition {competition}: {error.strerror}"
        ) from error


# -- what it may write


def completed(scope: Scope | None, draft: Draft) -> Draft:
    """Return ``draft`` with the labels of its competition and its agent, where it does not name any itself.

    The agent is the one of its title, else the one who creates it.
    """
    if scope is None:
        return draft
    labels = list(draft.labels)
    if scope.label and name_key(scope.label) not in map(name_key, labels):
        labels.append(scope.label)
    if not any(_is_agent(label) for label in labels):
        title = _TITLE.match(draft.title)
        label = f"{AGENT}{title['agent']}" if title else scope.agent_label
        labels += [label] if label else []
    return replace(draft, labels=sorted_names(labels))


def check_write(scope: Scope | None, kind: str, issue: Issue | None, change: Change) -> None:
    """Let a write pass, or raise: to be called just before it, with the Issue as it was just read.

    Of a creation ``change`` is the draft as `completed` returned it. Raises ScopeViolationError, of which
    IsolationViolationError says that it would reach another competition. ``scope`` ``None``: all may be written.
    """
    if scope is None:
        return
    operation = Operation(kind, scope, issue, change)
    enforce_competition_isolation(operation)
    validate_operation_scope(operation, scope)


def enforce_competition_isolation(operation: Operation) -> None:
    """Raise IsolationViolationError where ``operation`` touches what is not of the competition that it is done for."""
    scope = operation.scope
    if operation.issue is not None:
        _check_place(scope, f"Issue {operation.issue.number}", operation.issue.labels)
    labels = _labels_after(operation)
    if operation.issue is None or labels != _keys(operation.issue.labels):
        _check_place(scope, f"after {_what(operation)} it", labels)
    title = _TITLE.match(_title(operation))
    if (
        title
        and scope.label
        and _title_is_set(operation)
        and name_key(title["competition"]) != scope.competition.casefold()
    ):
        raise IsolationViolationError(
            f"{_what(operation)}: its title names competition '{clean(title['competition'], limit=60)}', and"
            f" {_who(scope)}; allowed: [{scope.competition}] AGENT: TASK"
        )
    for name, competition, _ in scope.agents:
        if _gains_agent(operation, name) and competition and competition != scope.competition:
            raise IsolationViolationError(
                f"{_what(operation)}: agent {name} belongs to competition {competition}, and {_who(scope)}"
            )


def validate_operation_scope(operation: Operation, scope: Scope) -> None:
    """Raise ScopeViolationError where ``operation`` is not one that ``scope`` allows: wrong competition or agent."""
    done_for = operation.scope
    if (done_for.agent, done_for.competition) != (scope.agent, scope.competition):
        raise ScopeViolationError(
            f"{_what(operation)} is done as agent '{clean(done_for.agent, limit=80)}' of competition"
            f" '{clean(done_for.competition, limit=80)}', and {_who(scope)}"
        )
    before = _keys(operation.issue.labels) if operation.issue is not None else frozenset[str]()
    after = _labels_after(operation)
    for lost in sorted(before - after):
        if scope.label and lost == name_key(scope.label):
            raise ScopeViolationError(
                f"{_what(operation)} would take its label '{clean(lost, limit=60)}' away; only an operator moves an"
                " Issue out of its competition"
            )
        if _is_agent(lost) and scope.agent and lost != name_key(scope.agent_label):
            raise ScopeViolationError(
                f"{_what(operation)} would take label '{clean(lost, limit=60)}' away, and agent {scope.agent} may only"
                " hand on what is its own"
            )
    title = _TITLE.match(_title(operation))
    agents = {label.removeprefix(AGENT) for label in after if _is_agent(label)}
    if title and agents and _title_is_set(operation) and name_key(title["agent"]) not in agents:
        raise ScopeViolationError(
            f"{_what(operation)}: its title names agent {title['agent']}, its labels {', '.join(sorted(agents))};"
            " allowed: the same in both"
        )
    _check_stages(operation, scope)


def _check_stages(operation: Operation, scope: Scope) -> None:
    order = {stage: place for place, stage in enumerate(scope.stages)}
    if scope.stage not in order:
        return
    for name, _, stage in scope.agents:
        if stage in order and order[stage] < order[scope.stage] and _gains_agent(operation, name):
            raise ScopeViolationError(
                f"{_what(operation)} would be for agent {name} of stage {stage}, which comes before {scope.stage}, the"
                f" stage of agent {scope.agent}; allowed: Issues for {', '.join(scope.stages[order[scope.stage] :])}"
            )


def _check_place(scope: Scope, what: str, labels: Iterable[str]) -> None:
    """Refuse ``labels`` that are not those of an Issue of the competition of ``scope``, and of no other."""
    mine = name_key(scope.label)
    others = {name_key(label): name for name, label in scope.others}
    keys = _keys(labels)
    for key in sorted(keys):
        if key != mine and (key in others or (key.startswith(COMPETITION) and (mine or others))):
            whose = others.get(key, key.removeprefix(COMPETITION))
            raise IsolationViolationError(
                f"{what} belongs to competition {clean(whose, limit=60)}, and {_who(scope)}; nothing was written"
            )
    if mine and mine not in keys:
        raise IsolationViolationError(
            f"{what} has no label '{clean(scope.label, limit=60)}', and {_who(scope)}; nothing was written"
        )


def _labels_after(operation: Operation) -> frozenset[str]:
    before = operation.issue.labels if operation.issue is not None else ()
    change = operation.change
    if isinstance(change, Draft):
        return _keys(change.labels)
    wanted = change.get("labels")
    after = _keys(before if wanted is None else _texts(wanted))
    return (after - _keys(_texts(change.get("remove")))) | _keys(_texts(change.get("add")))


def _gains_agent(operation: Operation, agent: str) -> bool:
    """Return whether ``operation`` makes an Issue one of ``agent``, which it was not before."""
    label = name_key(f"{AGENT}{agent}")
    had = operation.issue is not None and label in _keys(operation.issue.labels)
    return not had and label in _labels_after(operation)


def _title_is_set(operation: Operation) -> bool:
    return isinstance(operation.change, Draft) or operation.change.get("title") is not None


def _title(operation: Operation) -> str:
    change = operation.change
    return change.title if isinstance(change, Draft) else str(change.get("title") or "")


def _texts(value: object) -> tuple[str, ...]:
    """Return the labels that an operation names: a list of them, or one."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise UsageError(f"'{clean(str(value), limit=60)}' is no list of labels")
    return tuple(str(each) for each in value)


def _keys(labels: Iterable[str]) -> frozenset[str]:
    return frozenset(name_key(label) for label in labels)


def _is_agent(label: str) -> bool:
    return name_key(label).startswith(AGENT)


def _what(operation: Operation) -> str:
    what = clean(operation.kind, limit=40).removesuffix(" issue")
    return f"{what} of Issue {operation.issue.number}" if operation.issue is not None else what


def _who(scope: Scope) -> str:
    who = f"agent {scope.agent}" if scope.agent else "who works here"
    return f"{who} works for {scope.competition}" if scope.competition else f"{who} works for no competition"


# -- after a violation


def in_right_context(
    work: Callable[[Scope | None], T],
    scope: Scope | None,
    right: Scope | None,
    escalate: Callable[[ScopeViolationError], object],
) -> T:
    """Do ``work`` in ``scope``; where it violates it, once more in the ``right`` one; then tell a human and raise.

    ``right`` is where the agent really belongs, as its supervisor registered it. ``escalate`` is called once, with the
    violation that stays; nothing was written by then.
    """
    try:
        return work(scope)
    except ScopeViolationError as violation:
        last = violation
        if right is not None and right != scope:
            try:
                return work(right)
            except ScopeViolationError as again:
                last = again
    escalate(last)
    raise last
