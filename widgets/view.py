"""What panels are shown: the board, the time, and what the operator has picked on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..core.board import Board, IncidentView, OptionView, RollbackView
from ..core.model import ENDED_STATES, AgentStatus, RollbackState
from .spans import Line

NEWS_S = 900.0
"""So long an incident that has ended is still explained beside the fleet: 15 minutes. After that Enter shows it."""


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a console. What is picked is named by id; an id that is not on the board any more picks nothing."""

    board: Board
    now: datetime
    agent: str = ""
    incident: str = ""
    option: str = ""
    rollback: str = ""
    lock: str = ""
    """As `rollcage.widgets.locks.lock_key` names it."""

    @property
    def incident_view(self) -> IncidentView | None:
        """The incident picked, else the first one."""
        incidents = self.board.incidents
        return next(
            (view for view in incidents if view.incident.id == self.incident), incidents[0] if incidents else None
        )

    @property
    def recent(self) -> bool:
        """Whether the incident picked is open, or ended so short a time ago that its outcome is still news."""
        view = self.incident_view
        if view is None:
            return False
        closed = view.incident.closed
        return is_open(view) or closed is None or (self.now - closed).total_seconds() < NEWS_S

    @property
    def option_view(self) -> OptionView | None:
        """The option picked of that incident, else the best one."""
        view = self.incident_view
        options = view.options if view else ()
        return next((item for item in options if item.option.id == self.option), options[0] if options else None)

    @property
    def agent_status(self) -> AgentStatus | None:
        """The agent picked."""
        return next((status for status in self.board.agents if status.name == self.agent), None)

    @property
    def rollback_view(self) -> RollbackView | None:
        """The rollback picked, else the one that runs, else the newest of the incident, else the newest of all."""
        picked = find_rollback(self.board, self.rollback)
        if picked is not None:
            return picked
        running = next((view for view in self.board.rollbacks if view.rollback.state is RollbackState.RUNNING), None)
        if running is not None:
            return running
        incident = self.incident_view
        if incident is not None and incident.rollbacks:
            return max(incident.rollbacks, key=lambda view: view.rollback.started)
        return self.board.rollbacks[0] if self.board.rollbacks else None


class Panel(Protocol):
    """What a frame asks of the widgets in it."""

    def pick(self, view: View) -> View:
        """Take in what can be picked here; return the view with what is picked now."""
        ...

    def show(self, view: View) -> None:
        """Take in a new moment, after all panels have picked; repaint what differs."""

    def title(self) -> Line:
        """Return what stands in the frame above it."""
        ...

    def wanted(self) -> int:
        """Return how many lines it would fill; 0 where it has nothing to show."""
        ...


class Unpicking:
    """A panel in which nothing is picked that others depend on."""

    def pick(self, view: View) -> View:
        """See `Panel.pick`."""
        return view


def find_rollback(board: Board, rollback: str) -> RollbackView | None:
    """Return the rollback ``rollback``, if the board has it."""
    return next((view for view in board.rollbacks if view.rollback.id == rollback), None)


def find_option(board: Board, option: str) -> tuple[IncidentView, OptionView] | None:
    """Return the option ``option`` with its incident, if the board has it."""
    for view in board.incidents:
        for item in view.options:
            if item.option.id == option:
                return view, item
    return None


def find_incident(board: Board, incident: str) -> IncidentView | None:
    """Return the incident ``incident``, if the board has it."""
    return next((view for view in board.incidents if view.incident.id == incident), None)


def is_open(view: IncidentView) -> bool:
    """Return whether something is still to be done about an incident."""
    return view.incident.state not in ENDED_STATES


def running_rollback(board: Board) -> RollbackView | None:
    """Return the rollback that is being carried out, if any."""
    return next((view for view in board.rollbacks if view.rollback.state is RollbackState.RUNNING), None)


def undone_by(board: Board, rollback: str) -> RollbackView | None:
    """Return the undo of ``rollback`` that is running or done, if any, and that was not followed by a redo."""
    ended_badly = {RollbackState.UNDONE, RollbackState.FAILED}
    views: Sequence[RollbackView] = board.rollbacks
    newest = next((v for v in views if v.rollback.of == rollback and v.rollback.state not in ended_badly), None)
    return newest if newest is not None and newest.rollback.kind == "undo" else None
