"""Which functions and classes commits changed, by the headings that git gives the hunks of a patch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..errors import StoreError
from ..model import Commit
from ..text import clean
from .git import revision
from .mirror import Mirror

MOST_LINES = 20_000
"""Changed lines that are read at most, of the newest commits first."""
LARGE = 2_000
"""Who changed more lines than this touched about everything, which tells nothing."""

_DRIVERS = {
    "ada": "adb ads", "bash": "sh bash", "cpp": "c cc cpp cxx h hpp", "csharp": "cs", "elixir": "ex exs",
    "fortran": "f f90", "golang": "go", "java": "java", "kotlin": "kt kts", "objc": "m mm", "pascal": "pas",
    "perl": "pl pm", "php": "php", "python": "py pyi", "ruby": "rb", "rust": "rs", "scheme": "scm",
}  # fmt: skip
"""The endings of files by the name of git's own rules for headings (``gitattributes(5)``, *Defining a custom
hunk-header*); without them it finds no method within a class."""
_ATTRIBUTES = "".join(f"*.{end} diff={name}\n" for name, ends in _DRIVERS.items() for end in ends.split())
_DEFINES = re.compile(
    rb"\b(?:def|class|func|function|fn|fun|sub|struct|interface|trait|enum|module|defp?)\s+(?:self\.|\([^)]*\)\s*)?"
    rb"([A-Za-z_$][\w$]{0,99})"
)
_CALLED = re.compile(rb"([A-Za-z_$][\w$]{0,99})\s*\(")


def touched_names(mirror: Mirror, commits: Sequence[Commit]) -> dict[str, frozenset[str]]:
    """Return for each of ``commits``, newest first, the names of what it changed or defined.

    A merge and a large one have none.
    One git process; its time is in proportion to the lines changed, of which `MOST_LINES` are read. Raises GitError,
    StoreError.
    """
    chosen, lines = list[str](), 0
    for commit in commits:
        if len(commit.parents) > 1 or commit.lines > LARGE:
            continue
        lines += commit.lines
        if lines > MOST_LINES:
            break
        chosen.append(revision(commit.sha))
    if not chosen:
        return {}
    try:
        with mirror.workspace() as place:
            attributes = place / "attributes"
            attributes.write_text(_ATTRIBUTES)
            out = mirror.git.run(
                "-c", f"core.attributesFile={attributes}", "-c", "core.bigFileThreshold=1m",
                "log", "--no-walk=unsorted", "--stdin", "--format=%x00%H", "--patch", "--unified=0", "--no-renames",
                "--no-color", "--no-ext-diff", "--no-textconv", stdin="\n".join(chosen).encode(),
            ).out  # fmt: skip
    except OSError as error:
        where = clean(os.fsdecode(error.filename or mirror.path.parent))
        raise StoreError(f"cannot read patches in {where}: {error.strerror}; make room there") from error
    return dict(_names(patch) for patch in out.split(b"\0")[1:])


def _names(patch: bytes) -> tuple[str, frozenset[str]]:
    sha, _, text = patch.partition(b"\n")
    names = set[bytes]()
    for line in text.split(b"\n"):
        if line.startswith(b"@@ "):
            heading = line.split(b"@@", 2)[-1]
            found = _DEFINES.search(heading) or _CALLED.search(heading)
            names |= {found[1]} if found else set()
        elif line[:1] in {b"+", b"-"}:
            names.update(_DEFINES.findall(line))
    return sha.decode("ascii", "replace"), frozenset(name.decode("ascii", "replace") for name in names)
