"""Seeded faults: one small change of a function each, by the usual mutation operators, which real tests really find.

Operators after R. DeMillo, R. Lipton, F. Sayward, *Hints on test data selection* (1978), as today's mutation tools have
them: relational, arithmetic and logical operators swapped, constants off by one, a condition negated or its branch
removed, arguments swapped, the returned value dropped.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import unit
from .edits import REMARK, Edit, Function, Unfit, functions, within
from .packages import Files, Package, cache, fetch

WANTED = 40
"""Faults that are looked for in each package."""
HANGS_S = 15


@dataclass(frozen=True, slots=True)
class Fault:
    """A change of one place in a function that makes tests fail."""

    path: str
    function: str
    operator: str
    offset: int
    """Lines from the function's first to the place."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    failing: tuple[str, ...] = ()
    """The tests that it makes fail, by their names in the report."""

    @property
    def edit(self) -> Edit:
        """The edit that seeds it. It is unfit where its lines are not there exactly once in the function."""

        def change(lines: list[str], node: Function) -> list[str]:
            first, last, size = node.lineno - 1, node.end_lineno or 0, len(self.old)
            # A remark that stands behind a line by now stays there.
            bare = [line.partition(REMARK)[0] for line in lines[first:last]]
            found = [first + at for at in range(len(bare) - size + 1) if tuple(bare[at : at + size]) == self.old]
            if len(found) != 1:
                raise Unfit(self.function)
            remark = "".join(lines[found[0] + size - 1].partition(REMARK)[1:])
            new = [*self.new[:-1], self.new[-1] + remark]
            return [*lines[: found[0]], *new, *lines[found[0] + size :]]

        return within(self.path, self.function, change)

    @property
    def inverse(self) -> Fault:
        """The edit that mends it, as a fault."""
        return replace(self, old=self.new, new=self.old)

    @property
    def place(self) -> tuple[str, str]:
        """The function that it is in."""
        return self.path, self.function


_COMPARE = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.FloorDiv: "*", ast.Div: "*", ast.Mod: "//"}


def candidates(path: str, text: str) -> Iterator[Fault]:
    """Yield what may be a fault, untested."""
    lines = text.split("\n")
    for name, node in functions(text).items():
        for each in ast.walk(node):
            for operator, first, last, new in _changes(each, lines):
                fault = Fault(path, name, operator, first - node.lineno, tuple(lines[first - 1 : last]), tuple(new))
                if fault.old != fault.new:
                    yield fault


def _changes(node: ast.AST, lines: list[str]) -> Iterator[tuple[str, int, int, list[str]]]:
    """Yield (operator, first line, last line, new lines)."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield from _between("comparison swapped", node.left, node.comparators[0], _COMPARE[type(node.ops[0])], lines)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not isinstance(node.left, ast.Constant):
        yield from _between("arithmetic swapped", node.left, node.right, _ARITHMETIC[type(node.op)], lines)
    elif isinstance(node, ast.BoolOp):
        word = "or" if isinstance(node.op, ast.And) else "and"
        yield from _between("and/or swapped", node.values[0], node.values[1], word, lines)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield from _instead("wrong constant", node, str(not node.value), lines)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield from _instead("off by one", node, str(node.value + 1), lines)
    elif isinstance(node, ast.Call) and len(node.args) == 2 and all(isinstance(arg, ast.Name) for arg in node.args):
        one, two = node.args
        line = lines[one.lineno - 1]
        if one.lineno == two.lineno and line.isascii():
            assert isinstance(one, ast.Name)
            assert isinstance(two, ast.Name)
            middle = line[one.end_col_offset : two.col_offset]
            new = line[: one.col_offset] + two.id + middle + one.id + line[two.end_col_offset :]
            yield "arguments swapped", one.lineno, one.lineno, [new]
    elif isinstance(node, ast.Return) and node.value is not None and node.lineno == node.end_lineno:
        line = lines[node.lineno - 1]
        if line.strip().startswith("return "):
            yield "value dropped", node.lineno, node.lineno, [line[: node.col_offset] + "return None"]
    elif isinstance(node, ast.If):
        line, last = lines[node.lineno - 1], node.end_lineno or 0
        if line.strip().startswith("if ") and node.test.lineno == node.test.end_lineno:
            if not node.orelse and last - node.lineno < 4:
                yield "branch removed", node.lineno, last, [line[: node.col_offset] + "pass"]
            if line.endswith(":"):
                condition = line[node.col_offset + 3 : -1]
                new = f"{line[: node.col_offset]}if not ({condition}):"
                yield "condition negated", node.lineno, node.lineno, [new]


def _between(
    operator: str, left: ast.expr, right: ast.expr, new: str, lines: list[str]
) -> Iterator[tuple[str, int, int, list[str]]]:
    if left.end_lineno == right.lineno and left.end_col_offset is not None:
        line = lines[right.lineno - 1]
        old = line[left.end_col_offset : right.col_offset]
        if line.isascii() and "(" not in old and ")" not in old:
            changed = f"{line[: left.end_col_offset]} {new} {line[right.col_offset :]}"
            yield operator, right.lineno, right.lineno, [changed]


def _instead(
    operator: str, node: ast.Constant, new: str, lines: list[str]
) -> Iterator[tuple[str, int, int, list[str]]]:
    line = lines[node.lineno - 1]
    if node.lineno == node.end_lineno and line.isascii():
        yield operator, node.lineno, node.lineno, [line[: node.col_offset] + new + line[node.end_col_offset :]]


# -- which of them the tests find


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests of a tree said."""

    status: int
    failing: tuple[str, ...]


def judge(package: Package, files: Files) -> Verdict:
    """Run the package's tests on a tree."""
    with tempfile.TemporaryDirectory(prefix="rollcage-corpus-") as folder:
        lay_out(files, Path(folder))
        return judge_in(package, Path(folder))


def judge_in(package: Package, folder: Path) -> Verdict:
    """Run the package's tests in a folder."""
    command = [sys.executable, unit.__file__, "report.xml", *package.check]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        return Verdict(-1, ())
    report = folder / "report.xml"
    if done.returncode == unit.CANNOT_TELL or not report.exists():
        return Verdict(done.returncode, ())
    cases = ElementTree.parse(report).getroot().iter("testcase")
    failed = [case for case in cases if case.find("failure") is not None]
    failing = tuple(f"{case.get('classname')}::{case.get('name')}" for case in failed)
    report.unlink()
    return Verdict(done.returncode, failing)


def lay_out(files: Files, folder: Path) -> None:
    """Write a tree to a folder."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def pool(package: Package) -> list[Fault]:
    """Return faults that the package's tests find; found once, kept in the cache."""
    kept = cache() / f"faults-{package.name}-{package.version}-{_version()}.json"
    if not kept.exists():
        found = [asdict(fault) for fault in _search(package)]
        whole = kept.with_suffix(".new")
        whole.write_text(json.dumps(found))
        whole.rename(kept)
    return [_fault(each) for each in json.loads(kept.read_text())]


def _fault(known: Mapping[str, Any]) -> Fault:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    return Fault(**fields)


def _search(package: Package) -> Iterator[Fault]:
    files = fetch(package)
    if judge(package, files).status != 0:
        raise RuntimeError(f"the tests of {package.name} {package.version} do not pass here")
    known = [fault for path in package.modules for fault in candidates(path, files[path])]
    random.Random(package.name).shuffle(known)
    found = 0
    each: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory(prefix="rollcage-corpus-") as folder:
        lay_out(files, Path(folder))
        for fault in known:
            if found >= WANTED or each.get(fault.place, 0) >= 4:
                continue
            try:
                changed = fault.edit(files)[fault.path]
            except (Unfit, SyntaxError):
                continue
            (Path(folder) / fault.path).write_text(changed)
            seen = judge_in(package, Path(folder))
            (Path(folder) / fault.path).write_text(files[fault.path])
            unimportable = any("::import" in name for name in seen.failing)
            if seen.status == 1 and 0 < len(seen.failing) <= 25 and not unimportable:
                found, each[fault.place] = found + 1, each.get(fault.place, 0) + 1
                yield replace(fault, failing=seen.failing)


def _version() -> str:
    text = b"".join(Path(place).read_bytes() for place in (__file__, unit.__file__))
    return hashlib.sha256(text).hexdigest()[:12]
