"""Partial clones (``--filter=blob:none``): objects that only the promisor remote has are brought into the mirror.

Only those of recent commits, which rehearsals read; and only into the mirror. Git is asked as it asks itself
(promisor-remote.c): a fetch of the ids, with the user's own configuration, which knows the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import GitError, RefusedError
from ..text import clean
from .git import Git
from .repository import Repository

if TYPE_CHECKING:
    from .mirror import Mirror

RECENT = 200
"""How many commits back, by default; `limits.lookback` is as many."""
_TIMEOUT_S = 300.0


def promisors(repository: Repository) -> list[str]:
    """Return the remotes that promised objects which are not here; empty: it is no partial clone."""
    asked = ("config", "--get-regexp", r"^remote\..*\.(promisor|partialclonefilter)$")
    out = repository.git.run(*asked, ok=(0, 1)).out.decode(errors="surrogateescape")
    keys = [line.split(" ")[0] for line in out.splitlines()]
    return sorted({key.removeprefix("remote.").rpartition(".")[0] for key in keys})


def missing(mirror: Mirror, commits: int = RECENT) -> list[str]:
    """Return the objects of the newest ``commits`` commits of all branches that neither repository nor mirror has."""
    git = mirror.repository.git
    tips = git.text("for-each-ref", "--format=%(objectname)", "refs/heads").split()
    if not tips:
        return []
    walk = ("rev-list", "--objects", "--missing=print", f"--max-count={commits}", "--stdin")
    out = mirror.git.text(*walk, stdin="".join(f"{tip}\n" for tip in tips).encode())
    return [line[1:] for line in out.splitlines() if line.startswith("?")]


def fill(mirror: Mirror, commits: int = RECENT) -> int:
    """Bring what is `missing` into the mirror; return how many objects. Changes nothing of the user's.

    Raises RefusedError ``partial_clone`` where they cannot be had.
    """
    repository = mirror.repository
    wanted = missing(mirror, commits)
    if not wanted:
        return 0
    git = Git(repository.git.directory, bare=repository.is_bare, with_hooks=True)
    objects = {
        "GIT_OBJECT_DIRECTORY": str(mirror.objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository.common_dir / "objects"),
    }
    quietly = ("-c", "fetch.negotiationAlgorithm=noop", "-c", "fetch.writeCommitGraph=false", "-c", "core.fsync=all")
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--refmap=", "--stdin")
    said = ""
    for remote in promisors(repository):
        lines = "".join(f"{oid}\n" for oid in wanted).encode()
        try:
            git.run(
                *quietly, "fetch", *options, "--recurse-submodules=no", "--filter=blob:none", "--", remote,
                stdin=lines, env=objects, timeout=_TIMEOUT_S,
            )  # fmt: skip
        except GitError as error:
            said = clean(error.stderr or str(error), limit=200)
        left = missing(mirror, commits)
        if not left:
            return len(wanted)
    raise RefusedError(
        "partial_clone",
        f"this is a partial clone, and {len(wanted)} objects of the newest {commits} commits cannot be had from its "
        f"remote{f' ({said})' if said else ''}: connect, or make it whole with git fetch --refetch --no-filter",
    )
