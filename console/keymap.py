"""Keys of the operator's own: ``console.keymap`` in rollcage.yml names an action and its key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..core.errors import SettingsError
from .actions import ACTIONS, BY_ID, key_name

_NAMED = frozenset(
    [
        "tab",
        "enter",
        "space",
        "backspace",
        "delete",
        "insert",
        "home",
        "end",
        "pageup",
        "pagedown",
        "up",
        "down",
        "left",
        "right",
        "escape",
        "minus",
        "plus",
        "comma",
        "full_stop",
        "slash",
        "backslash",
        "colon",
        "semicolon",
        "question_mark",
        "exclamation_mark",
        "at",
        "number_sign",
        "dollar_sign",
        "percent_sign",
        "ampersand",
        "asterisk",
        "equals_sign",
        "underscore",
        "tilde",
        "vertical_line",
        "apostrophe",
        "quotation_mark",
        "grave_accent",
        "circumflex_accent",
        "less_than_sign",
        "greater_than_sign",
        "left_parenthesis",
        "right_parenthesis",
        "left_square_bracket",
        "right_square_bracket",
        "left_curly_bracket",
        "right_curly_bracket",
    ]
)
_PUNCTUATION = {
    "?": "question_mark",
    "/": "slash",
    ":": "colon",
    "!": "exclamation_mark",
    ";": "semicolon",
    ",": "comma",
    ".": "full_stop",
    "-": "minus",
    "+": "plus",
    "*": "asterisk",
    "=": "equals_sign",
    "#": "number_sign",
    "@": "at",
    "%": "percent_sign",
    "&": "ampersand",
    "$": "dollar_sign",
    "_": "underscore",
    "~": "tilde",
    "|": "vertical_line",
    "\\": "backslash",
    "<": "less_than_sign",
    ">": "greater_than_sign",
    "(": "left_parenthesis",
    ")": "right_parenthesis",
    "[": "left_square_bracket",
    "]": "right_square_bracket",
    "{": "left_curly_bracket",
    "}": "right_curly_bracket",
}
_RESERVED = {
    "ctrl+c": "it says how to quit",
    "ctrl+q": "it quits",
    "up": "it moves the cursor",
    "down": "it moves the cursor",
}
_KEY = re.compile(r"(?:(?:ctrl|alt|shift)\+)*([a-z_0-9]+|[A-Z])")


def canonical_key(key: str) -> str | None:
    """Return ``key`` as Textual names it (``?`` is ``question_mark``), or None where it names no key."""
    key = key.strip()
    if key in _PUNCTUATION:
        return _PUNCTUATION[key]
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    name = match[1]
    known = len(name) == 1 or name in _NAMED or re.fullmatch(r"f([1-9]|1[0-9]|2[0-4])", name)
    return key if known else None


def keys_for(keymap: Mapping[str, str], *, file: str = "rollcage.yml") -> dict[str, str]:
    """Return the key of every action, with ``keymap`` (action id to key) applied.

    Raises SettingsError naming the key ``console.keymap.ACTION`` where an action or key is not known, the key is
    reserved, or two actions would have the same.
    """
    keys = {action.id: action.key for action in ACTIONS}
    for action, wish in keymap.items():
        place = f"console.keymap.{action}"
        if action not in BY_ID:
            allowed = ", ".join(sorted(BY_ID))
            raise SettingsError(file, None, place, f"there is no such action; allowed: {allowed}")
        key = canonical_key(wish)
        if key is None:
            problem = f"{wish!r} is no key; allowed: a letter, a sign, f1 to f24, a name such as space, or ctrl+letter"
            raise SettingsError(file, None, place, problem)
        if key in _RESERVED:
            raise SettingsError(file, None, place, f"{key_name(key)} cannot be given away: {_RESERVED[key]}")
        keys[action] = key
    taken: dict[str, str] = {}
    for action, key in keys.items():
        if key in taken:
            both = f"{key_name(key)} would be both {taken[key]} and {action}; give one of them another key"
            raise SettingsError(file, None, f"console.keymap.{action}", both)
        taken[key] = action
    return keys
