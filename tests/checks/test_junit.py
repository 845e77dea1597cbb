"""A JUnit report gives the names of failing tests; whatever else it is, it does no harm."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rollcage.core.checks.junit import DEPTH_LIMIT, SIZE_LIMIT, read_report


def report(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "report.xml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_names_failing_and_passing_tests_also_of_nested_suites(tmp_path: Path) -> None:
    read = read_report(
        report(
            tmp_path,
            """<testsuites><testsuite name="a">
                 <testcase classname="tests.test_calc" name="test_add"><failure message="no">trace</failure></testcase>
                 <testcase classname="tests.test_calc" name="test_mul"/>
                 <testcase classname="tests.test_calc" name="test_later"><skipped/></testcase>
                 <testsuite name="b"><testcase name="test_alone"><error/></testcase></testsuite>
               </testsuite></testsuites>""",
        )
    )
    assert read.failing == ("tests.test_calc.test_add", "test_alone")
    assert read.passing == {"tests.test_calc.test_mul"}
    assert read.problem == ""


def test_a_test_that_passed_only_when_run_again_counts_as_failing(tmp_path: Path) -> None:
    case = '<testcase classname="t" name="a">{}</testcase>'
    read = read_report(report(tmp_path, f"<testsuite>{case.format('<failure/>')}{case.format('')}</testsuite>"))
    assert (read.failing, read.passing) == (("t.a",), frozenset())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<testsuite><testcase",
        b"<html/>",
        b"\xff\xfe\x00\x00",
        b'<?xml version="1.0" encoding="klingon"?><testsuite/>',
        b"<testsuite>" + b"<testsuite>" * (DEPTH_LIMIT + 1),
        b"<testsuite>" + b" " * SIZE_LIMIT + b"</testsuite>",
    ],
    ids=["empty", "text", "cut", "html", "binary", "encoding", "deep", "huge"],
)
def test_what_is_no_report_is_a_problem_in_one_line(tmp_path: Path, content: bytes) -> None:
    read = read_report(report(tmp_path, content))
    assert read.problem
    assert "\n" not in read.problem
    assert (read.failing, read.passing) == ((), frozenset())


BOMB = '<!DOCTYPE b [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 20}">' for i in range(12)
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "content",
    [
        f'<?xml version="1.0" encoding="ENC"?>{BOMB}]><testsuite name="&m;"/>',
        '<?xml version="1.0" encoding="ENC"?><!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><a b="&x;"/>',
    ],
    ids=["bomb", "file"],
)
def test_entities_are_never_expanded(tmp_path: Path, content: str, encoding: str) -> None:
    began = time.monotonic()
    read = read_report(report(tmp_path, content.replace("ENC", encoding).encode(encoding)))
    assert "document type" in read.problem
    assert read.failing == ()
    assert time.monotonic() - began < 5


def test_names_are_cleaned(tmp_path: Path) -> None:
    read = read_report(
        report(tmp_path, '<testsuite><testcase name="a&#155;31m\u202eb"><error/></testcase></testsuite>')
    )
    assert read.failing == ("ab",)


def test_a_missing_report_a_link_and_a_pipe_are_problems(tmp_path: Path) -> None:
    target = report(tmp_path, "<testsuite/>")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", "link", "pipe"):
        assert read_report(tmp_path / name).problem
