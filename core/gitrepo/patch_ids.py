"""What a change is, whoever commits it and wherever it lands: its patch id (git-patch-id(1), the stable one)."""

from __future__ import annotations

from collections.abc import Sequence

from .git import revision
from .mirror import Mirror

_PATCH = ("--no-ext-diff", "--no-textconv", "--no-renames", "--full-index")
_BIG_FILE = "core.bigFileThreshold=5m"
_LITERALLY = {"GIT_LITERAL_PATHSPECS": "1"}
MOST_PATHS = 500
"""Of more files than that a patch is compared as a whole."""


def patch_id(mirror: Mirror, old: str, new: str, paths: Sequence[str] = ()) -> str:
    """Return the id of what changes in ``paths`` (none: all) from one commit or tree to another; empty: nothing does.

    Line numbers and white space do not count. Raises GitError.
    """
    out = mirror.git.run(
        "-c", _BIG_FILE, "diff-tree", "-r", "-p", *_PATCH, revision(old), revision(new), "--", *_limit(paths),
        env=_LITERALLY,
    ).out  # fmt: skip
    return mirror.git.text("patch-id", "--stable", stdin=out).partition(" ")[0]


def patch_ids_since(
    mirror: Mirror, since: str, tip: str, paths: Sequence[str] = (), limit: int = 300
) -> dict[str, str]:
    """Return the commits, by patch id, that ``tip`` reaches and ``since`` does not and that change ``paths``.

    The newest ``limit`` of them, merges left out: they bring nothing of their own. Raises GitError.
    """
    out = mirror.git.run(
        "-c", _BIG_FILE, "log", "-p", *_PATCH, "--no-merges", f"--max-count={limit}", "--format=commit %H",
        revision(tip), f"^{revision(since)}", "--", *_limit(paths),
        env=_LITERALLY,
    ).out  # fmt: skip
    lines = mirror.git.text("patch-id", "--stable", stdin=out).splitlines() if out else []
    return {known: sha for known, _, sha in (line.partition(" ") for line in lines)}


def _limit(paths: Sequence[str]) -> Sequence[str]:
    return paths if len(paths) <= MOST_PATHS else ()
