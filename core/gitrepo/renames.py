"""Files that a publication renames: local work on one goes along to its new name where it merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .entries import Change, index_info
from .view import View


def renamed(view: View, changes: Sequence[Change]) -> Mapping[bytes, Change]:
    """Return by the old path of each renamed file what was added under its new one; as git finds renames.

    Only regular files that go from one name to one other. Raises GitError.
    """
    gone = {change.path: change for change in changes if change.old and change.new is None and change.old.is_regular}
    new = {change.path: change for change in changes if change.old is None and change.new and change.new.is_regular}
    if not gone or not new:
        return {}
    git = view.mirror.git
    trees = []
    for name, entries in (
        ("gone", {path: change.old for path, change in gone.items()}),
        ("new", {path: change.new for path, change in new.items()}),
    ):
        index = {"GIT_INDEX_FILE": str(view.scratch / f"renames-{name}")}
        lines = index_info(((path, entry, 0) for path, entry in entries.items()), view.nothing)
        git.run("update-index", "-z", "--index-info", stdin=lines, env=index)
        trees.append(git.text("write-tree", env=index))
    fields = git.run("diff-tree", "-r", "-z", "-M", "--diff-filter=R", "--name-status", *trees, "--").out.split(b"\0")
    pairs = list(zip(fields[1::3], fields[2::3], strict=True))
    return {old: new[name] for old, name in pairs}
