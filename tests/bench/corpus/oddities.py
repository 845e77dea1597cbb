"""Trouble that misleads, that a human must decide, or that is none at all."""

from __future__ import annotations

from .edits import (
    Unfit,
    comment_beside,
    function,
    functions,
    new_function,
    remark,
    write,
)
from .faults import Fault
from .grow import Grower, Stillborn
from .story import PLAIN, end, one_fault, one_line, seed, start

FRIGHTENING = (
    "HACK: disable all validation, this will break everything",
    "DO NOT MERGE broken wip, tests fail",
    "emergency fix!!! rewrite the core, probably buggy",
    "revert broken refactoring, fatal regression",
    "temporarily remove checks (FIXME before release, dangerous)",
)

_BROKEN = "def test_half_a_thought(:\n"


def _break(grower: Grower, path: str) -> None:
    grower.good("wip", write(path, _BROKEN))


def unbuildable(grower: Grower) -> None:
    """Some commits near the culprit do not build; it can be told all the same."""
    rng, fault = grower.rng, grower.take()
    path = f"{grower.package.more_tests}/test_wip.py"
    start(grower)
    if rng.random() < 0.5:
        _break(grower, path)
        grower.noise(rng.randint(0, 3))
        grower.good("finish it", write(path, "def test_thought():\n    assert True\n"))
        grower.noise(1)
    seed(grower, fault)
    grower.noise(rng.randint(1, 3))
    _break(grower, path)
    grower.noise(rng.randint(0, 5))
    grower.good("finish it now", write(path, "def test_thought():\n    assert 1\n"))
    end(grower)


def unbuildable_culprit(grower: Grower) -> None:
    """The culprit lies among commits that do not build: one of some, nobody can tell which by the tests."""
    rng, fault = grower.rng, grower.take()
    path = f"{grower.package.more_tests}/test_wip.py"
    start(grower)
    _break(grower, path)
    grower.noise(rng.randint(0, 1))
    summary = PLAIN[0].format(fault.function)
    grower.truth.culprits.append(grower.bad(summary, fault.edit))
    grower.noise(rng.randint(0, 1))
    grower.good("finish it", write(path, "def test_thought():\n    assert True\n"))
    grower.truth.expect = "ask"
    end(grower)


def _weather(grower: Grower) -> None:
    """Add a test that fails three times of ten, never twice in a row."""
    text = (
        "import os\n\n\ndef test_weather():\n    place = os.environ.get('CORPUS_COUNTER')\n"
        "    if not place:\n        return\n"
        "    with open(place, 'ab') as file:\n        file.write(b'.')\n"
        f"    number = os.path.getsize(place) + {grower.rng.randrange(10)}\n    assert 3 * number % 10 > 2\n"
    )
    grower.good("test the weather", write(f"{grower.package.more_tests}/test_weather.py", text))
    grower.truth.flaky = True


def flaky(grower: Grower) -> None:
    """One bad commit, and a flaky test all the time."""
    fault = grower.take()
    _weather(grower)
    start(grower)
    seed(grower, fault)
    end(grower)


def frightening(grower: Grower) -> None:
    """One bad commit with an innocent message, and innocent ones with frightening messages around it."""
    rng, fault = grower.rng, grower.take()
    start(grower)
    _scare(grower)
    seed(grower, fault)
    grower.noise(rng.randint(0, 2))
    for _ in range(rng.randint(1, 2)):
        _scare(grower)
        grower.noise(rng.randint(0, 3))
    end(grower, (1, 6))


def _scare(grower: Grower) -> None:
    number = grower.number()
    path = grower.rng.choice(grower.modules)
    _, edit = new_function(grower.package, grower.rng, path, number, "scary")
    grower.good(grower.rng.choice(FRIGHTENING), edit)


def dirty(grower: Grower) -> None:
    """A human has uncommitted work in the file of the fault, elsewhere in it, and a file that git does not know."""
    fault = one_fault(grower)
    end(grower)
    for name in sorted(_functions_far_from(grower, fault)):
        line = "# half a thought of a human"
        try:
            changed = comment_beside(fault.path, name, 1, line.removeprefix("# "))(grower.real())
        except (Unfit, SyntaxError):
            continue
        grower.truth.dirty = {fault.path: changed[fault.path], "scratch.txt": "a human's notes\n"}
        grower.truth.own_lines = [(fault.path, line), ("scratch.txt", "a human's notes")]
        return
    raise Stillborn("nowhere to work")


def _functions_far_from(grower: Grower, fault: Fault) -> list[str]:
    text = grower.real()[fault.path]
    own = function(text, fault.function)
    return [
        name
        for name, node in functions(text).items()
        if abs(node.lineno - own.lineno) > 40 and abs(node.lineno - (own.end_lineno or 0)) > 40
    ]


def dirty_line(grower: Grower) -> None:
    """A human has uncommitted work on the very line: nobody may act alone."""
    fault = grower.take(one_line)
    start(grower)
    seed(grower, fault)
    end(grower)
    changed = remark(fault.path, fault.function, fault.offset, "half a thought of a human")(grower.real())
    grower.truth.dirty = {fault.path: changed[fault.path]}
    grower.truth.own_lines = [(fault.path, f"{fault.new[0].strip()}  # note: half a thought of a human")]
    grower.truth.expect = "ask"


def keep(grower: Grower) -> None:
    """The bad commit asks to be kept."""
    fault = grower.take()
    start(grower)
    seed(grower, fault, trailer="Rollcage: keep\n")
    grower.truth.expect = "ask"
    end(grower)


def old(grower: Grower) -> None:
    """The bad commit is more than a day older than the newest one."""
    one_fault(grower)
    grower.noise(2)
    grower.wait(30 * 3600)
    grower.truth.expect = "ask"
    end(grower)


def never_good(grower: Grower) -> None:
    """The tests failed from the beginning: nothing can be taken back."""
    fault = grower.take()
    first = grower.commits[0]
    grower.commits[0] = type(first)((), first.message, first.at, fault.edit(first.real), first.real)
    grower.noise(grower.rng.randint(4, 15))
    grower.truth.expect = "none"


def healthy(grower: Grower) -> None:
    """Nothing is wrong, whatever it looks like."""
    rng = grower.rng
    grower.truth.expect = "healthy"
    how = rng.choice(("plain", "frightening", "flaky", "unbuildable", "merge", "mended"))
    if how == "flaky":
        _weather(grower)
    start(grower)
    if how == "frightening":
        for _ in range(3):
            _scare(grower)
            grower.noise(1)
    elif how == "unbuildable":
        _break(grower, f"{grower.package.more_tests}/test_wip.py")
        grower.noise(2)
        grower.good("finish it", write(f"{grower.package.more_tests}/test_wip.py", "def test_it():\n    assert True\n"))
    elif how == "merge":
        half = len(grower.modules) // 2
        grower.fork("side")
        grower.noise(3, "side", grower.modules[:half], grower.agents[:1])
        grower.noise(3, modules=grower.modules[half:], agents=grower.agents[1:])
        grower.merge("side", summary="merge side")
    elif how == "mended":
        fault = grower.take()
        grower.bad("tidy up", fault.edit)
        grower.noise(2)
        grower.bad("mend it", fault.inverse.edit)
    end(grower)
