"""Keeping ``mirror.git`` small: packs joined now and then, and what no snapshot needs any more dropped late.

The user's repository is never touched. Both work on the mirror's own packs without its alternates, since git 2.39
mixes those up (its ``--geometric`` would pack what is borrowed, its ``--local`` drop what both have).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fcntl import LOCK_EX, LOCK_NB, flock

from ..clock import iso
from .mirror import Mirror
from .snapshot import SNAPSHOTS
from .vault import RECLAIM_LOCK, own_objects

MANY_PACKS = 30
"""More are joined. Each `Mirror.keep` and each snapshot leaves one."""
UNREACHABLE_FOR = timedelta(days=14)
"""What nothing refers to for so long may go; git's own gc.pruneExpire is as long."""


def join_packs(mirror: Mirror) -> bool:
    """Join small packs so that their sizes grow geometrically; return whether there was anything to do.

    Nothing is dropped, reachable or not. Returns at once where another process does it. Raises GitError.
    """
    if len(list((mirror.objects / "pack").glob("*.pack"))) <= MANY_PACKS:
        return False
    with _only_one(mirror, "repack.lock") as alone:
        if alone:
            mirror.git.run("pack-refs", "--all")
            joining = ("repack", "-q", "-d", "-n", "--geometric=2", "--no-write-bitmap-index")
            mirror.git.run("-c", "core.fsync=all", *joining, env={"GIT_OBJECT_DIRECTORY": str(own_objects(mirror))})
    return alone


def reclaim(mirror: Mirror, now: datetime) -> bool:
    """Drop what nothing in the mirror refers to for `UNREACHABLE_FOR`; return whether it was done.

    Nobody can take a snapshot meanwhile, which could rely on what goes; returns at once where somebody does. If a ref
    needs anything that the mirror does not hold itself, git stops before it removes anything. Raises GitError.
    """
    with _only_one(mirror, "repack.lock") as alone, _only_one(mirror, RECLAIM_LOCK) as quiet:
        if not (alone and quiet):
            return False
        dropping = ("repack", "-q", "-a", "-d", "-n", "--cruft", f"--cruft-expiration={iso(now - UNREACHABLE_FOR)}")
        environment = {"GIT_OBJECT_DIRECTORY": str(own_objects(mirror))}
        mirror.git.run("-c", "core.fsync=all", *dropping, "--no-write-bitmap-index", env=environment)
    return True


def drop_snapshots(mirror: Mirror, keep: Collection[str], gone: Collection[str], older_than: datetime) -> list[str]:
    """Remove the refs of the snapshots ``gone``, and of any not in ``keep`` that were taken before ``older_than``.

    ``NAME.2`` and so on belong to ``NAME``. The history that they refer to stays. Idempotent. Returns the names of the
    refs below `SNAPSHOTS`. Raises GitError.
    """
    listed = mirror.git.text("for-each-ref", "--format=%(committerdate:unix) %(refname)", SNAPSHOTS)
    dropped = []
    for line in listed.splitlines():
        moment, _, ref = line.partition(" ")
        name = ref.removeprefix(f"{SNAPSHOTS}/")
        of = name.partition(".")[0]
        if of in gone or (of not in keep and int(moment) < older_than.timestamp()):
            dropped.append(name)
    if dropped:
        lines = "".join(f"delete {SNAPSHOTS}/{name}\n" for name in dropped)
        mirror.git.run("-c", "core.fsync=all", "update-ref", "--stdin", stdin=lines.encode())
    return dropped


@contextmanager
def _only_one(mirror: Mirror, name: str) -> Iterator[bool]:
    """Hold a lock of that name if nobody else does; the kernel frees it when we die."""
    descriptor = os.open(mirror.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
