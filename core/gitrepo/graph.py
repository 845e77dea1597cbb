"""The shape of a history: commits with their trees and parents, many by one git process, and where a branch was."""

from __future__ import annotations

from .git import revision
from .mirror import Mirror
from .objects import CommitObject
from .repository import Repository


def read_graph(mirror: Mirror, head: str, *, limit: int) -> list[CommitObject]:
    """Return the newest ``limit`` commits that ``head`` reaches, by commit time, the newest first. Raises GitError."""
    lines = mirror.git.text(
        "rev-list", f"--max-count={limit}", "--no-commit-header", "--format=%H %T %P", revision(head), "--"
    )
    return [CommitObject(sha, tree, tuple(parents)) for sha, tree, *parents in map(str.split, lines.splitlines())]


def branch_values(repository: Repository, branch: str) -> list[str]:
    """Return what ``branch`` pointed to, the newest first, as far as git's reflog remembers. Raises GitError."""
    ref = f"refs/heads/{revision(branch)}"
    done = repository.git.run("log", "--walk-reflogs", "--format=%H", ref, "--", ok=(0, 128))
    return done.out.decode().split() if done.status == 0 else []
