"""What a step came to, beside that it is done: what its journal knows and its name does not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.model import Step, StepState
from . import figures


def remarks(step: Step) -> Iterator[str]:
    """Yield a line for each thing that is worth knowing of a journaled step; most steps have none."""
    if step.note:
        yield step.note
    data, done = step.data, step.state is StepState.DONE
    match step.name:
        case "push" if done and data.get("state") != "pushed" and data.get("words"):
            yield str(data["words"])
        case "snapshot":
            yield from (text for key in ("problems", "warnings") for text in _texts(data.get(key)))
        case "checks":
            yield from (f"noted: {text}" for text in _texts(data.get("reservations")))
        case "database" if isinstance(data.get("rows"), int):
            tables = ", ".join(_texts(data.get("tables")))
            yield f"{figures.count(_number(data['rows']), 'row')} taken back{f' in {tables}' if tables else ''}"
            if unknown := _number(data.get("unattributed")):
                yield f"{figures.count(unknown, 'write')} of nobody known left as they are"
        case "database" if data.get("restored"):
            files = _number(data.get("files"))
            with_it = f", and {figures.count(files, 'file')}" if files else ""
            yield f"restored from {data['restored']}{with_it}"
        case "reset_agent":
            counts = [(_number(data.get(key)), one) for key, one in (("leases", "lease"), ("messages", "message"))]
            counts.append((len(_texts(data.get("handovers"))), "hand-over"))
            gone = [figures.count(number, one) for number, one in counts if number]
            if gone:
                yield f"taken back: {', '.join(gone)}"
            yield from (f"left as it is: {text}" for text in _texts(data.get("left")))
        case "metrics" if step.state is StepState.DOING:
            yield f"waits until what is measured of {step.subject} has stayed in band for its window"
        case "metrics" if done and data.get("supervised") is False:
            yield f"nothing was measured: {step.subject} does not run under rollcage"
        case "metrics" if done and data.get("ended"):
            yield f"{step.subject} ended by itself: {data['ended']}"
        case "metrics" if done and isinstance(window := data.get("window_s"), (int, float)) and window:
            yield f"in band for {figures.duration(window)}"


def _texts(value: object) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else []


def _number(value: object) -> int:
    if isinstance(value, (list, tuple)):
        return len(value)
    return value if isinstance(value, int) else 0
