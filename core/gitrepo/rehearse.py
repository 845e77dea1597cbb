"""Taking commits back, tried on objects: which tree would come out, what conflicts, what else would be lost."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .git import revision
from .mirror import Mirror
from .objects import read_trees
from .threeway import Merge, Merged, merge_trees
from .token_merge import tokens
from .ways import Way, read_head, read_series, ways_of, with_parents


@dataclass(frozen=True, slots=True)
class Reversal:
    """What taking ``targets`` back would give."""

    targets: tuple[str, ...]
    tree: str | None
    """The tree that results; None: it cannot be done, and ``reason`` says why."""
    conflicts: tuple[str, ...]
    """One readable line for each conflict, the path first."""
    reason: str
    """A code; empty: it applies. With a tree: ``no_change`` (nothing of it is left to take back). Without one:
    ``conflict``, ``unknown_commit``, ``not_in_history``, ``unknown_parent`` (the history ends here: a shallow clone),
    ``merge_parent`` (a merge, and which parent is the way back is not known: see ``alternatives``)."""
    parent: str = ""
    """The commit before the oldest target, to which it goes back; empty: none (a first commit), or not known."""
    alternatives: tuple[Reversal, ...] = ()
    """One for each parent of a merge whose way back is not known."""
    finely: tuple[str, ...] = ()
    """The files in which lines were merged by their words: `rollcage.core.gitrepo.finely`."""


def rehearse_reverts(
    mirror: Mirror, head: str, targets: Sequence[str], *, parents: Mapping[str, str] | None = None
) -> list[Reversal]:
    """Take each of ``targets`` back from ``head``, each on its own; the answers are in the order of the targets.

    ``parents`` names for a merge the parent that the branch pointed to before (`rollcage.core.gitrepo.history.
    branch_parent`). The number of git processes does not depend on the number of targets. Raises GitError if ``head``
    is unknown.
    """
    commits, head_tree = read_head(mirror, head, targets)
    ways = [ways_of(commits, target, parents or {}) for target in targets]
    merges = [Merge(way.base, head_tree, way.theirs) for found, _ in ways for way in found]
    outcomes = iter(merge_trees(mirror, merges, attributes_of=head_tree))
    return [
        _reversal(target, found, reason, [next(outcomes) for _ in found], head_tree)
        for target, (found, reason) in zip(targets, ways, strict=True)
    ]


def rehearse_series(
    mirror: Mirror, head: str, targets: Sequence[str], *, parents: Mapping[str, str] | None = None
) -> Reversal:
    """Take all of ``targets`` back from ``head`` together, the newest first, whatever order they are given in.

    Targets that directly follow one another are taken back in one step, which conflicts less than one by one. Each
    step takes two git processes. The first target that does not go decides ``reason``. Raises GitError.
    """
    series = read_series(mirror, head, targets, parents=parents)
    if series.reason:
        return Reversal(series.targets, None, (), series.reason)
    head_tree = series.head_tree
    tree, parent = head_tree, ""
    for step in series.steps:
        (merged,) = merge_trees(mirror, [Merge(step.base, tree, step.theirs)], attributes_of=head_tree)
        if merged.tree is None:
            return Reversal(series.targets, None, merged.conflicts, "conflict")
        tree, parent = merged.tree, step.parent
    return Reversal(series.targets, tree, (), "no_change" if tree == head_tree else "", parent)


def rehearse_onto(mirror: Mirror, tree: str, head: str, base: str) -> Reversal:
    """Bring the change from ``base`` to ``tree`` onto ``head``; each is the id of a commit or tree.

    For a branch that moved since ``tree`` was rehearsed on ``base``, and for undo and redo. Raises GitError.
    """
    theirs, ours, base_tree = read_trees(mirror, (tree, head, base))
    (merged,) = merge_trees(mirror, [Merge(base_tree, ours, theirs)], attributes_of=ours)
    if merged.tree is None:
        return Reversal((), None, merged.conflicts, "conflict")
    return Reversal((), merged.tree, (), "no_change" if merged.tree == ours else "")


def make_commit(mirror: Mirror, tree: str, parents: Sequence[str], message: str, at: datetime) -> str:
    """Write a commit of ours into the mirror and return its id; equal arguments give equal ids. Raises GitError."""
    moment = f"@{int(at.astimezone(UTC).timestamp())} +0000"
    arguments = [word for parent in parents for word in ("-p", revision(parent))]
    return mirror.git.text(
        "-c", "core.fsync=all", "commit-tree", *arguments, revision(tree), stdin=message.encode("utf-8", "replace"),
        env={"GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment},
    )  # fmt: skip


def lost_lines(
    mirror: Mirror,
    head: str,
    new_tree: str,
    targets: Sequence[str],
    *,
    parents: Mapping[str, str] | None = None,
    finely: Sequence[str] = (),
) -> int:
    """Return how many lines go from ``head`` to ``new_tree`` although the targets did not add them; see `lines_lost`.

    Raises GitError.
    """
    commits = with_parents(mirror, targets)
    ways = [way for target in targets for way in ways_of(commits, target, parents or {})[0]]
    return lines_lost(mirror, head, new_tree, ways, finely=finely)


def lines_lost(mirror: Mirror, head: str, new_tree: str, ways: Sequence[Way], *, finely: Sequence[str] = ()) -> int:
    """Return how many lines go from ``head`` to ``new_tree`` although they did not come by what ``ways`` take back.

    Lines are counted by their content within a file; a file that the targets knew by another name is found by what is
    left over. A binary file counts as one line. In the files ``finely`` lines were merged by words: one of which every
    word came from the targets or is in a line that comes instead is not lost. Raises GitError.
    """
    old, new = read_trees(mirror, (head, new_tree))
    gone = _changed_lines(mirror, [(old, new)], b"-")
    added = _changed_lines(mirror, [(way.theirs, way.base) for way in ways], b"+")
    words = _words(sum(added.values(), Counter[bytes]())) if finely else Counter[bytes]()
    come = _changed_lines(mirror, [(old, new)], b"+") if finely else {}
    lost = Counter[bytes]()
    for path, lines in gone.items():
        ours = added.get(path, Counter())
        left = lines - ours
        if path.decode("utf-8", "surrogateescape") in finely:
            left = _without_words(left, words + _words(come.get(path, Counter())))
        lost += left
        added[path] = ours - lines
    return (lost - sum(added.values(), Counter[bytes]())).total()


def _words(lines: Counter[bytes]) -> Counter[bytes]:
    return Counter(token for line in lines.elements() for token in tokens(line) if not token.isspace())


def _without_words(lines: Counter[bytes], words: Counter[bytes]) -> Counter[bytes]:
    """Return those of ``lines`` that cannot be made of ``words``, each of which serves once."""
    left = Counter[bytes]()
    for line in lines.elements():
        needed = _words(Counter([line]))
        if needed <= words:
            words = words - needed
        else:
            left[line] += 1
    return left


def _reversal(target: str, ways: Sequence[Way], reason: str, outcomes: Sequence[Merged], head_tree: str) -> Reversal:
    found = [_of_way(target, way, merged, head_tree) for way, merged in zip(ways, outcomes, strict=True)]
    if len(found) == 1:
        return found[0]
    if found and found[0].tree and all(other.tree == found[0].tree for other in found):
        return replace(found[0], parent="")  # whichever parent it was, the outcome is the same
    return Reversal((target,), None, (), reason, alternatives=tuple(found))


def _of_way(target: str, way: Way, merged: Merged, head_tree: str) -> Reversal:
    if merged.tree is None:
        return Reversal((target,), None, merged.conflicts, "conflict", way.parent)
    return Reversal((target,), merged.tree, (), "no_change" if merged.tree == head_tree else "", way.parent)


_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_BINARY = re.compile(rb"Binary files (.*) and (.*) differ")


def _changed_lines(mirror: Mirror, pairs: Sequence[tuple[str, str]], sign: bytes) -> dict[bytes, Counter[bytes]]:
    """Return the lines that go (``-``) or come (``+``) between the trees of each pair, by the file's path there."""
    if not pairs:
        return {}
    stdin = "".join(f"{old} {new}\n" for old, new in pairs).encode()
    lines = iter(
        mirror.git.run(
            "diff-tree",
            "--stdin",
            "-r",
            "-p",
            "-U0",
            "-M",
            "--no-prefix",
            "--no-ext-diff",
            "--no-textconv",
            stdin=stdin,
        ).out.split(b"\n")
    )
    header = sign * 3 + b" "
    changed: defaultdict[bytes, Counter[bytes]] = defaultdict(Counter)
    path = b""
    for line in lines:
        if line.startswith(header):
            path = line.removeprefix(header).removesuffix(b"\t")
        elif hunk := _HUNK.match(line):
            for _ in range(sum(int(count) if count is not None else 1 for count in hunk.groups())):
                body = next(lines)
                while body.startswith(b"\\"):
                    body = next(lines)
                if body.startswith(sign):
                    changed[path][body[1:]] += 1
        elif binary := _BINARY.fullmatch(line):
            path = binary[1 if sign == b"-" else 2]
            if path != b"/dev/null":
                changed[path][b"binary"] += 1
    return changed
