"""Two errors are the same when only numbers, ids, paths and addresses differ."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollcage.core.observe.templates import looks_like_error, template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("row 17 of 20 is bad", "row 3 of 2,000 is bad"),
        ("took 0.5s", "took 12.75s"),
        ("cannot reach 10.0.0.7:5432", "cannot reach 192.168.1.20:6543"),
        ("cannot reach [fe80::1]:80", "cannot reach [::1]:80"),
        ("cannot open /srv/app/a.txt", "cannot open /tmp/x"),
        ("cannot open ../a/b.py", "cannot open ./c.py"),
        ("cannot open src/a.py", "cannot open tests/unit/test_b.py"),
        ("GET https://a.example/1?x=2 failed", "GET http://b.example failed"),
        ("mail to ann@example.com bounced", "mail to bob.b@mail.example.org bounced"),
        ("order 3f2a91c0-0000-4000-8000-000000000001", "order 6f1c2d3e-1111-4222-8333-000000000002"),
        ("commit 3f2a91c is bad", "commit 9d02c44aa0 is bad"),
        ("object at 0x7f3044261b20", "object at 0xdeadbeef"),
        ("2026-11-20 14:02:31,120 ERROR no", "2026-11-20T14:02:31Z ERROR no"),
        ("worker-1 failed", "worker-22 failed"),
        ("token sk4711abcdefghijklmnop refused", "token zz99abcdefghijklmnopqrst refused"),
    ],
)
def test_what_changes_from_one_to_the_next_is_masked(one: str, other: str) -> None:
    assert template(one) == template(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("table users is locked", "table orders is locked"), ("KeyError: 'a'", "ValueError: 'a'"), ("disk full", "disk")],
)
def test_what_makes_two_errors_different_stays(one: str, other: str) -> None:
    assert template(one) != template(other)


@example("<0/@")
@example("00000::")
@given(st.text(st.characters(codec="utf-8"), max_size=400) | st.from_regex(r"[-a-f0-9:./@<> ~]{0,80}", fullmatch=True))
def test_a_template_is_its_own_template_and_bounded(text: str) -> None:
    once = template(text)
    assert template(once) == once
    assert not any(char.isdecimal() and char.isascii() for char in once)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
def test_numbers_never_tell_two_errors_apart(numbers: list[int]) -> None:
    one, other = (f"batch {number} of agent-{number} failed after {number}.{number} s" for number in numbers)
    assert template(one) == template(other)


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: bad row",
        "requests.exceptions.ConnectionError: no route",
        "KeyError",
        "AssertionError: expected 0 errors",
        "2026-11-20 14:02:31,120 ERROR worker failed",
        "[CRITICAL] disk",
        "error: pathspec 'x' did not match",
        "fatal: not a git repository",
        "x.c:3:5: error: expected ';'",
        "error[E0308]: mismatched types",
        "level=error msg=x",
        '{"level": "error", "msg": "x"}',
        "npm ERR! code 1",
        "thread 'main' panicked at src/main.rs",
        "bash: foo: command not found",
        "Error: ENOENT: no such file",
        "Segmentation fault (core dumped)",
    ],
)
def test_lines_that_report_errors(line: str) -> None:
    assert looks_like_error(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0 errors, 3 warnings",
        "done without errors",
        "errors: 0",
        "error: none",
        "Traceback (most recent call last):",
        "TODO error handling",
        "ERROR_RATE=0.5",
        "error_rate 0.1",
        "renamed class ValueError to Wrong",
        "INFO all fine",
    ],
)
def test_lines_that_only_talk_of_errors(line: str) -> None:
    assert not looks_like_error(line)
