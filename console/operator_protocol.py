"""What the console asks of whoever records an operator's decisions. The console itself never executes anything."""

from __future__ import annotations

from typing import Protocol


class Operator(Protocol):
    """Records what the operator wants; an engine carries it out.

    Every method may take its time (it is called in a thread of its own), returns once the wish is durable, and raises
    RollcageError with one clear line where it is refused. What it returns is ignored but where a type is given.
    """

    def approve(self, option_id: str, plan_hash: str, confirm: str = "") -> object:
        """Approve the option, as long as its plan is still ``plan_hash``.

        ``confirm`` repeats the words that say what a CRITICAL one loses.
        """

    def reject(self, option_id: str, reason: str) -> object:
        """Reject the option; ``reason`` may be empty."""

    def plan_yaml(self, option_id: str) -> str:
        """Return the option's plan as YAML for editing."""
        ...

    def edit(self, option_id: str, text: str) -> list[str]:
        """Have the edited plan rehearsed; return what is wrong with it, in lines for people: empty, it was accepted."""
        ...

    def stop_agent(self, name: str) -> object:
        """Stop the agent's whole process tree."""

    def pause_agent(self, name: str) -> object:
        """Pause the agent's whole process tree."""

    def resume_agent(self, name: str) -> object:
        """Let an agent work again that was paused, stopped or standing by."""

    def stop_all(self, names: list[str]) -> object:
        """Stop these agents: all that the console knows."""

    def break_lock(self, name: str, token: int, reason: str) -> object:
        """Take a lock from the holder that has ``token``; it is told ``reason`` at its next renewal."""

    def break_deadlock(self, circle: tuple[str, ...]) -> object:
        """End a circle of waiters: the one that waits longest is timed out."""

    def undo(self, rollback_id: str) -> object:
        """Turn a rollback round, as a new rollback."""

    def redo(self, rollback_id: str) -> object:
        """Do an undone rollback again, as a new rollback."""
