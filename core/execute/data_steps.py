"""The step ``database``: it brings the data back in step with the code.

| subject | does | is undone by |
|---|---|---|
| ``rows AGENT[,AGENT] since N`` | takes back what those agents wrote from change N on | taking that back |
| ``undo RB`` | takes back what the step of rollback RB did to rows | taking that back |
| ``checkpoint ID [with files]`` | restores database (and `files:`) as they were at a good commit | the fresh snapshot |
| ``snapshot ID`` | restores the database of an earlier snapshot | the fresh snapshot |
| ``down`` | runs `database.down` in a scratch tree of the branch as it was before | the fresh snapshot |

Rows are taken back in one transaction under the name ``ROLLBACK:STEP``, which the record in the user's own database
has afterwards: so it is known after a crash whether it was done. A restore is one transaction as well; after a crash it
is done again. A down-migration that was cut short starts again from the fresh snapshot. `files:` go back only where
the plan says so: they may have been written by others since, and nothing tells whose they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..checks.attempt import set_up
from ..checks.process import run_command
from ..config import CheckSettings
from ..data.capture import RowCapture, Scope, TakenBack
from ..data.database import Database
from ..data.files import restore_trees
from ..data.manifest import read_manifest
from ..errors import RefusedError, StoreError
from ..model import Step
from ..text import clean, clean_lines
from .capture import install_capture, restore_database
from .checkpoints import restore_checkpoint, restore_checkpoint_files
from .work import StepKind, Work

DOWN_LIMIT_S = 600.0
OUTPUT_KEPT = 2_000
"""Characters of a command's output that the journal keeps: the last ones."""
_TOUCHED = "touched"
"""In the journal before anything is restored or run, so that undoing knows that it may have been."""


def _prepare(work: Work, step: Step) -> Mapping[str, object]:
    return {"operation": f"{step.rollback}:{step.number}"}


def _do(work: Work, step: Step) -> Mapping[str, object]:
    kind, *words = step.subject.split()
    if kind == "rows":
        return _take_rows_back(work, step, _scope_of(words))
    if kind == "undo":
        return _undo_rows(work, step, words[0])
    if kind not in {"checkpoint", "snapshot", "down"}:
        raise StoreError(f"step {step.number} of {step.rollback} has no subject that means anything: {step.subject}")
    again = bool(step.data.get(_TOUCHED))
    step = work.journal.add(step, **{_TOUCHED: True})
    if kind == "down":
        if again:
            _restore_snapshot(work, _fresh(work))
        done = _run_down(work)
    elif kind == "checkpoint":
        done = _restore_checkpoint(work, words)
    else:
        _restore_snapshot(work, words[0])
        done = {}
    install_capture(work.services)  # what was restored may be from before it was recorded
    return done


def _is_done(work: Work, step: Step) -> bool:
    return step.subject.split()[0] in {"rows", "undo"} and _capture(work).has_done(str(step.data["operation"]))


def _undo(work: Work, step: Step) -> None:
    operation = str(step.data.get("operation", ""))
    if step.subject.split()[0] in {"rows", "undo"}:
        if operation and _capture(work).has_done(operation):
            taken = _capture(work).take_back(Scope(of=operation), f"{operation}:undo")
            _refuse(taken, "undo_conflict", "what was taken back in the database cannot be given back")
        return
    if not step.data.get(_TOUCHED):
        return
    fresh = _fresh(work)
    _restore_snapshot(work, fresh)
    if step.subject.endswith(" with files"):
        restore_trees(_folder(work, fresh) / "files", work.services.repository.top)
    install_capture(work.services)


def _take_rows_back(work: Work, step: Step, scope: Scope) -> Mapping[str, object]:
    taken = _capture(work).take_back(scope, str(step.data["operation"]))
    _refuse(taken, "data_conflict", f"the rows of {', '.join(scope.agents)} cannot be taken back any more")
    return {"rows": taken.rows, "tables": list(taken.tables), "unattributed": taken.unattributed}


def _undo_rows(work: Work, step: Step, rollback: str) -> Mapping[str, object]:
    earlier = next((each for each in work.services.store.steps(rollback) if each.name == step.name), None)
    if earlier is None:
        raise StoreError(f"{rollback} has no step that took rows back")
    taken = _capture(work).take_back(Scope(of=str(earlier.data["operation"])), str(step.data["operation"]))
    _refuse(taken, "undo_conflict", f"the rows that {rollback} took back cannot be given back")
    return {"rows": taken.rows, "tables": list(taken.tables)}


def _refuse(taken: TakenBack, code: str, what: str) -> None:
    if taken.conflicts:
        raise RefusedError(code, f"{what}: {'; '.join(taken.conflicts)}; nothing of it was changed")


def _restore_checkpoint(work: Work, words: Sequence[str]) -> Mapping[str, object]:
    checkpoint = work.services.store.checkpoint(words[0])
    if checkpoint is None:
        raise StoreError(f"there is no {words[0]} any more; nothing was changed")
    restore_checkpoint(work.services, checkpoint)
    if words[1:] != ["with", "files"]:
        return {"restored": checkpoint.id}
    restored = restore_checkpoint_files(work.services, checkpoint)
    return {"restored": checkpoint.id, "files": len(restored.written) if restored is not None else 0}


def _restore_snapshot(work: Work, snapshot: str) -> None:
    """Bring the database back from a snapshot. Raises StoreError; nothing was changed then."""
    folder = _folder(work, snapshot)
    known = work.services.store.snapshot(snapshot)
    name = known.databases[0] if known is not None and known.databases else ""
    if not name:
        raise StoreError(f"{snapshot} has no database: there was none when it was taken; nothing was changed")
    digest = next((file["sha256"] for file in read_manifest(folder)["files"] if file["path"] == name), None)
    restore_database(work.services, folder / name, sha256=digest)


def _run_down(work: Work) -> Mapping[str, object]:
    """Run the user's command in a tree that has the migration: of the branch as it was before this rollback.

    It finds the database by ``DATABASE_URL``, and what the checks link from the checkout (``.venv``) is linked for it.
    """
    services, settings = work.services, work.services.settings
    if settings.database is None or settings.database.down is None:
        raise StoreError("the settings name no database.down any more; nothing was changed")
    links = tuple(dict.fromkeys(name for check in settings.checks for name in check.link))
    needs = CheckSettings(name="database.down", run=settings.database.down, link=links)
    with services.pool.tree(work.journal.rollback.head_before) as folder:
        unready = set_up(needs, services.repository.top, folder)
        if unready is not None:
            raise StoreError(f"database.down {unready.why}")
        environment = {"DATABASE_URL": _database(work).url}
        result = run_command(settings.database.down, folder, environment, timeout=DOWN_LIMIT_S)
    output = clean_lines(result.output)[-OUTPUT_KEPT:]
    if result.status != 0:
        how = result.problem or (f"took longer than {DOWN_LIMIT_S:g} s" if result.timed_out else "")
        last = clean(output.strip().rpartition("\n")[2], limit=200)
        raise StoreError(f"database.down {how or f'ended with status {result.status}'}{f': {last}' if last else ''}")
    return {"output": output, "checks_s": result.duration_s}


def _scope_of(words: Sequence[str]) -> Scope:
    return Scope(agents=tuple(words[0].split(",")), since=int(words[2]))


def _fresh(work: Work) -> str:
    """Return the snapshot that this rollback took before it changed anything."""
    return work.journal.rollback.snapshot or str(work.data_of("snapshot").get("snapshot", ""))


def _folder(work: Work, snapshot: str) -> Path:
    known = work.services.store.snapshot(snapshot)
    if known is None:
        raise StoreError(f"the snapshot {snapshot or 'of this rollback'} is not there any more; nothing was changed")
    return Path(known.path)


def _database(work: Work) -> Database:
    if work.services.database is None:
        raise StoreError("the settings name no database any more; nothing was changed")
    return work.services.database


def _capture(work: Work) -> RowCapture:
    capture = _database(work).capture
    if capture is None:
        raise StoreError("the settings name no tables in database.row_capture any more; nothing was changed")
    return capture


DATABASE = StepKind(_do, _prepare, is_done=_is_done, undo=_undo)
