"""Makes a tree ready for a check: its working folder, its report, and what `link:` takes from the checkout.

The names come from settings, the tree from agents: a link in it must not lead a write out of it.
"""

from __future__ import annotations

from pathlib import Path

from ..config import CheckSettings
from ..text import clean


class UnpreparedError(Exception):
    """A check cannot be run in this folder; its text is one clean line."""


def inside(folder: Path, relative: str) -> Path:
    """Return ``relative`` within ``folder``, the links above its last name followed.

    Raises UnpreparedError where it leaves the folder, or begins with ``-``.
    """
    top, path, name = folder.resolve(), Path(relative), clean(relative)
    if not path.parts:  # "."
        return top
    if relative.startswith("-"):
        raise UnpreparedError(f"{name} begins with '-'")
    try:
        parent = (top / path).parent.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise UnpreparedError(f"{name} cannot be resolved: {clean(str(error))}") from error
    if ".." in path.parts or not parent.is_relative_to(top):
        raise UnpreparedError(f"{name} leads out of {clean(str(folder))}")
    return parent / path.name


def working_folder(check: CheckSettings, folder: Path) -> Path:
    """Return the real path of the folder that ``check`` runs in. Raises UnpreparedError where there is none."""
    path = inside(folder, check.cwd).resolve()
    if not path.is_dir() or not path.is_relative_to(folder.resolve()):
        raise UnpreparedError(f"cwd: {clean(check.cwd)} is no folder in this tree")
    return path


def report_paths(check: CheckSettings, folder: Path) -> list[Path]:
    """Return where the JUnit report may be: as the command names it in its folder, and as the settings see it.

    Raises UnpreparedError as `inside` does.
    """
    if check.junit is None:
        return []
    below = working_folder(check, folder).relative_to(folder.resolve())
    return [inside(folder, name) for name in dict.fromkeys((str(below / check.junit), check.junit))]


def link_paths(check: CheckSettings, checkout: Path, folder: Path) -> None:
    """Link what ``link:`` names from the checkout into ``folder``; nothing is ever replaced. Raises UnpreparedError."""
    for name in check.link:
        try:
            source, target = inside(checkout, name), inside(folder, name)
            if not source.exists():
                raise UnpreparedError(f"{clean(name)} is not in the checkout {clean(str(checkout))}")
            if not source.resolve().is_relative_to(checkout.resolve()):
                raise UnpreparedError(f"{clean(name)} leads out of the checkout {clean(str(checkout))}")
            if target.exists() or target.is_symlink():
                raise UnpreparedError(f"{clean(name)} is tracked by git in this tree; only what is not can be linked")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        except OSError as error:
            raise UnpreparedError(f"link: {clean(name)}: {clean(error.strerror or str(error))}") from error
        except UnpreparedError as error:
            raise UnpreparedError(f"link: {error}") from error
