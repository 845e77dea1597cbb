"""YAML as text with lines: no guesses, no bombs, no crashes."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcage.core.lined_yaml import MAX_DEPTH, LinedYaml, YamlError, read


def test_scalars_stay_what_was_written() -> None:
    tree = read("a: on\nb: 012\nc: 22:30\nd: 1.10\ne: null\nf:\ng: 'null'\nh: ~\ni: |\n  two\n  lines\n")
    written = {key: tree.value[key] for key in "abcd"}
    assert written == {"a": "on", "b": "012", "c": "22:30", "d": "1.10"}
    assert [tree.value[key] for key in "efgh"] == [None, None, "null", None]
    assert tree.value["i"] == "two\nlines\n"


def test_every_path_has_its_line() -> None:
    tree = read("# first\na:\n  - x\n  - b: 1\n    c: {d: 2,\n         e: 3}\n")
    assert tree.line(("a",)) == 2
    assert tree.line(("a", 0)) == 3
    assert tree.line(("a", 1, "b")) == 4
    assert tree.line(("a", 1, "c", "e")) == 6
    assert tree.line(("a", 1, "missing", "below")) == 4


def test_a_key_given_twice_is_a_problem_on_its_second_line() -> None:
    tree = read("a: 1\nb:\n  c: 1\n  c: 2\n")
    assert [(problem.line, problem.path) for problem in tree.problems] == [(4, ("b", "c"))]
    assert "first on line 3" in tree.problems[0].problem


def test_aliases_and_merges_work() -> None:
    tree = read("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: *b\nthree: {<<: [*b, {z: 4}]}\n")
    assert tree.value["one"] == {"x": "1", "y": "3"}
    assert tree.value["two"] == {"x": "1", "y": "2"}
    assert tree.value["three"] == {"x": "1", "y": "2", "z": "4"}


def _bomb() -> str:
    names = "abcdefghijkl"
    lines = [f"a: &a [{', '.join('x' * 9)}]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise(names)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_bomb(), "too many values"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("[" * MAX_DEPTH + "[]" + "]" * MAX_DEPTH, "nested too deeply"),
        ("a: &a [*a]", r"\*a"),
        ("a: *b", r"\*b"),
        ("? [a]\n: b", "as a key"),
        ("a: &k {}\n? *k\n: b", "as a key"),
        ("a: !!python/object/apply:os.system [id]", "tag"),
        ("!local a", "tag"),
        ("a: 1\n---\nb: 2", "second document"),
        ("a: [1\n", "not valid YAML"),
        ("a:\n\tb: 1", "spaces"),
        ("a: b: c", "not valid YAML"),
        ("a: \x07", "control character"),
        ("one: {<<: text}", "no mapping"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(text: str, problem: str) -> None:
    with pytest.raises(YamlError, match=problem):
        read(text)


def test_errors_name_the_line() -> None:
    with pytest.raises(YamlError) as caught:
        read("a: 1\nb: é\nc: \x1b[31m\n")
    assert caught.value.problem.line == 3


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*<!?|>#'\"\n \t,~%@é\x07"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_is_a_yaml_error(text: str) -> None:
    with suppress(YamlError):
        read(text)


_PLAIN = st.text(alphabet="abcxyz", min_size=1, max_size=4)
_TREES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_PLAIN, inner, max_size=3),
    max_leaves=12,
)


@given(_TREES)
@settings(max_examples=100, deadline=None)
def test_it_agrees_with_pyyaml_on_plain_trees(tree: object) -> None:
    for flow in (True, False):
        result: LinedYaml = read(yaml.safe_dump(tree, default_flow_style=flow))
        assert result.value == tree
