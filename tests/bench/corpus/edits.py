"""Good edits that change no behaviour, as people and agents make them, each a function from one tree to the next.

An edit names what it changes by file, function and place within it, never by a line number of the whole file: so the
same edit can be made in a tree with a fault and in the one without it, which is how the ideal outcome is known. One
that does not fit a tree raises `Unfit`.
"""

from __future__ import annotations

import ast
import io
import random
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from .packages import Files, Package
from .templates import TEMPLATES

Edit = Callable[[Files], Files]
Function = ast.FunctionDef


REMARK = "  # note: "
"""What a remark behind a line begins with."""


class Unfit(Exception):
    """The edit does not fit this tree."""


@lru_cache(maxsize=4000)
def functions(text: str) -> dict[str, Function]:
    """Return the functions and methods of a module by qualified name; of two with one name neither."""
    found: dict[str, list[Function]] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(prefix + node.name, []).append(node)
            elif isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")

    walk(ast.parse(text).body, "")
    return {name: nodes[0] for name, nodes in found.items() if len(nodes) == 1}


def function(text: str, name: str) -> Function:
    """Return one function of a module. Raises Unfit."""
    try:
        return functions(text)[name]
    except KeyError:
        raise Unfit(name) from None


def within(path: str, name: str, change: Callable[[list[str], Function], list[str]]) -> Edit:
    """Return the edit that gives ``change`` the lines of the module and the function's node, as it is then."""

    def edit(files: Files) -> Files:
        text = text_of(files, path)
        lines = change(text.split("\n"), function(text, name))
        changed = "\n".join(lines)
        ast.parse(changed)
        return {**files, path: changed}

    return edit


def text_of(files: Files, path: str) -> str:
    """Return a file's text. Raises Unfit."""
    if path not in files:
        raise Unfit(path)
    return files[path]


def write(path: str, text: str) -> Edit:
    """Return the edit that makes a file, or makes it anew."""
    return lambda files: {**files, path: text}


def append(path: str, text: str) -> Edit:
    """Return the edit that adds to the end of a file, which is made where it is missing."""
    return lambda files: {**files, path: files.get(path, "") + text}


def both(*edits: Edit) -> Edit:
    """Return the edits as one."""

    def edit(files: Files) -> Files:
        for each in edits:
            files = each(files)
        return files

    return edit


# -- edits within functions


def comment(path: str, name: str, at: int, text: str) -> Edit:
    """Put a comment above a statement of the function's body."""

    def change(lines: list[str], node: Function) -> list[str]:
        first = _statement(node, at).lineno - 1
        return [*lines[:first], f"{_indent(lines[first])}# {text}", *lines[first:]]

    return within(path, name, change)


def docstring(path: str, name: str, text: str) -> Edit:
    """Add a paragraph at the end of a docstring of several lines."""

    def change(lines: list[str], node: Function) -> list[str]:
        last = (node.body[0].end_lineno or 0) - 1
        if not ast.get_docstring(node) or lines[last].strip() not in {'"""', "'''"}:
            raise Unfit(name)
        return [*lines[:last], "", f"{_indent(lines[last])}{text}", *lines[last:]]

    return within(path, name, change)


def name_result(path: str, name: str) -> Edit:
    """Give what the function returns at its end a name first."""

    def change(lines: list[str], node: Function) -> list[str]:
        last = node.body[-1]
        at = last.lineno - 1
        if not isinstance(last, ast.Return) or last.value is None or last.end_lineno != last.lineno:
            raise Unfit(name)
        if "result" in _names(node) or not lines[at].strip().startswith("return ") or "#" in lines[at]:
            raise Unfit(name)
        indent, value = _indent(lines[at]), lines[at].strip().removeprefix("return ")
        return [*lines[:at], f"{indent}result = {value}", f"{indent}return result", *lines[at + 1 :]]

    return within(path, name, change)


def name_condition(path: str, name: str, new: str) -> Edit:
    """Give the first plain condition of the function a name."""

    def change(lines: list[str], node: Function) -> list[str]:
        for each in node.body:
            at = each.lineno - 1
            if isinstance(each, ast.If) and each.test.end_lineno == each.lineno and lines[at].endswith(":"):
                break
        else:
            raise Unfit(name)
        if new in _names(node) or "#" in lines[at] or ":=" in lines[at]:
            raise Unfit(name)
        indent, condition = _indent(lines[at]), lines[at].strip().removeprefix("if ").removesuffix(":")
        return [*lines[:at], f"{indent}{new} = {condition}", f"{indent}if {new}:", *lines[at + 1 :]]

    return within(path, name, change)


def rename_local(path: str, name: str, old: str, new: str) -> Edit:
    """Rename a local variable wherever the function uses it."""

    def change(lines: list[str], node: Function) -> list[str]:
        if old not in renamable(node) or new in _names(node):
            raise Unfit(name)
        lines = list(lines)
        named = [each for each in ast.walk(node) if isinstance(each, ast.Name) and each.id == old]
        places = {(each.lineno - 1, each.col_offset) for each in named}
        for row, column in sorted(places, reverse=True):
            start = len(lines[row].encode()[:column].decode())
            lines[row] = lines[row][:start] + new + lines[row][start + len(old) :]
        return lines

    return within(path, name, change)


def renamable(node: Function) -> list[str]:
    """Return the local variables that can be renamed by their name nodes alone."""
    inner = [each for each in ast.walk(node) if each is not node]
    if any(isinstance(each, (ast.Global, ast.Nonlocal, ast.JoinedStr, ast.ClassDef, ast.Lambda)) for each in inner):
        return []
    if any(isinstance(each, (ast.FunctionDef, ast.ExceptHandler)) for each in inner):
        return []
    given = {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    called = {each.id for each in inner if isinstance(each, ast.Name)} & {"locals", "vars", "exec", "eval"}
    stored = [each.id for each in inner if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    return [] if called else sorted(set(stored) - given)


def remark(path: str, name: str, offset: int, text: str) -> Edit:
    """Put a remark behind the code of one line of the function, ``offset`` lines below its first."""

    def change(lines: list[str], node: Function) -> list[str]:
        at = node.lineno - 1 + offset
        if at >= (node.end_lineno or 0) or "#" in lines[at] or not _ends_a_line(lines, at):
            raise Unfit(name)
        return [*lines[:at], f"{lines[at]}{REMARK}{text}", *lines[at + 1 :]]

    return within(path, name, change)


def comment_beside(path: str, name: str, offset: int, text: str) -> Edit:
    """Put a comment right above one line of the function, ``offset`` lines below its first."""

    def change(lines: list[str], node: Function) -> list[str]:
        at = node.lineno - 1 + offset
        if not any(each.lineno - 1 == at for each in ast.walk(node) if isinstance(each, ast.stmt)):
            raise Unfit(name)
        if lines[at].strip().startswith(("elif", "else")):
            raise Unfit(name)
        return [*lines[:at], f"{_indent(lines[at])}# {text}", *lines[at:]]

    return within(path, name, change)


def quotes(path: str, name: str) -> Edit:
    """Write the function's plain strings with the other quotes."""

    def change(lines: list[str], node: Function) -> list[str]:
        if any(isinstance(each, ast.JoinedStr) for each in ast.walk(node)):
            raise Unfit(name)
        first, last, changed = node.lineno - 1, node.end_lineno or 0, list(lines)
        part = "\n".join(line[len(_indent(lines[first])) :] for line in lines[first:last]) + "\n"
        cut = len(_indent(lines[first]))
        try:
            tokens = list(tokenize.generate_tokens(io.StringIO(part).readline))
        except (tokenize.TokenError, IndentationError):
            raise Unfit(name) from None
        for token in reversed(tokens):
            if token.type == tokenize.STRING and re.fullmatch(r"'[^'\"\\]+'", token.string):
                row, column = first + token.start[0] - 1, cut + token.start[1]
                line = changed[row]
                if line[column : column + len(token.string)] == token.string:
                    changed[row] = line[:column] + f'"{token.string[1:-1]}"' + line[column + len(token.string) :]
        if changed == lines:
            raise Unfit(name)
        return changed

    return within(path, name, change)


def move(path: str, name: str) -> Edit:
    """Move a function that only functions use to the end of its module."""

    def change(lines: list[str], node: Function) -> list[str]:
        module = ast.parse("\n".join(lines))
        early: list[ast.AST] = []
        for each in module.body:
            early += _early(each) if isinstance(each, ast.FunctionDef) else [each]
        used = {sub.id for each in early for sub in ast.walk(each) if isinstance(sub, ast.Name)}
        if "." in name or node.decorator_list or node.name in used or lines[node.lineno - 2].startswith("#"):
            raise Unfit(name)
        first, last = node.lineno - 1, node.end_lineno or 0
        part, rest = lines[first:last], [*lines[:first], *lines[last:]]
        while rest and not rest[-1]:
            rest.pop()
        return [*rest, "", "", *part, ""]

    return within(path, name, change)


def _early(node: Function) -> list[ast.expr]:
    """Return what of a function is evaluated when its module is."""
    arguments = node.args
    return [*node.decorator_list, *arguments.defaults, *(each for each in arguments.kw_defaults if each)]


def _statement(node: Function, at: int) -> ast.stmt:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not 0 <= at < len(body) or body[at].lineno == node.lineno:
        raise Unfit(node.name)
    found = body[at]
    if isinstance(found, (ast.FunctionDef, ast.ClassDef)) and found.decorator_list:
        raise Unfit(node.name)
    return found


def _names(node: Function) -> set[str]:
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.arg for each in ast.walk(node) if isinstance(each, (ast.arg, ast.keyword)) and each.arg}


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _ends_a_line(lines: list[str], at: int) -> bool:
    """Say whether a comment may stand behind the line ``at``: not within a string, nor before a continuation."""
    try:
        before, behind = (
            ast.dump(ast.parse("\n".join(each)))
            for each in (lines, [*lines[:at], f"{lines[at]}  # remark", *lines[at + 1 :]])
        )
    except SyntaxError:
        return False
    return before == behind


# -- good work of all kinds


WORDS = (
    "Callers rely on this order.",
    "Kept simple on purpose: it is called in a loop.",
    "See the tests for the corner cases.",
    "Nothing here may raise.",
    "The empty case is handled by the caller.",
    "This is the slow path.",
    "Cheap: no copy is made.",
    "Inputs were checked above.",
    "Ties go to the first one.",
    "The name is part of the interface.",
)


def good_work(
    package: Package,
    rng: random.Random,
    files: Files,
    modules: Sequence[str],
    reserved: set[tuple[str, str]],
    number: int,
    agent: str,
) -> Iterator[tuple[str, Edit]]:
    """Yield good edits of ``modules`` with their summaries for ever, in no order; some may be unfit."""
    while True:
        path = rng.choice(modules)
        names = [name for name in functions(files[path]) if (path, name) not in reserved]
        if not names:
            continue
        name = rng.choice(names)
        node, short = functions(files[path])[name], name.rpartition(".")[2]
        text = rng.choice(WORDS)
        kinds = ("comment", "docstring", "result", "condition", "rename", "quotes", "move", "new", "new", "notes")
        kind = rng.choice(kinds)
        if kind == "comment":
            yield f"say why in {short}", comment(path, name, rng.randrange(max(len(node.body), 1)), text)
        elif kind == "docstring":
            yield f"document {short}", docstring(path, name, text)
        elif kind == "result":
            yield f"name what {short} returns", name_result(path, name)
        elif kind == "condition":
            yield f"name the first condition of {short}", name_condition(path, name, f"is_case_{number}")
        elif kind == "rename" and renamable(node):
            old = rng.choice(renamable(node))
            yield f"rename {old} in {short}", rename_local(path, name, old, f"{old.strip('_')}_{number}")
        elif kind == "quotes":
            yield f"one kind of quotes in {short}", quotes(path, name)
        elif kind == "move":
            yield f"move {short} to the end", move(path, name)
        elif kind == "new":
            yield new_function(package, rng, path, number, agent)
        elif kind == "notes":
            yield f"notes on {short}", append(f"docs/{agent}.md", f"- {short}: {text}\n")


def new_function(package: Package, rng: random.Random, path: str, number: int, agent: str) -> tuple[str, Edit]:
    """Return a summary and the edit that adds a small function to a module, and tests of it."""
    name, code, tests = rng.choice(TEMPLATES)
    new = f"{name}_{number}"
    asserted = "".join(f"    assert {line}\n" for line in tests)
    test = f"\n\nfrom {package.importable(path)} import {new}\n\n\ndef test_{new}():\n{asserted}"
    edit = both(
        append(path, f"\n\n{code}".replace("NAME", new)),
        append(f"{package.more_tests}/test_{agent}.py", test.replace("NAME", new)),
    )
    return f"add {new} with tests", edit
