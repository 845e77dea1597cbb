"""``health``: how the whole is, for people, programs and monitors."""

from __future__ import annotations

import click

from ...core.detect.rules import rules, show
from ...core.errors import ExitCode
from ...core.model import AgentStatus, Health
from ..context import Context
from ..options import json_option
from ..output import Column, moment, write_json, write_line, write_list

_EXIT_CODES = {Health.HEALTHY: ExitCode.DONE, Health.WARNING: ExitCode.WAITING, Health.CRITICAL: ExitCode.ESCALATED}


def _measured(value: float | None, unit: str) -> str:
    return "" if value is None else show(value, unit)


AGENT_COLUMNS: tuple[Column[AgentStatus], ...] = (
    Column("agent", lambda agent: agent.name),
    Column("stage", lambda agent: agent.stage),
    Column("state", lambda agent: agent.state),
    Column("hold", lambda agent: agent.hold),
    Column("health", lambda agent: agent.health),
    Column("cpu", lambda agent: _measured(agent.cpu, "share"), right=True),
    Column("memory", lambda agent: _measured(agent.memory, "B"), right=True),
    Column("errors", lambda agent: _measured(agent.error_rate, "share"), right=True),
    Column("pid", lambda agent: agent.pid, right=True),
    Column("seen", lambda agent: agent.seen),
)


@click.command()
@json_option("The SystemHealthReport as one JSON object.")
@click.pass_obj
def health(context: Context, as_json: bool) -> int:
    """Report how the fleet is. Exit code: 0 HEALTHY, 3 WARNING, 4 CRITICAL."""
    from ...core.codec import to_json
    from ...core.status import health_report

    report = health_report(context.view, context.clock.now())
    if as_json:
        write_json({"event": "health", **to_json(report)})
        return _EXIT_CODES[report.overall_status]
    engine = context.engine()
    write_line(f"{report.overall_status}  {moment(report.timestamp)}  engine: {engine or 'none runs'}")
    units = {
        "memory_usage": "B",
        "cpu": "share",
        **{rule.metric: rule.unit for rule in rules(context.settings).metrics},
    }
    for title, figures in (("performance", report.performance_metrics), ("quality", report.quality_metrics)):
        for name, value in figures.items():
            write_line(f"  {title}  {name}  {show(value, units.get(name.rpartition('.')[2], ''))}")
    write_list(report.agent_statuses, AGENT_COLUMNS, as_json=False, body=to_json, empty="no agents")
    for recommendation in report.recommendations:
        write_line(f"→ {recommendation}")
    return _EXIT_CODES[report.overall_status]
