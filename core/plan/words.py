"""What an option says to people: the message of its commit, its side effects, what stands in its way, what it loses."""

from __future__ import annotations

from collections.abc import Sequence

from ..gitrepo.rehearse import Reversal
from ..model import Diagnosis, Incident, OptionType, RiskLevel, Suspect
from .facts import Facts

_NAMED = 3


def commit_message(incident: Incident, diagnosis: Diagnosis, targets: Sequence[str]) -> str:
    """Return the message of the commit that takes ``targets`` back."""
    known: dict[str, Suspect] = {suspect.sha: suspect for suspect in (*diagnosis.suspects, *diagnosis.culprits)}
    names = [f'{sha[:12]} "{known[sha].summary}"' if sha in known else sha[:12] for sha in targets]
    first = f"Take back {', '.join(names)}"
    body = [f"Incident {incident.id}: {incident.title}", diagnosis.root_cause]
    trailers = [f"Rollcage-Incident: {incident.id}", *(f"Rollcage-Takes-Back: {sha}" for sha in targets)]
    return "\n\n".join([first, "\n".join(line for line in body if line), "\n".join(trailers)]) + "\n"


def with_trailer(message: str, trailer: str) -> str:
    """Return ``message`` with one more trailer at its end."""
    return f"{message.rstrip()}\n{trailer}\n"


def why_not(reversal: Reversal, branch: str) -> tuple[str, ...]:
    """Return one line for each thing that keeps a commit from being taken back; empty: it applies."""
    if reversal.tree is not None and reversal.reason != "no_change":
        return ()
    target = reversal.targets[0][:12] if reversal.targets else "it"
    known = {
        "no_change": "nothing of it is left to take back",
        "unknown_commit": f"there is no commit {target}",
        "not_in_history": f"not every commit is in the history of {branch}",
        "unknown_parent": f"the history ends at {target}: get the rest with git fetch --unshallow",
        "merge_parent": f"{target} is a merge, and which parent {branch} was at before is not known: choose one",
    }
    if reversal.reason in known:
        return (known[reversal.reason], *reversal.conflicts)
    return reversal.conflicts or (f"it does not apply: {reversal.reason}",)


def side_effects(
    kind: OptionType, agents: Sequence[str], restarted: Sequence[str], branch: str, facts: Facts, obstacle: str
) -> tuple[str, ...]:
    """Return what else happens, or must be known, a line each."""
    effects = [f"{agent} is {'started again' if agent in restarted else 'stopped, and stays so'}" for agent in agents]
    effects.append("the other agents stand by until it is done")
    if kind is OptionType.RESTART_ONLY:
        return tuple(effects)
    effects.append(f"a new commit on {branch}")
    if facts.dependents:
        named = [f'{commit.sha[:12]} "{commit.summary}"' for commit in facts.dependents[:_NAMED]]
        effects.append(f"later commits changed the same files: {_listed(named, len(facts.dependents))}")
    if facts.edited:
        effects.append(f"merged with uncommitted edits: {_listed(facts.edited[:_NAMED], len(facts.edited))}")
    if facts.risk.pushed:
        effects.append("a remote has the bad commit already, and gets the new one only when it is pushed")
    if obstacle:
        effects.append(f"it cannot be published as things are: {obstacle}")
    return tuple(effects)


def loses(level: RiskLevel, lost_lines: int, lost_commits: int) -> str:
    """Return what would be lost, in the words that a CRITICAL approval must repeat; empty for any other level."""
    if level is not RiskLevel.CRITICAL:
        return ""
    parts = [_count(lost_commits, "commit")] * bool(lost_commits) + [_count(lost_lines, "line")] * bool(lost_lines)
    return f"lose {' and '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(named: Sequence[str], number: int) -> str:
    more = f" and {number - len(named)} more" if number > len(named) else ""
    return f"{', '.join(named)}{more}"
