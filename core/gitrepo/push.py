"""Sending a branch to the user's remote, and asking what the remote has.

This alone runs with the user's own configuration: credential helpers, ssh settings, proxies, and the hook pre-push,
which is the user's wish for every push. Nobody is ever asked for anything, and nothing is forced but by a lease on a
commit that we have: where history was rewritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import GitError, UsageError
from ..text import clean, mask_secrets
from .git import Git, revision
from .mirror import Mirror
from .repository import Repository

PUSH_TIMEOUT_S = 120.0
_LOOK_TIMEOUT_S = 30.0

_NAME = re.compile(r"[^-\s\x00][^\s\x00]*")
_FORBIDDEN = ("not allowed", "does not match any", "insteadOf", "mirror can't be combined")
"""What makes a fatal error one that trying again does not mend."""

_MOVED = ("fetch first", "non-fast-forward", "stale info", "needs force")
"""Why git itself rejects a ref: the remote is not where it was. Whatever else it says is the remote's rule."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What came of a push."""

    state: Literal["pushed", "rejected", "unreachable", "refused"]
    """``rejected``: the remote's branch has moved; ``unreachable``: try again later; ``refused``: by a hook, a rule of
    the remote or by ourselves: trying again does not help.
    """
    words: str = ""
    """For people: one clean line."""
    sha: str = ""
    """The commit that the remote's branch has now, where it was pushed."""


@dataclass(frozen=True, slots=True)
class RemoteBranch:
    """A branch of a remote as it was seen just now."""

    state: Literal["found", "missing", "unreachable"]
    sha: str = ""
    words: str = ""


def remote_of(repository: Repository, branch: str) -> str | None:
    """Return the remote that ``branch`` is pushed to, as ``git push`` chooses it; None: there is none.

    That is branch.NAME.pushRemote, remote.pushDefault, branch.NAME.remote, then the only remote, or ``origin``. Raises
    UsageError for a name that git could take for an option.
    """
    git = repository.git
    for key in (f"branch.{revision(branch)}.pushRemote", "remote.pushDefault", f"branch.{branch}.remote"):
        named = git.run("config", "--get", key, ok=(0, 1)).out.decode(errors="surrogateescape").rstrip("\n")
        if named:
            return None if named == "." else _checked(named)
    remotes = git.text("remote").split("\n")
    if "origin" in remotes:
        return "origin"
    return _checked(remotes[0]) if len(remotes) == 1 and remotes[0] else None


def push_branch(
    repository: Repository,
    branch: str,
    remote: str,
    *,
    expect: str = "",
    rewritten: bool = False,
    had: Sequence[str] = (),
    timeout: float = PUSH_TIMEOUT_S,
) -> PushResult:
    """Send ``branch`` as it is now to ``remote``; the hook pre-push runs. Idempotent.

    Plainly, so that the remote takes a fast-forward only; where history was ``rewritten``, with a lease: only if the
    remote's branch still is at ``expect``, and only if our branch has been there or beyond (as
    ``--force-if-includes`` asks of its log; ``had``: further commits that it has been at). ``timeout`` is in seconds.
    """
    reference, theirs = f"refs/heads/{revision(branch)}", _theirs(repository, branch, remote)
    tip = repository.tip(branch)
    if tip is None:
        return PushResult("refused", f"there is no branch {clean(branch)} to push")
    lease: tuple[str, ...] = ()
    if rewritten:
        problem = _not_ours(repository, branch, expect, (tip, *had))
        if problem:
            return PushResult("refused", problem)
        lease = (f"--force-with-lease={theirs}:{expect}",)
    git = Git(repository.git.directory, bare=repository.is_bare, with_hooks=True)
    options = ("--porcelain", "--no-progress", "--no-follow-tags", "--no-recurse-submodules")
    # A mirror remote would force; a lease that we do not name would come from a ref that a fetch may have moved.
    plainly = ("-c", f"remote.{remote}.mirror=false", "-c", "push.useForceIfIncludes=false")
    try:
        done = git.run(
            *plainly, "push", *options, *lease, "--", _checked(remote), f"{tip}:{theirs}",
            env=_environment(git), ok=range(256), timeout=timeout,
        )  # fmt: skip
    except GitError as error:  # the time was over: whether it arrived is asked the next time
        return PushResult("unreachable", _said(str(error)))
    if done.status == 0:
        return PushResult("pushed", f"{reference.removeprefix('refs/heads/')} is at {tip[:12]} on {remote}", tip)
    return _failure(done.out.decode(errors="replace"), done.err.decode(errors="replace"))


def look_at_remote(repository: Repository, branch: str, remote: str) -> RemoteBranch:
    """Ask ``remote`` where its branch is that ``branch`` is pushed to; changes nothing anywhere."""
    git = Git(repository.git.directory, bare=repository.is_bare, with_hooks=True)
    theirs = _theirs(repository, branch, remote)
    try:
        done = git.run(
            "ls-remote", "--refs", "--", _checked(remote), theirs, env=_environment(git), timeout=_LOOK_TIMEOUT_S
        )
    except GitError as error:
        return RemoteBranch("unreachable", words=_said(error.stderr or str(error)))
    for line in done.out.decode(errors="replace").splitlines():
        sha, _, name = line.partition("\t")
        if name == theirs:
            return RemoteBranch("found", sha)
    return RemoteBranch("missing")


def fetch_into_mirror(repository: Repository, mirror: Mirror, branch: str, remote: str) -> RemoteBranch:
    """Bring what ``remote`` has on its branch into the mirror, and only there: no ref of the user's moves.

    Git runs in the user's repository, whose configuration knows the way, but writes its objects into the mirror.
    """
    seen = look_at_remote(repository, branch, remote)
    if seen.state != "found" or mirror.git.run("cat-file", "-e", f"{seen.sha}^{{commit}}", ok=range(256)).status == 0:
        return seen
    git = Git(repository.git.directory, bare=repository.is_bare, with_hooks=True)
    objects = {
        "GIT_OBJECT_DIRECTORY": str(mirror.objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository.common_dir / "objects"),
    }
    options = ("--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-prune", "--refmap=")
    quietly = ("-c", "fetch.writeCommitGraph=false", "-c", "core.fsync=all", "-c", "fetch.recurseSubmodules=false")
    try:
        git.run(
            *quietly, "fetch", "--quiet", *options, "--", _checked(remote), _theirs(repository, branch, remote),
            env={**_environment(git), **objects}, timeout=PUSH_TIMEOUT_S,
        )  # fmt: skip
        # Our own name for it: that of the remote may be a URL, or hold what a ref may not.
        mirror.keep(seen.sha, "remote")
    except GitError as error:
        return RemoteBranch("unreachable", words=_said(error.stderr or str(error)))
    return seen


def _theirs(repository: Repository, branch: str, remote: str) -> str:
    """Return the ref on the remote: what the branch is said to follow there, else the same name."""
    git = repository.git
    asked = [f"branch.{revision(branch)}.remote", f"branch.{branch}.merge"]
    followed, merge = (git.run("config", "--get", key, ok=(0, 1)).out.decode().rstrip("\n") for key in asked)
    return merge if followed == remote and merge.startswith("refs/heads/") else f"refs/heads/{branch}"


def _checked(remote: str) -> str:
    if not _NAME.fullmatch(remote):
        raise UsageError(f"not a name of a remote: '{clean(remote, limit=80)}' (begins with '-' or has spaces)")
    return remote


def _not_ours(repository: Repository, branch: str, expect: str, been: Sequence[str]) -> str:
    """Say why ``expect`` is no commit that the branch has been at or beyond; empty: it is one."""
    if not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", expect):
        return "history was rewritten, and nobody said what the remote is expected to have: it is not forced"
    git = repository.git
    logged = git.run("rev-list", "--walk-reflogs", f"refs/heads/{branch}", "--", ok=(0, 128)).out.decode().split()
    known = [sha for sha in dict.fromkeys((*been, *logged)) if sha]
    left = git.run("rev-list", "--max-count=1", expect, "--not", *known, "--", ok=(0, 128))
    if left.status or left.out:
        return f"the remote is expected to have {expect[:12]}, which {clean(branch)} has never had: it is not forced"
    return ""


def _environment(git: Git) -> dict[str, str]:
    """Return the environment in which ssh asks nothing; the user's own command for ssh stays."""
    own = os.environ.get("GIT_SSH_COMMAND") or git.text("config", "--default", "", "--get", "core.sshCommand")
    program = os.environ.get("GIT_SSH", "")
    if not own and program:
        return {"GIT_SSH": program}
    command = own or "ssh"
    is_ssh = os.path.basename(command.split()[0]) == "ssh" if command.split() else False  # noqa: PTH119 - a command
    return {"GIT_SSH_COMMAND": f"{command} -o BatchMode=yes" if is_ssh else command}


def _failure(out: str, err: str) -> PushResult:
    """Read what ``git push --porcelain`` answered: a line for the ref where it came so far."""
    for line in out.splitlines():
        flag, _, rest = line.partition("\t")
        if flag == "!":
            why = rest.partition("\t")[2]
            moved = "[remote rejected]" not in why and any(word in why for word in _MOVED)
            heard = [text.removeprefix("remote: ") for text in err.splitlines() if text.startswith("remote: ")]
            words = " ".join([why, *(text.strip() for text in heard if text.strip())])
            return PushResult("rejected" if moved else "refused", _said(words))
    fatal = [line for line in err.splitlines() if line.startswith("fatal:")]
    if fatal and not any(word in line for line in fatal for word in _FORBIDDEN):
        return PushResult("unreachable", _said(" ".join(fatal)))
    return PushResult("refused", _said(" ".join(fatal) or err) or "the hook pre-push refused it")


def _said(text: str) -> str:
    return clean(mask_secrets(text), limit=300)
