"""A recording gives the same findings every time, however it was written, and says which line is damaged."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.clock import iso
from rollcage.core.config import Settings
from rollcage.core.detect.replay import parse_signal, replay
from rollcage.core.errors import UsageError
from rollcage.core.model import Signal, SignalKind

from .signals import at, metric, short, signal


def line(each: Signal) -> str:
    body = {"at": iso(each.at), "agent": each.agent, "kind": each.kind, "name": each.name, "attrs": dict(each.attrs)}
    body |= {key: value for key in ("value", "text", "unit") if (value := getattr(each, key)) is not None}
    return json.dumps(body)


def test_a_recording_of_a_bad_hour(tmp_path: Path) -> None:
    recording = tmp_path / "signals.jsonl"
    signals = [
        signal(0, SignalKind.STATE, "running"),
        metric(1, "error_rate", 0.02),
        metric(2, "error_rate", 0.5),
        signal(3, SignalKind.TEST, "tests", agent="", text="failed", attrs={"check": True, "failing": ["test_add"]}),
        signal(3_000, SignalKind.STEP, "verify"),
    ]
    recording.write_text("\n\n".join(map(line, signals)) + "\n", encoding="utf-8")
    with recording.open(encoding="utf-8") as lines:
        found = list(replay(lines, Settings()))
    assert short(found) == [
        ("error_rate", "warning"),
        ("error_rate", "critical"),
        ("check:tests", "critical"),
        ("communication_failure", "warning"),
        ("communication_failure", "ended"),
    ]
    assert found[3].at == at(302)  # when it became true, not when the next line said so


SIGNALS = st.lists(
    st.one_of(
        st.builds(
            metric,
            st.integers(0, 8).map(lambda minute: minute * 60.0),
            st.sampled_from(["error_rate", "memory_usage", "matching_accuracy", "data_consistency"]),
            st.sampled_from([0.0, 0.5, 0.96, 2.0, 6e9, 8e9, float("nan")]),
            agent=st.sampled_from(["a", "b", ""]),
        ),
        st.builds(
            lambda minute, result, agent: signal(
                minute * 60.0, SignalKind.TEST, "tests", text=result, attrs={"check": True, "suspect_agent": agent}
            ),
            st.integers(0, 8),
            st.sampled_from(["passed", "failed", "flaky"]),
            st.sampled_from(["a", ""]),
        ),
        st.builds(
            lambda minute, agent: signal(minute * 60.0, SignalKind.ERROR, agent=agent, text=f"no route {minute}"),
            st.integers(0, 8),
            st.sampled_from(["a", "b"]),
        ),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(SIGNALS, st.integers(0, 2**32))
def test_the_order_within_one_moment_does_not_matter_and_replays_are_equal(signals: list[Signal], seed: int) -> None:
    ordered = sorted(signals, key=lambda each: each.at)
    shuffled: list[Signal] = []
    for _, moment in groupby(ordered, key=lambda each: each.at):
        group = list(moment)
        Random(seed).shuffle(group)
        shuffled += group
    first = list(map(str, replay(map(line, ordered), Settings())))
    assert first == list(map(str, replay(map(line, ordered), Settings())))
    assert first == list(map(str, replay(map(line, shuffled), Settings())))


def test_foreign_text_is_cleaned_where_it_enters() -> None:
    read = parse_signal(
        '{"at":"2026-11-20T14:00:00Z","agent":"a\\u001b[31m","kind":"error","text":"x\\u202ey","attrs":{"k\\u0007":["\\u001b]0;t\\u0007z"]}}',
        1,
    )
    assert (read.agent, read.text, read.attrs) == ("a", "xy", {"k": ["z"]})


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"kind":"metric","name":"a","value":1}', "has no time"),
        ('{"at":"yesterday","kind":"metric","name":"a","value":1}', "has no time"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metrix"}', "has no known kind; allowed: metric, log"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metric","value":1}', "without a name"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metric","name":"a"}', "without a value"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metric","name":"a","value":"1"}', "'value' that is no number"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metric","name":"a","value":true}', "'value' that is no number"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"metric","name":"a","value":1' + "0" * 400 + "}", "too large"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"log","text":3}', "'text' that is no text"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"log","attrs":[1]}', "attrs that are no JSON object"),
        ('{"at":"2026-11-20T14:00:00Z","kind":"log","vlaue":1}', "unknown key vlaue"),
    ],
    ids=range(14),
)
def test_a_damaged_line_is_named_with_what_is_wrong(damaged: str, problem: str) -> None:
    good = line(metric(0, "error_rate", 0.2))
    found = replay([good, "", damaged], Settings())
    assert not next(found).ended
    with pytest.raises(UsageError, match=r"^line 3 of the recording") as error:
        list(found)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_recording_has_no_findings() -> None:
    assert list(replay([], Settings())) == []
