"""Which settings count: the content of ``rollcage.yml`` that an operator trusted.

The file lies in a repository that agents write, and names commands that are run. So its whole content is kept in the
state directory when an operator trusts it, and nothing of a file that differs from it is used. The file of the main
working tree counts, never that of an agent's own. A file named by hand (``--config``) counts as trusted.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from .config import Settings
from .errors import SettingsError, StoreError, UntrustedError
from .settings_file import NAME, Review, parse, read_bytes
from .store.files import not_writable, write_atomically
from .store.paths import RepositoryPaths
from .store.store import Store
from .text import clean

NO_FILE = f"no {NAME}: running on defaults; rollcage init writes one"


@dataclass(frozen=True, slots=True)
class Trusted:
    """Settings that may be used."""

    settings: Settings
    pin: str
    """SHA-256 of the content, hexadecimal; an approval binds to it."""
    message: str = ""
    """What the operator should know: that there is no file."""


def load_trusted(
    top: Path, paths: RepositoryPaths, explicit: Path | None = None, *, review: Review | None = None
) -> Trusted:
    """Return the settings of the repository whose main working tree is ``top``, or of the file ``explicit``.

    ``review`` is a further check of them, see `rollcage.core.settings_file.parse`. Raises UntrustedError where the
    file is not the one that was trusted; SettingsError where it is wrong or unreadable.
    """
    if explicit is not None:
        shown = clean(str(explicit))
        try:
            content = read_bytes(explicit, shown)
        except FileNotFoundError:
            raise SettingsError(shown, None, "", "does not exist") from None
        return Trusted(parse(content, shown, review), _hash(content))
    written, pinned = written_content(top), pinned_content(paths)
    # Read first, since only a right file can be trusted: what is wrong with it is the more useful error.
    settings = Settings() if written is None else parse(written, NAME, review)
    if written != pinned:
        raise UntrustedError(_why_untrusted(written, pinned))
    return Trusted(settings, _hash(written or b""), NO_FILE if written is None else "")


def written_content(top: Path) -> bytes | None:
    """Return what ``rollcage.yml`` contains now; ``None``: there is none. Raises SettingsError if it is unreadable."""
    path = top / NAME
    if path.is_symlink() and not path.resolve().is_relative_to(top.resolve()):
        raise SettingsError(NAME, None, "", "is a link that leaves the repository; allowed: a file within it")
    try:
        return read_bytes(path, NAME)
    except FileNotFoundError:
        return None


def pinned_content(paths: RepositoryPaths) -> bytes | None:
    """Return what was trusted last; ``None``: nothing, so only the defaults are. Raises StoreError."""
    try:
        return paths.trusted.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"cannot read {paths.trusted}: {error.strerror}; rollcage doctor looks at the state"
        ) from error


def trust(paths: RepositoryPaths, store: Store, content: bytes | None, by: str) -> None:
    """Trust ``content``, the very bytes that the operator was shown; ``None``: that there is no file.

    ``by`` is the operator as ``user@host``. It is written to the audit log before it counts. Raises StoreError.
    """
    before = pinned_content(paths)
    detail = {"from": _hash(before or b""), "to": _hash(content or b"")}
    store.audit(by, "trust", NAME, "an operator trusted it" if content is not None else "removed", detail=detail)
    if content is None:
        try:
            paths.trusted.unlink(missing_ok=True)
        except OSError as error:
            raise not_writable(paths.trusted, error) from error
    else:
        write_atomically(paths.trusted, content)


def difference(pinned: bytes | None, written: bytes | None) -> list[str]:
    """Return the unified diff from what was trusted to what is written now, safe for a terminal.

    Characters that a terminal would obey or hide are written out (``\\x1b``, ``\\u202e``), not dropped: an operator
    must see all that is trusted.
    """
    before, after = (_lines(content or b"") for content in (pinned, written))
    return list(difflib.unified_diff(before, after, f"{NAME} as trusted", f"{NAME} now", lineterm=""))


def _lines(content: bytes) -> list[str]:
    text = content.decode("utf-8", "backslashreplace")
    return ["".join(_visible(character) for character in line) for line in text.split("\n")] if content else []


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _why_untrusted(written: bytes | None, pinned: bytes | None) -> str:
    if pinned is None:
        what = f"{NAME} was never trusted"
    elif written is None:
        what = f"{NAME} was removed since it was trusted"
    else:
        what = f"{NAME} was changed since it was trusted"
    return f"{what}; nothing in it is run; rollcage trust shows the difference and trusts it"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
