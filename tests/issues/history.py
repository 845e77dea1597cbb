"""What agents tell of what they did, and whether the Issues that are there in the end can have come of it.

Each agent writes a line before it acts and one when it knows how it ended. ``ack``: it is done, and nothing may be
missing; ``no``: it was refused, and nothing may be left; ``unknown``, or no second line since the process was killed:
done whole or not at all. The check is that of a set (Jepsen's set test): every element that was acknowledged is there,
each once, and none that was refused. Sources: https://jepsen.io/analyses, K. Kingsbury, knossos and elle.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNTER = re.compile(r"counter (\d+)")
FOREIGN = frozenset({"comp:other"})


class Log:
    """One process's history: lines that are whole, in one write each."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, operation: str, phase: str, **told: object) -> None:
        """Write a line; after it, a kill takes it back no more."""
        os.write(self._descriptor, (json.dumps({"id": operation, "phase": phase, **told}) + "\n").encode())


@dataclass
class Done:
    """One operation: what it was to do, and how it ended."""

    id: str
    kind: str
    told: Mapping[str, Any]
    phase: str = "unknown"
    result: Mapping[str, Any] = field(default_factory=dict)


def read(folder: Path) -> list[Done]:
    """Return the operations of all processes, each process's in its order."""
    found: dict[str, Done] = {}
    for path in sorted(folder.iterdir()):
        for line in path.read_text().splitlines():
            told = json.loads(line)
            if told["phase"] == "begin":
                found[told["id"]] = Done(told["id"], told["kind"], told)
            else:
                found[told["id"]].phase, found[told["id"]].result = told["phase"], told
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Truth:
    """An Issue as it really is at the end."""

    number: int
    title: str
    body: str
    state: str
    labels: frozenset[str]
    comments: tuple[str, ...] = ()


def verdict(history: Sequence[Done], issues: Iterable[Truth]) -> list[str]:
    """Return what cannot be; nothing: all is well."""
    now = {issue.number: issue for issue in issues}
    return [
        *_lines(history, now),
        *_comments(history, now),
        *_labels(history, now),
        *_counters(history, now),
        *_creations(history, now),
        *_batches(history, now),
        *_strays(history, now),
        *(f"{each.id}: {each.kind}: {each.result['why']}" for each in history if each.phase == "bad"),
    ]


def _fits(phase: str, count: int) -> str:
    """Return why an element that should be there once is not there as it should; empty: it is."""
    if count > 1:
        return f"is there {count} times"
    if phase == "ack" and count == 0:
        return "was acknowledged and is lost"
    if phase == "no" and count == 1:
        return "was refused and is there"
    return ""


def _lines(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    there = {number: Counter(issue.body.replace("\r\n", "\n").split("\n")) for number, issue in now.items()}
    for each in history:
        if each.kind == "line" and (why := _fits(each.phase, there[each.told["issue"]][each.told["text"]])):
            yield f"{each.id}: line of Issue {each.told['issue']} {why}"


def _comments(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    for each in history:
        if each.kind == "comment":
            count = sum(each.told["text"] in text for text in now[each.told["issue"]].comments)
            if why := _fits(each.phase, count):
                yield f"{each.id}: comment on Issue {each.told['issue']} {why}"


def _labels(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    """Check labels that only one agent writes, one operation after the other: the last one that counts decides."""
    written: defaultdict[tuple[int, str], list[Done]] = defaultdict(list)
    for each in history:
        if each.kind == "label":
            written[each.told["issue"], each.told["name"]].append(each)
    for (number, name), operations in written.items():
        may = {False}
        for each in operations:
            if each.phase == "ack":
                may = {each.told["on"]}
            elif each.phase == "unknown":
                may |= {each.told["on"]}
        if (name in now[number].labels) not in may:
            yield f"{operations[-1].id}: label {name} of Issue {number} is {'not ' if True in may else ''}there"


def _counters(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    counted: defaultdict[int, list[Done]] = defaultdict(list)
    for each in history:
        if each.kind == "count":
            counted[each.told["issue"]].append(each)
    for number, operations in counted.items():
        found = COUNTER.search(now[number].title)
        final = int(found[1]) if found else -1
        acked = [each.told["to"] for each in operations if each.phase == "ack"]
        unknown = sum(1 for each in operations if each.phase == "unknown")
        if len(set(acked)) < len(acked):
            twice = sorted(value for value, times in Counter(acked).items() if times > 1)
            yield f"counter of Issue {number}: lost updates: {twice} were counted by two"
        if not len(acked) <= final <= len(acked) + unknown:
            yield f"counter of Issue {number} is {final}; {len(acked)} were acknowledged, {unknown} are not known"


def _creations(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    wanted: defaultdict[str, list[Done]] = defaultdict(list)
    for each in history:
        if each.kind == "create":
            wanted[each.told["title"]].append(each)
    for title, operations in wanted.items():
        numbers = sorted(issue.number for issue in now.values() if issue.state == "open" and issue.title == title)
        acked = {each.result["number"] for each in operations if each.phase == "ack"}
        made = [each.id for each in operations if each.phase == "ack" and each.result["created"]]
        if len(numbers) > 1:
            yield f"'{title}' is there {len(numbers)} times: {numbers}"
        if acked and acked != set(numbers):
            yield f"'{title}' was acknowledged as {sorted(acked)} and is there as {numbers}"
        if len(made) > 1:
            yield f"'{title}' was created by {made}"
        if numbers and all(each.phase == "no" for each in operations):
            yield f"'{title}' was refused and is there as {numbers}"


def _batches(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    for each in history:
        if each.kind != "batch":
            continue
        parts = {
            **{f"label {name} of {number}": name in now[number].labels for number, name in each.told.get("labels", ())},
            **{
                f"comment on {number}": any(text in each for each in now[number].comments)
                for number, text in each.told.get("comments", ())
            },
            **{f"line of {number}": text in now[number].body for number, text in each.told.get("lines", ())},
            **{
                f"'{title}'": any(issue.state == "open" and issue.title == title for issue in now.values())
                for title in each.told.get("titles", ())
            },
        }
        there = [part for part, is_there in parts.items() if is_there]
        if 0 < len(there) < len(parts):
            yield f"{each.id}: HALF A BATCH ({each.phase}): there: {', '.join(there)}; of {', '.join(parts)}"
        elif each.phase == "ack" and not there:
            yield f"{each.id}: a batch was acknowledged and is lost"
        elif each.phase == "no" and there:
            yield f"{each.id}: a batch was refused and is there"


def _strays(history: Sequence[Done], now: Mapping[int, Truth]) -> Iterable[str]:
    """Check that nothing was written outside of competition `shop`: one Issue is of `other`, and it is untouched."""
    for each in history:
        if each.kind == "stray" and (each.phase == "ack" or (each.phase == "unknown" and each.result)):
            yield f"{each.id}: a misdirected operation ({each.told['way']}) ended so: {each.phase}, {each.result}"
    for issue in now.values():
        if "comp:other" in issue.labels and issue != Truth(issue.number, "of others", "", "open", FOREIGN):
            yield f"Issue {issue.number} of another competition was written to: {issue}"
        if not issue.labels & {"comp:shop", "comp:other"} or {"comp:shop", "comp:other"} <= issue.labels:
            yield f"Issue {issue.number} was led out of its competition: {sorted(issue.labels)}"


def overwritten(versions: Sequence[tuple[str, str]], told: Iterable[str]) -> list[str]:
    """Return the lines of others that rollcage's account, ``bot``, wrote over and that nobody was told of.

    ``versions`` are a body's editors and texts, oldest first; ``told`` are the texts that conflicts showed. Agents of
    a storm only append: so a line of others that is missing after one of their writes was there unseen. That it came
    back later is as good.
    """
    lost, shown, foreign = [], "\n".join(told), set[str]()
    for place in range(1, len(versions)):
        (_, before), (editor, body) = versions[place - 1 : place + 1]
        if editor != "bot":
            foreign |= set(body.split("\n")) - set(before.split("\n"))
            continue
        gone = (set(before.split("\n")) - set(body.split("\n"))) & foreign
        later = {line for _, text in versions[place + 1 :] for line in text.split("\n")}
        lost += [f"'{line}' was overwritten and nobody was told" for line in gone - later if line not in shown]
    return lost
