"""What is wrong with settings of which each by itself is right: contradictions, and what this version cannot do yet."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

from .config import CompetitionSettings, Settings, competition_settings, dependencies
from .lined_yaml import Path

Problem = tuple[Path, str]
"""Where, and what is wrong there and what is allowed."""


def contradictions(settings: Settings) -> Iterator[Problem]:
    """Yield names given twice, names that mean nothing, and agents that wait for each other."""
    yield from _twice(("checks",), [check.name for check in settings.checks])
    if settings.database is not None:
        yield from _twice(("database", "checks"), [check.name for check in settings.database.checks])
    known = [*settings.agents, *settings.stages]
    for name, agent in settings.agents.items():
        if agent.stage and agent.stage not in settings.stages:
            yield ("agents", name, "stage"), _not_among(agent.stage, "stage", settings.stages)
        for index, other in enumerate(agent.depends_on):
            if other not in known:
                yield ("agents", name, "depends_on", index), _not_among(other, "agent or stage", known)
    yield from _competitions(settings)
    try:
        TopologicalSorter(dependencies(settings)).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))  # graphlib names the one waited for first
        yield ("agents", circle[0], "depends_on"), f"goes in a circle: {' waits for '.join(circle)}; allowed: no circle"


def _competitions(settings: Settings) -> Iterator[Problem]:
    """Yield what would let one competition into another."""
    for name, agent in settings.agents.items():
        if agent.competition and settings.competitions and agent.competition not in settings.competitions:
            yield ("agents", name, "competition"), _not_among(agent.competition, "competition", settings.competitions)
    found: list[tuple[str, CompetitionSettings]] = []
    for name, given in settings.competitions.items():
        whole = competition_settings(settings, name)
        label, directory = whole.label or "", PurePosixPath(whole.directory or "")
        at: Path = ("competitions", name)
        if len(label) > _LONGEST_LABEL:
            place = at if given.label is None else (*at, "label")
            yield place, f"has label '{label}' of {len(label)} characters; allowed: {_LONGEST_LABEL}, as on GitHub"
        for other, its in found:
            if label.casefold() == (its.label or "").casefold():
                place = at if given.label is None else (*at, "label")
                yield place, f"has label '{label}', as competition {other}; allowed: a label of its own"
            there = PurePosixPath(its.directory or "")
            if directory.is_relative_to(there) or there.is_relative_to(directory):
                place = at if given.directory is None else (*at, "directory")
                yield place, f"is in {directory}, and competition {other} in {there}; allowed: a folder of its own"
        found.append((name, whole))


_LONGEST_LABEL = 50
"""Characters; GitHub refuses a longer one ("name is too long (maximum is 50 characters)")."""


def _twice(path: Path, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (*path, index, "name"), f"is '{name}', as of an earlier one; allowed: a name of its own"


def _not_among(name: str, what: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean '{near[0]}'? " if near else ""
    return f"'{name}' is no {what}; {meant}allowed: {', '.join(dict.fromkeys(known))}"


def unsupported(settings: Settings) -> Iterator[Problem]:
    """Yield the settings whose part of rollcage is not built yet: they must not be ignored in silence.

    This is the one list of them. Whoever builds a part takes its line away.
    """
    asked: tuple[tuple[Path, bool, str], ...] = (
        (("state_dir",), settings.state_dir is not None, "set the variable ROLLCAGE_STATE_DIR"),
        (("workflows",), bool(settings.workflows), "[]"),
        (("operators",), bool(settings.operators), "[]"),
        (("notify",), bool(settings.notify), "[]"),
        *((("agents", name, "match"), agent.match is not None, "null") for name, agent in settings.agents.items()),
    )
    for path, is_asked, allowed in asked:
        if is_asked:
            yield path, f"is not supported in this version yet; allowed: {allowed}"
