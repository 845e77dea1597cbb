"""The plan as YAML in the operator's own editor, handed back, and offered again where something is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.errors import RollcageError
from ..calls import Outcome
from .dialog import NoticeScreen

if TYPE_CHECKING:
    from ..app import RollcageApp


class PlanEditor:
    """One editing of one option's plan; the texts live as long as it takes."""

    def __init__(self, app: RollcageApp, option: str, key: str) -> None:
        """Take the app, the option, and the key that edits again."""
        self._app, self._option, self._key = app, option, key
        self._original = ""

    def start(self) -> None:
        """Ask for the plan, then open the editor."""
        self._app.call(
            f"read the plan of {self._option}", lambda: self._app.operator.plan_yaml(self._option), self._open
        )

    def _open(self, outcome: Outcome) -> None:
        if outcome.problem:
            self._app.tell(outcome.problem, bad=True)
            return
        self._original = str(outcome.result)
        self._edit(self._original)

    def _edit(self, text: str) -> None:
        try:
            edited = self._app.edit_text(text)
        except RollcageError as error:
            self._app.tell(str(error), bad=True)
            return
        if edited == self._original:
            self._app.tell(f"the plan of {self._option} is as it was: nothing to rehearse")
            return
        self._app.tell(f"the edited plan of {self._option} is being checked")
        call: Callable[[], object] = lambda: self._app.operator.edit(self._option, edited)  # noqa: E731 - typed
        self._app.call(f"edit {self._option}", call, lambda done: self._edited(edited, done))

    def _edited(self, text: str, outcome: Outcome) -> None:
        problems = [outcome.problem] if outcome.problem else [str(item) for item in _list(outcome.result)]
        if not problems:
            self._app.tell(f"the edited plan of {self._option} is accepted: it is rehearsed again")
            return
        screen = NoticeScreen(
            f"The edited plan of {self._option} is not valid",
            [*problems, "", "Nothing is changed. Edit it again, or close to drop your text."],
            self._key,
            "edit again",
        )
        self._app.push_screen(screen, lambda answer: self._edit(text) if answer else None)


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []
