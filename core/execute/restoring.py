"""The way back to a snapshot by hand: a deleted ``.git``, uncommitted files, the index, the database, file trees.

Branches stay where they are: they move by rollbacks only. What somebody worked on since is left as it is, and named.
A fresh snapshot comes first, and every part can be done again: killed anywhere, the same command carries it on.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clock import Clock
from ..data.files import restore_trees
from ..data.manifest import read_manifest, verify_folder
from ..errors import RefusedError, RollcageError, StoreError, UsageError
from ..gitrepo.content import Reader
from ..gitrepo.entries import Entry, changes
from ..gitrepo.git import Git
from ..gitrepo.index_lock import IndexLock, distrust_times
from ..gitrepo.mirror import Mirror
from ..gitrepo.paths import raw, shown
from ..gitrepo.publication import worktree_name
from ..gitrepo.rebuild import Rebuilt, rebuild
from ..gitrepo.repository import Repository, Worktree
from ..gitrepo.restore import restore_files
from ..gitrepo.survey import survey
from ..gitrepo.transfer import send_objects
from ..gitrepo.vault import read_manifest as read_kept
from ..gitrepo.view import index_of, look, unchanged
from ..gitrepo.working_files import kind, place, sync_file
from ..model import Snapshot
from ..services import Services
from ..store.files import locked
from ..store.locate import read_record, state_home
from ..store.paths import RepositoryPaths
from ..store.store import Store
from ..text import clean
from .capture import restore_database
from .snapshots import snapshot_name, take_snapshot

PARTS = ("files", "index", "database", "trees")
"""What can be brought back of a snapshot, in this order."""

NEWEST = "newest"
"""Stands for the newest snapshot."""

_NOTE = "restoring"
_LOCK_WAIT_S = 5.0
_OUR_LOCK = "restoring"
"""The same each time: who leads is alone, so a lock with it was left by a restoration that was killed, and is ours."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What bringing a snapshot back did; clean lines."""

    snapshot: str
    before: str
    """The fresh snapshot that was taken first."""
    done: tuple[str, ...]
    left: tuple[str, ...]
    """What is as it was, and why: somebody worked on it since."""
    failed: tuple[str, ...]
    """What could not be done for a fault that can be mended; do it again then."""


def restore(services: Services, snapshot: str, by: str, *, parts: Sequence[str] = PARTS) -> Restored:
    """Bring back ``parts`` of a snapshot; only for who leads the repository. Idempotent, also after a kill.

    Raises UsageError where there is no such snapshot, RefusedError ``rollback_unfinished``, StoreError where the
    snapshot is damaged or no fresh one can be kept: nothing was changed then.
    """
    store = services.store
    taken = find_snapshot(store, snapshot)
    unfinished = store.unfinished_rollbacks()
    if unfinished:
        raise RefusedError(
            "rollback_unfinished",
            f"{unfinished[0].id} is not ended: let an engine end it first (rollcage --auto --once), then restore",
        )
    damage = verify_folder(Path(taken.path))
    if damage:
        raise StoreError(f"{taken.id} is damaged, nothing was changed: {'; '.join(damage[:3])}")
    before = _fresh_snapshot(services, taken.id, by)
    done: list[str] = []
    left: list[str] = []
    failed: list[str] = []
    work: Mapping[str, Callable[[Services, Snapshot, str, list[str]], list[str]]] = {
        "files": _restore_files,
        "index": _restore_indexes,
        "database": _restore_database,
        "trees": _restore_trees,
    }
    for part in PARTS:
        if part == "index" and any(line.startswith("files: ") for line in failed):
            # Staged before its file is back, a file would pass for one that somebody worked on since.
            failed.append("index: it comes after the files")
        elif part in parts:
            try:
                done += work[part](services, taken, before, left)
            except (RollcageError, OSError) as problem:
                failed.append(f"{part}: {_words(problem)}")
    with store.transaction():
        if not failed:
            store.set_note(_NOTE, "")
        outcome = "failed" if failed else "done"
        words = "; ".join([*done, *(f"left: {line}" for line in left), *(f"failed: {line}" for line in failed)])
        store.audit(by, "restore_ended", taken.id, clean(words, limit=2_000), outcome=outcome)
    return Restored(taken.id, before, tuple(done), tuple(left), tuple(failed))


def _words(problem: RollcageError | OSError) -> str:
    if isinstance(problem, RollcageError):
        return clean(str(problem))
    return clean(f"cannot write {problem.filename or 'there'}: {problem.strerror}; mend its permissions, or make room")


def find_snapshot(store: Store, name: str) -> Snapshot:
    """Return the snapshot ``name``, or the newest one for `NEWEST`. Raises UsageError, which names those there are."""
    found = store.snapshots()
    for snapshot in found:
        if name in (snapshot.id, NEWEST):
            return snapshot
    there = ", ".join(snapshot.id for snapshot in found[:5]) or "none was taken yet"
    raise UsageError(f"there is no snapshot {clean(name, limit=60)}; there are: {there}")


# -- a deleted .git


@dataclass(frozen=True, slots=True)
class Lost:
    """A repository that rollcage knows and whose git directory is gone."""

    top: Path
    git_dir: Path
    paths: RepositoryPaths


def find_lost(start: Path) -> Lost | None:
    """Return the known repository that ``start`` lay in, if its git directory is gone; None: there is no such."""
    here = Path(os.path.realpath(start))
    folders = state_home() / "repositories"
    for root in sorted(folders.iterdir()) if folders.is_dir() else ():
        record = read_record(str(root))
        if record is None or os.path.lexists(str(record["path"])):
            continue
        git_dir = Path(str(record["path"]))
        for folder in (here, *here.parents):
            if folder / ".git" == git_dir or folder == git_dir or _points_to(folder / ".git", git_dir):
                return Lost(folder if folder / ".git" != git_dir else git_dir.parent, git_dir, RepositoryPaths(root))
    return None


def rebuild_lost(lost: Lost, snapshot: str, by: str, clock: Clock) -> Rebuilt:
    """Make the git directory anew from the mirror. Raises UsageError where there is no such snapshot, and as `rebuild`.

    Afterwards the repository is a repository again, and `restore` brings back the rest.
    """
    store = Store.open(lost.paths, clock)
    try:
        taken = find_snapshot(store, snapshot)
        commit = str(read_manifest(Path(taken.path))["git"]["commit"])
        repository = Repository(lost.top, lost.git_dir, is_bare=lost.top == lost.git_dir)
        with locked(lost.paths.root / "rebuild.lock"):
            done = rebuild(Mirror(repository, lost.paths.mirror), commit, lost.paths.uuid)
        words = f"{len(done.branches)} branches" + (f"; left: {'; '.join(done.left)}" if done.left else "")
        store.audit(by, "git_rebuilt", taken.id, clean(words, limit=2_000))
        return done
    finally:
        store.close()


def _points_to(file: Path, git_dir: Path) -> bool:
    """Return whether a ``.git`` file leads to ``git_dir``, or to that of a linked working tree within."""
    try:
        words = os.fsdecode(file.read_bytes()).strip()
    except OSError:
        return False
    target = Path(os.path.realpath(file.parent / words.removeprefix("gitdir: ")))
    return words.startswith("gitdir: ") and (target == git_dir or target.is_relative_to(git_dir / "worktrees"))


# -- the parts


def _fresh_snapshot(services: Services, of: str, by: str) -> str:
    """Keep the state as it is now; the one of an earlier try that was killed or failed holds what was before that."""
    store = services.store
    note: dict[str, str] = json.loads(store.get_note(_NOTE) or "{}")
    if note.get("snapshot") == of and store.snapshot(note["before"]) is not None:
        return note["before"]
    name = snapshot_name(services, services.clock.now())
    take_snapshot(services, name, f"before {of} is restored by {by}")
    with store.transaction():
        store.set_note(_NOTE, json.dumps({"snapshot": of, "before": name}))
        store.audit(by, "restore_started", of, f"as it was before: {name}")
    return name


def _commit_of(taken: Snapshot) -> str:
    return str(read_manifest(Path(taken.path))["git"]["commit"])


def _standing(
    services: Services, taken: Snapshot, left: list[str], what: str
) -> list[tuple[Worktree, Mapping[str, Any]]]:
    """Return the working trees that are still there, each with what the snapshot says of it."""
    kept: dict[str, Any] = read_kept(services.mirror, _commit_of(taken))
    now = {worktree_name(worktree): worktree for worktree in services.repository.worktrees()}
    found = []
    for described in kept["worktrees"]:
        worktree = now.get(described["path"])
        if worktree is None:
            left.append(f"{what} of {described['path']}: there is no such working tree any more")
        elif worktree.operation is not None and worktree.operation != described["operation"]:
            left.append(f"{what} of {described['path']}: a {worktree.operation} is in progress there")
        else:
            found.append((worktree, described))
    return found


def _restore_files(services: Services, taken: Snapshot, before: str, left: list[str]) -> list[str]:
    done = []
    for worktree, described in _standing(services, taken, left, "the files"):
        free = _free_files(services, worktree, described)
        name = f"{before}-{uuid.uuid4().hex[:12]}"
        commit, now = _commit_of(taken), services.clock.now()
        result = restore_files(services.mirror, commit, worktree.path, free, name, now)
        if result.restored:
            done.append(f"{len(result.restored)} files in {described['path']}: {_some(result.restored)}")
        if result.skipped:
            left.append(f"{_some(result.skipped)} in {described['path']}: worked on or committed since")
    return done


def _free_files(services: Services, worktree: Worktree, described: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the files of the snapshot in which there is no work of anybody's now, with what is there.

    That is: no file is there, or it has no edit beyond what is staged, and that is committed or was staged then; and
    in both cases its committed content is what the work was done on.
    """
    paths = frozenset(raw(file["path"]) for file in described["files"])
    moved = _moved(services, described["head"], worktree.head)
    staged_then = {blob["oid"] for blob in described["staged"]}
    committed = _committed(worktree, paths)
    with look(worktree.path, services.mirror) as view:
        lines = index_of(view, worktree.git_dir / "index", paths)
        staged = {path: entries[0].entry for path, entries in lines.items() if path in paths and not entries[0].stage}
        clean_ones = unchanged(view, staged)
    reader = Reader(services.repository.object_format())
    found: dict[str, str | None] = {}
    for path in paths - moved:
        entry = staged.get(path)
        if kind(worktree.path, path) is None:
            found[shown(path)] = None
        elif path in clean_ones and entry is not None and (entry == committed.get(path) or entry.oid in staged_then):
            found[shown(path)] = reader.add_file(place(worktree.path, path), steady=False).oid
    return found


def _moved(services: Services, then: str, now: str) -> frozenset[bytes]:
    """Return the paths whose committed content is another now."""
    if not then or not now or then == now:
        return frozenset()
    return frozenset(change.path for change in changes(services.mirror.git, then, now))


def _committed(worktree: Worktree, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    if not worktree.head or not paths:
        return {}
    found = {}
    for line in Git(worktree.path).run("ls-tree", "-r", "-z", "--full-tree", worktree.head).out.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        if path in paths:
            mode, _kind, oid = facts.decode().split(" ")
            found[path] = Entry(mode, oid)
    return found


def _restore_indexes(services: Services, taken: Snapshot, before: str, left: list[str]) -> list[str]:
    done = []
    for worktree, described in _standing(services, taken, left, "what was staged"):
        lock = IndexLock(worktree.git_dir, _OUR_LOCK)
        lock.take(_LOCK_WAIT_S)
        try:
            why = _put_index(services, worktree, described, lock)
        finally:
            lock.release()
        if why:
            left.append(f"what was staged in {described['path']}: {why}")
        elif why is not None:
            Git(worktree.path).run("update-index", "-q", "--refresh", ok=range(256))
            done.append(f"what was staged in {described['path']}")
    return done


def _put_index(services: Services, worktree: Worktree, described: Mapping[str, Any], lock: IndexLock) -> str | None:
    """Make the index what it was, with the lock held; return why not, or empty, or None where it is that already."""
    if described["index"] is None or survey(worktree).entries == described["entries"]:
        return None
    if worktree.head != described["head"] or not worktree.head:
        return "the branch has moved since"
    if described["operation"] is not None and worktree.operation is None:
        return f"the {described['operation']} of then is over"
    git, mirror = Git(worktree.path), services.mirror
    if git.run("diff-index", "--cached", "--quiet", worktree.head, "--", ok=(0, 1)).status:
        return "something else is staged now"
    blobs = [blob["oid"] for blob in described["staged"]]
    send_objects(mirror, git, worktree.head, worktree.head, blobs)
    for name, kept in described["state"].items():  # what a split index stands on
        shared = worktree.git_dir / os.fsdecode(raw(name))
        if name.startswith("sharedindex.") and not shared.exists():
            shared.write_bytes(mirror.git.run("cat-file", "blob", kept["oid"]).out)
            sync_file(shared)
    lock.temporary.write_bytes(mirror.git.run("cat-file", "blob", described["index"]["oid"]).out)
    distrust_times(lock.temporary)
    sync_file(lock.temporary)
    lock.temporary.replace(lock.index)
    return ""


def _restore_database(services: Services, taken: Snapshot, before: str, left: list[str]) -> list[str]:
    if not taken.databases:
        return []
    if services.database is None:
        left.append("the database: the settings name none now")
        return []
    folder = Path(taken.path)
    digests = {file["path"]: file["sha256"] for file in read_manifest(folder)["files"]}
    for name in taken.databases:
        restore_database(services, folder / name, sha256=digests.get(name))
    return [f"the database, as it was at {taken.at:%H:%M:%S} on {taken.at:%Y-%m-%d}"]


def _restore_trees(services: Services, taken: Snapshot, before: str, left: list[str]) -> list[str]:
    folder = Path(taken.path) / "files"
    if not folder.is_dir() or services.repository.is_bare:
        return []
    result = restore_trees(folder, services.repository.top)
    if result.extra:
        left.append(f"{_some(result.extra)}: not in the snapshot")
    return [f"{len(result.written)} files outside git: {_some(result.written)}"] if result.written else []


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(clean(path, limit=120) for path in paths[:5]) + more
