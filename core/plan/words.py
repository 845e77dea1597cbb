"""What an option says to people: the message of its commit, its side effects, what stands in its way, what it loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RefusedError
from ..gitrepo.rehearse import Reversal
from ..model import Diagnosis, Incident, OptionType, RiskLevel, Suspect
from .facts import Facts
from .made import Made
from .wishes import Wish

_NAMED = 3
_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Push:
    """Whether the branch is sent to a remote."""

    remote: str
    """Empty: there is none."""
    setting: str
    """``ask``, ``auto`` or ``never``."""
    wanted: bool = False
    """The plan has the step."""


def commit_message(incident: Incident, diagnosis: Diagnosis, wish: Wish, made: Made | None = None) -> str:
    """Return the message of the commit that carries ``wish`` out: what, why, and for which incident.

    With ``made`` it says what came of the rehearsal as well: what was made again, which parts it is.
    """
    known: dict[str, Suspect] = {suspect.sha: suspect for suspect in (*diagnosis.suspects, *diagnosis.culprits)}
    names = [f'{sha[:12]} "{known[sha].summary}"' if sha in known else sha[:12] for sha in wish.targets]
    goal = made.goal[:12] if made and made.goal else ""
    details: list[str] = []
    verb = "Takes-Back"
    match wish.type:
        case OptionType.FILE_SELECTIVE:
            first, verb = f"Take back part of {', '.join(names)}", "Takes-Back-Part-Of"
            details = _item_lines("What goes", made.parts if made else ())
        case OptionType.FULL_AGENT_RESET:
            who = _listed(wish.reset[:_NAMED], len(wish.reset)) or "an agent"
            first = f"Take back what {who} did since all was well: {_count(len(names), 'commit')}"
            details = _item_lines("What goes", names)
        case OptionType.BRANCH_RESET:
            first = f"Go back to {goal or 'the last good state'}, without {_listed(names[:_NAMED], len(names))}"
            details = _item_lines("Made again", [sha[:12] for sha in made.keeps] if made else ())
        case _:
            first = f"Take back {', '.join(names)}"
    body = [f"Incident {incident.id}: {incident.title}", diagnosis.root_cause]
    trailers = [f"Rollcage-Incident: {incident.id}", *(f"Rollcage-{verb}: {sha}" for sha in wish.targets)]
    blocks = [first, "\n".join(line for line in body if line), "\n".join(details), "\n".join(trailers)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _item_lines(title: str, items: Sequence[str]) -> list[str]:
    more = [f"- and {len(items) - _MOST_LISTED} more"] * (len(items) > _MOST_LISTED)
    return [f"{title}:", *(f"- {item}" for item in items[:_MOST_LISTED]), *more] if items else []


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
        "unknown_part": "the commits have no such part",
        "merge_parent": f"{target} is a merge, and which parent {branch} was at before is not known: choose one",
    }
    if reversal.reason in known:
        return (known[reversal.reason], *reversal.conflicts)
    return reversal.conflicts or (f"it does not apply: {reversal.reason}",)


def side_effects(
    wish: Wish,
    agents: Sequence[str],
    restarted: Sequence[str],
    branch: str,
    *,
    made: Made,
    facts: Facts,
    push: Push,
    data: str,
    obstacle: RefusedError | None,
) -> tuple[str, ...]:
    """Return what else happens, or must be known, a line each."""
    effects = [f"{agent} is {'started again' if agent in restarted else 'stopped, and stays so'}" for agent in agents]
    effects.append("the other agents stand by until it is done")
    if wish.type is OptionType.RESTART_ONLY:
        return tuple(effects)
    effects += _on_the_branch(wish, branch, made)
    if facts.lost_commits:
        named = [sha[:12] for sha in facts.lost_commits[:_NAMED]]
        effects.append(f"lost with it, though nobody blamed them: {_listed(named, len(facts.lost_commits))}")
    if facts.risk.lost_lines:
        effects.append(f"lost with it: {_count(facts.risk.lost_lines, 'line')} that the bad commits did not bring")
    effects += [f"it goes though it is wanted: {each}" for each in facts.needed[:_NAMED]]
    if facts.dependents:
        named = [f'{commit.sha[:12]} "{commit.summary}"' for commit in facts.dependents[:_NAMED]]
        effects.append(f"later commits changed the same files: {_listed(named, len(facts.dependents))}")
    if facts.tests:
        effects.append(f"tests or settings of checks are changed by it: {_some(facts.tests)}")
    if facts.edited:
        effects.append(f"merged with uncommitted edits: {_some(facts.edited)}")
    if data != "nothing":
        effects.append(f"database: {data}")
    effects += _about_the_remote(wish, branch, push, pushed=bool(facts.risk.pushed))
    if obstacle is not None:
        effects.append(f"it cannot be published as things are: {obstacle}")
    return tuple(effects)


def _on_the_branch(wish: Wish, branch: str, made: Made) -> list[str]:
    goal = made.goal[:12]
    if wish.rewrite:
        return [f"{branch} itself moves back to {goal}: whoever has the newer commits must take it over by hand"]
    effects = [f"a new commit on {branch}"]
    if wish.type is OptionType.BRANCH_RESET and made.tree is not None:
        again = f", with {_count(len(made.keeps), 'later commit')} made again" if made.keeps else ""
        effects.append(f"everything is as in {goal}{again}")
        effects += made.conflicts[:_NAMED]
    if wish.type is OptionType.FILE_SELECTIVE and made.parts:
        effects.append(f"only these parts go: {_some(made.parts)}; the rest of the commit stays")
    effects += [f"{agent}'s locks, messages, hand-overs and own branches are taken back too" for agent in wish.reset]
    return effects


def _about_the_remote(wish: Wish, branch: str, push: Push, *, pushed: bool) -> list[str]:
    lease = " under a lease on what it has" if wish.rewrite else ""
    if push.wanted:
        return [f"{branch} is sent to {push.remote}{lease}"]
    if pushed:
        return ["a remote has the bad commit already, and gets the new one only when it is pushed"]
    if push.remote and push.setting == "ask":
        return [f"{push.remote} gets it only when it is pushed"]
    return []


def loses(level: RiskLevel, lost_lines: int, lost_commits: int, *, rewritten: bool = False) -> str:
    """Return what would be lost, in the words that a CRITICAL approval must repeat; empty for any other level."""
    if level is not RiskLevel.CRITICAL:
        return ""
    parts = [_count(lost_commits, "commit")] * bool(lost_commits) + [_count(lost_lines, "line")] * bool(lost_lines)
    words = [f"lose {' and '.join(parts)}"] * bool(parts)
    return " and ".join(["rewrite history"] * rewritten + words)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(items: Sequence[str]) -> str:
    return _listed(items[:_NAMED], len(items))


def _listed(named: Sequence[str], number: int) -> str:
    more = f" and {number - len(named)} more" if number > len(named) else ""
    return f"{', '.join(named)}{more}"
