"""Why: what is known of an incident, from its findings to its culprit, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.board import IncidentView
from ..core.model import EVERYBODY, Diagnosis, IncidentState, Reach, Suspect, Verdict
from . import figures
from .line_view import TextLines
from .marks import incident_mark, severity_mark
from .spans import Line, Span, cut_line, line, wrap
from .view import Unpicking, View, is_open

LABEL = 10
SUSPECTS = 8
"""Of those who may have done it so many are shown; rollcage show lists them all."""
REACHED = 8
"""Of what the trouble reaches so many of each kind are named."""
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
    waits = incident.state is IncidentState.WAITING  # its note only says for whom
    note = labelled("note", incident.note, cells) if incident.note else []
    if not waits:
        yield from note
    if diagnosis is None:
        since = f"{figures.day_and_clock(incident.since, moment.now)}, {figures.since(incident.since, moment.now)} ago"
        yield from labelled("since", since, cells)
    else:
        yield from _diagnosed(diagnosis, cells)
    if waits:
        yield from note
    for finding in incident.findings:
        text = f"{figures.clock(finding.at)} {finding.summary}{' (over)' if finding.ended else ''}"
        yield from labelled("finding", text, cells, "muted" if finding.ended else "")
    if diagnosis is not None:
        yield from _effort(diagnosis, cells)


def _diagnosed(diagnosis: Diagnosis, cells: int) -> Iterator[Line]:
    """Yield who did it and why, how sure that is, how far it reaches, and who else may have done it."""
    verdict = _VERDICTS[diagnosis.verdict]
    sure = Span(f", confidence {diagnosis.confidence:.2f}")
    advice = [
        cut_line((Span("verdict".ljust(LABEL), "muted"), verdict, sure), cells),
        *(part for reason in diagnosis.reasons for part in labelled("", reason, cells)),
    ]
    cause = labelled("cause", diagnosis.root_cause or figures.UNKNOWN, cells)
    culprits = diagnosis.culprits
    if len(culprits) == 1:
        yield from suspect_lines("culprit", culprits[0], cells)
        yield from cause
    elif culprits:
        for place, culprit in enumerate(culprits):
            yield suspect_line("" if place else "culprits", culprit, cells)
        yield from cause
        for culprit in culprits:
            for place, text in enumerate(culprit.evidence):
                yield from labelled("" if place else figures.short(culprit.sha), text, cells)
    else:
        yield from advice
        yield from cause
    if culprits:
        yield from advice
    onset = f"; the trouble began {figures.clock(diagnosis.onset)}" if diagnosis.onset else ""
    yield from labelled("last good", f"{figures.short(diagnosis.last_good)}{onset}", cells)
    yield from _reach(diagnosis.reach, cells)
    shown = {culprit.sha for culprit in culprits}
    others = [suspect for suspect in diagnosis.suspects if suspect.sha not in shown]
    for suspect in others[:SUSPECTS]:
        yield from suspect_lines("suspect", suspect, cells)
    if len(others) > SUSPECTS:
        yield from labelled("", f"and {len(others) - SUSPECTS:,} that are less likely", cells, "muted")


def _reach(reach: Reach, cells: int) -> Iterator[Line]:
    label = "reach"
    for names, one in (
        (reach.files, "file"),
        (reach.agents, "agent"),
        (reach.tables, "table"),
        (reach.handovers, "unfinished hand-over"),
        (reach.locks, "lock"),
    ):
        if names:
            more = f" and {len(names) - REACHED} more" if len(names) > REACHED else ""
            text = f"{figures.count(len(names), one)}: {', '.join(names[:REACHED])}{more}"
            yield from labelled(label, text, cells)
            label = ""


def _effort(diagnosis: Diagnosis, cells: int) -> Iterator[Line]:
    runs = diagnosis.check_runs
    text = (
        f"{runs.search} runs to search, {runs.confirm} to confirm, {runs.rehearse} to rehearse, "
        f"in {figures.duration(diagnosis.duration_s)}"
    )
    yield from labelled("checked", text, cells, "muted")


def suspect_line(label: str, suspect: Suspect, cells: int) -> Line:
    """Return a commit that may have done it, in one line."""
    summary = f' "{suspect.summary}"' if suspect.summary else ""
    return cut_line(
        (
            Span(label.ljust(LABEL), "muted"),
            Span(figures.short(suspect.sha), "accent"),
            Span(f" {suspect.probability:.2f}", "strong"),
            Span(f"  {suspect.agent or 'nobody known'}"),
            Span(summary, "muted"),
        ),
        cells,
    )


def suspect_lines(label: str, suspect: Suspect, cells: int) -> Iterator[Line]:
    """Yield a commit that may have done it, and below it why."""
    yield suspect_line(label, suspect, cells)
    for text in suspect.evidence:
        yield from labelled("", text, cells)
