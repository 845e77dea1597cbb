"""Why: what is known of an incident, from its findings to its culprit, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.board import IncidentView
from ..core.model import EVERYBODY, Diagnosis, Suspect, Verdict
from . import figures
from .line_view import TextLines
from .marks import incident_mark, severity_mark
from .spans import Line, Span, cut_line, line, wrap
from .view import Unpicking, View, is_open

LABEL = 10
SUSPECTS = 8
"""Of those who may have done it so many are shown; rollcage show lists them all."""
_VERDICTS = {
    Verdict.ACT: Span("act", "ok"),
    Verdict.ASK: Span("ask", "warning"),
    Verdict.CANNOT_TELL: Span("cannot tell", "warning"),
}


class EvidencePanel(Unpicking, TextLines):
    """The diagnosis of the incident picked."""

    def __init__(self, *, id: str = "evidence", always: bool = False) -> None:  # noqa: A002 - Textual's word
        """Take the id, and whether it is shown however long ago the incident ended."""
        super().__init__(id=id, focusable=True)
        self._always = always
        self._view: View | None = None

    def show(self, view: View) -> None:
        """See `Panel.show`."""
        self._view = view
        self._draw()

    def on_resize(self, event: object) -> None:
        """Wrap for the new width."""
        self._draw()

    def _draw(self) -> None:
        picked = self._view.incident_view if self._view else None
        if self._view is None or picked is None:
            self.show_lines([line("no incident is picked", "muted")])
        else:
            self.show_lines(list(evidence_lines(picked, self._view, self.cells or 40)))

    def title(self) -> Line:
        """See `Panel.title`."""
        picked = self._view.incident_view if self._view else None
        if picked is None:
            return (Span("Why"),)
        return (Span(f"Why {picked.incident.id}"), Span("  ", "muted"), incident_mark(picked.incident).span)

    def wanted(self) -> int:
        """See `Panel.wanted`."""
        return self.total() if self._view and (self._view.recent or self._always) else 0


def labelled(label: str, text: str, cells: int, style: str = "", *, indent: int = LABEL) -> list[Line]:
    """Return ``label`` and ``text`` beside it, wrapped."""
    return [
        (Span((label if place == 0 else "").ljust(indent), "muted"), Span(part, style))
        for place, part in enumerate(wrap(text, max(cells - indent, 8)))
    ]


def evidence_lines(view: IncidentView, moment: View, cells: int) -> Iterator[Line]:
    """Yield what is known of an incident, most telling first."""
    incident, diagnosis = view.incident, view.diagnosis
    who = incident.agent if incident.agent != EVERYBODY else "no single agent"
    head = (
        severity_mark(incident.severity).dot if is_open(view) else incident_mark(incident).dot,
        Span(f" {incident.title}", "strong"),
        Span(f"  {who}"),
    )
    yield cut_line(head, cells)
    if view.activity:
        yield from labelled("now", view.activity, cells, "info")
    if incident.note:
        yield from labelled("note", incident.note, cells)
    if diagnosis is None:
        since = f"{figures.day_and_clock(incident.since, moment.now)}, {figures.since(incident.since, moment.now)} ago"
        yield from labelled("since", since, cells)
        for finding in incident.findings:
            text = f"{finding.summary}{' (over)' if finding.ended else ''}"
            yield from labelled("finding", text, cells, "muted" if finding.ended else "")
        return
    yield from _diagnosed(diagnosis, cells)
    for finding in incident.findings:
        text = f"{figures.clock(finding.at)} {finding.summary}{' (over)' if finding.ended else ''}"
        yield from labelled("finding", text, cells, "muted" if finding.ended else "")


def _diagnosed(diagnosis: Diagnosis, cells: int) -> Iterator[Line]:
    yield from labelled("cause", diagnosis.root_cause or figures.UNKNOWN, cells)
    for culprit in diagnosis.culprits:
        yield from suspect_lines("culprit", culprit, cells)
    onset = f"; the trouble began {figures.clock(diagnosis.onset)}" if diagnosis.onset else ""
    yield from labelled("last good", f"{figures.short(diagnosis.last_good)}{onset}", cells)
    shown = {culprit.sha for culprit in diagnosis.culprits}
    others = [suspect for suspect in diagnosis.suspects if suspect.sha not in shown]
    for suspect in others[:SUSPECTS]:
        yield from suspect_lines("suspect", suspect, cells)
    if len(others) > SUSPECTS:
        yield from labelled("", f"and {len(others) - SUSPECTS:,} that are less likely", cells, "muted")
    verdict = _VERDICTS[diagnosis.verdict]
    sure = f", confidence {diagnosis.confidence:.2f}"
    yield cut_line((Span("verdict".ljust(LABEL), "muted"), verdict, Span(sure)), cells)
    for reason in diagnosis.reasons:
        yield from labelled("", reason, cells)
    reach = diagnosis.reach
    parts = [
        figures.count(len(names), one)
        for names, one in (
            (reach.files, "file"),
            (reach.agents, "agent"),
            (reach.tables, "table"),
            (reach.handovers, "unfinished hand-over"),
            (reach.locks, "lock"),
        )
        if names
    ]
    if parts:
        named = ", ".join([*reach.files, *reach.agents, *reach.tables, *reach.handovers, *reach.locks])
        yield from labelled("reach", f"{', '.join(parts)}: {named}", cells)
    runs = diagnosis.check_runs
    yield from labelled(
        "checked",
        f"{runs.search} runs to search, {runs.confirm} to confirm, {runs.rehearse} to rehearse, "
        f"in {figures.duration(diagnosis.duration_s)}",
        cells,
        "muted",
    )


def suspect_lines(label: str, suspect: Suspect, cells: int) -> Iterator[Line]:
    """Yield a commit that may have done it, and below it why."""
    summary = f' "{suspect.summary}"' if suspect.summary else ""
    yield cut_line(
        (
            Span(label.ljust(LABEL), "muted"),
            Span(figures.short(suspect.sha), "accent"),
            Span(f" {suspect.probability:.2f}", "strong"),
            Span(f"  {suspect.agent or 'nobody known'}"),
            Span(summary, "muted"),
        ),
        cells,
    )
    for text in suspect.evidence:
        yield from labelled("", text, cells)
