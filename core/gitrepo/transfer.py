"""Objects from the mirror into the user's repository: the one way in, used at publication only."""

from __future__ import annotations

from collections.abc import Sequence

from .git import Git
from .mirror import Mirror

_UNPACK_LIMIT = 100
"""More objects stay in one pack, as with git's own transfer.unpackLimit."""

_DURABLY = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=batch")


def send_objects(mirror: Mirror, to: Git, new: str, old: str, others: Sequence[str] = ()) -> None:
    """Copy what ``new`` reaches and ``old`` does not, and ``others``, as far as ``to`` has it not yet.

    Durable when it returns; a kill leaves at most objects that nothing refers to. Raises GitError.
    """
    listed = mirror.git.text("rev-list", "--objects", "--no-object-names", new, f"^{old}", "--").split()
    wanted = list(dict.fromkeys((*listed, *others)))
    question = "".join(f"{oid}\n" for oid in wanted).encode()
    answers = to.text("cat-file", "--batch-check", stdin=question).splitlines() if wanted else []
    missing = [answer.split()[0] for answer in answers if answer.endswith(" missing")]
    if missing:
        wanted_ids = "".join(f"{oid}\n" for oid in missing).encode()
        pack = mirror.git.run("pack-objects", "--quiet", "--stdout", stdin=wanted_ids).out
        taking = ("index-pack", "--stdin") if len(missing) > _UNPACK_LIMIT else ("unpack-objects", "-q")
        to.run(*_DURABLY, *taking, stdin=pack)
