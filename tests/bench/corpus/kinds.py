"""The kinds of trouble: each grows one history and says what is true of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from .edits import (
    REMARK,
    Edit,
    Unfit,
    append,
    both,
    comment_beside,
    function,
    new_function,
    remark,
    renamable,
    rename_local,
    write,
)
from .faults import Fault
from .grow import Grower, Stillborn
from .packages import Files

Kind = Callable[[Grower], None]

PLAIN = ("tidy {}", "simplify {}", "small clean-up of {}", "make {} faster", "refactor {}")
FRIGHTENING = (
    "HACK: disable all validation, this will break everything",
    "DO NOT MERGE broken wip, tests fail",
    "emergency fix!!! rewrite the core, probably buggy",
    "revert broken refactoring, fatal regression",
    "temporarily remove checks (FIXME before release, dangerous)",
)


def _start(grower: Grower, before: tuple[int, int] = (2, 5)) -> None:
    """Some good work that rollcage has seen pass, and some more that it has not."""
    rng = grower.rng
    grower.truth.good = grower.noise(rng.randint(*before))[-1]
    grower.noise(rng.randint(1, 8))


def _end(grower: Grower, after: tuple[int, int] = (3, 14)) -> None:
    grower.noise(grower.rng.randint(*after))


def _seed(
    grower: Grower, fault: Fault, *, branch: str = "main", agent: str = "", also: Edit | None = None, trailer: str = ""
) -> int:
    """Commit the fault as a culprit."""
    summary = grower.rng.choice(PLAIN).format(fault.function.rpartition(".")[2])
    before = grower.branches[branch].tip
    made = grower.bad(summary, fault.edit, agent, branch, also=also or (lambda files: files), trailer=trailer)
    if not grower.truth.culprits:
        grower.must.append((before, True))
    grower.must.append((made, False))
    grower.truth.culprits.append(made)
    return made


def _simple(grower: Grower) -> Fault:
    fault = grower.take()
    _start(grower)
    _seed(grower, fault)
    return fault


def single(grower: Grower) -> None:
    """One bad commit."""
    _simple(grower)
    _end(grower)


def large(grower: Grower) -> None:
    """One bad commit among many good ones."""
    fault = grower.take()
    _start(grower, (4, 10))
    grower.noise(grower.rng.randint(10, 70))
    _seed(grower, fault)
    _end(grower, (20, 70))


def _one_line(fault: Fault) -> bool:
    return len(fault.old) == len(fault.new) == 1 and "#" not in fault.old[0] and "#" not in fault.new[0]


def _joint(grower: Grower, fault: Fault, edit: Edit) -> None:
    """Note the line that the fault and good work share."""
    worlds = (grower.ideal(), edit(grower.ideal()), grower.real(), edit(grower.real()))
    before, after, faulty, head = (set(files[fault.path].split("\n")) for files in worlds)
    shared, real = after - before - head, head - faulty - after
    if len(shared) != 1 or len(real) != 1:
        raise Unfit("no shared line")
    grower.truth.joint.append((fault.path, shared.pop(), real.pop()))


def very_line(grower: Grower) -> None:
    """A later good commit edited the very line: a variable renamed in it, or a remark behind it."""
    fault = grower.take(_one_line)
    _start(grower)
    _seed(grower, fault)
    grower.noise(grower.rng.randint(0, 4))
    edits = [remark(fault.path, fault.function, fault.offset, "the corner case is tested")]
    for name in renamable(function(grower.real()[fault.path], fault.function)):
        if re.search(rf"\b{name}\b", fault.old[0]):
            edits.insert(0, rename_local(fault.path, fault.function, name, f"{name}_now"))
    for edit in edits:
        try:
            _joint(grower, fault, edit)
        except (Unfit, SyntaxError):
            continue
        grower.good(f"clarify {fault.function.rpartition('.')[2]}", edit)
        _end(grower)
        return
    raise Stillborn("the line cannot be edited")


def beside(grower: Grower) -> None:
    """A later good commit edited the line next to it: git reverts that only with a conflict."""
    fault = grower.take(_one_line)
    _start(grower)
    _seed(grower, fault)
    grower.noise(grower.rng.randint(0, 4))
    edit = comment_beside(fault.path, fault.function, fault.offset, "Order matters.")
    grower.good(f"say why in {fault.function}", edit)
    _end(grower)


def wanted_file(grower: Grower) -> None:
    """The bad commit also brought a module that later work needs."""
    fault, rng = grower.take(), grower.rng
    _start(grower)
    path = f"{fault.path.rpartition('/')[0]}/extra_{grower.number()}.py"
    agent = rng.choice(grower.agents)
    _, edit = new_function(grower.package, rng, path, grower.number(), "extra")
    module = edit(grower.ideal())[path].lstrip("\n")
    _seed(grower, fault, agent=agent, also=write(path, f'"""Small helpers."""\n\n\n{module}'))
    grower.noise(rng.randint(0, 4))
    tests = f"{grower.package.more_tests}/test_extra.py"
    grower.good("test the helpers", append(tests, edit(grower.ideal())[tests].lstrip("\n")))
    _end(grower)


def wanted_helper(grower: Grower) -> None:
    """The bad commit also brought a helper, in the file of the fault, that later work uses."""
    fault, rng = grower.take(), grower.rng
    _start(grower)
    agent = rng.choice(grower.agents)
    tests = f"{grower.package.more_tests}/test_helper.py"
    _, edit = new_function(grower.package, rng, fault.path, grower.number(), "helper")

    def helper(files: Files) -> Files:
        return {path: text for path, text in edit(files).items() if path != tests}

    text = edit(grower.ideal())[tests].lstrip("\n")
    _seed(grower, fault, agent=agent, also=helper)
    grower.noise(rng.randint(0, 4))
    grower.good("test the helper", append(tests, text))
    _end(grower)


def wanted_test(grower: Grower) -> None:
    """The bad commit also brought a file of tests that later work added to."""
    fault, rng = grower.take(), grower.rng
    _start(grower)
    tests = f"{grower.package.more_tests}/test_late.py"
    _, one = new_function(grower.package, rng, fault.path, grower.number(), "late")
    text = one(grower.ideal())[tests].lstrip("\n")
    grower.good("add a helper", lambda files: {path: text for path, text in one(files).items() if path != tests})
    _seed(grower, fault, also=write(tests, text))
    grower.noise(rng.randint(0, 4))
    _, two = new_function(grower.package, rng, fault.path, grower.number(), "late")
    grower.good("more tests", two)
    _end(grower)


def woven(grower: Grower) -> None:
    """The bad commit also renamed a variable, on the faulty line too, and later work goes on with the new name."""
    for _ in range(20):
        fault = grower.take(_one_line)
        node = function(grower.real()[fault.path], fault.function)
        names = [name for name in renamable(node) if re.search(rf"\b{name}\b", fault.old[0])]
        if names:
            break
    else:
        raise Stillborn("no variable where a fault is")
    name = names[0].strip("_")
    _start(grower)
    _seed(grower, fault, also=rename_local(fault.path, fault.function, names[0], f"{name}_now"))
    grower.noise(grower.rng.randint(0, 4))
    edit = rename_local(fault.path, fault.function, f"{name}_now", f"current_{name}")
    _joint(grower, fault, edit)
    grower.good(f"a better name for {name}_now", edit)
    _end(grower)


def sandwich(grower: Grower) -> None:
    """Two bad commits in one function, and a good one on the same lines between them."""
    for _ in range(20):
        one = grower.take(_one_line)
        two = next((each for each in grower.others_in(one) if _one_line(each) and each.offset != one.offset), None)
        if two is not None:
            break
    else:
        raise Stillborn("no two faults in one function")
    rng = grower.rng
    _start(grower)
    agents = rng.sample(grower.agents, 2)
    _seed(grower, one, agent=agents[0])
    grower.noise(rng.randint(0, 2))
    text = "as the tests want it"
    edit = both(*(remark(each.path, each.function, each.offset, text) for each in (one, two)))
    _joint(grower, one, edit)
    grower.good("remarks", edit)
    grower.noise(rng.randint(0, 2))
    _seed(grower, two, agent=rng.choice(agents))
    grower.truth.joint.append((two.path, f"{two.old[0]}{REMARK}{text}", f"{two.new[0]}{REMARK}{text}"))
    _end(grower)


def interleaved(grower: Grower) -> None:
    """Bad commits of several agents, with good ones of theirs between them."""
    rng = grower.rng
    faults = [grower.take() for _ in range(rng.randint(2, 3))]
    _start(grower)
    for number, fault in enumerate(faults):
        _seed(grower, fault, agent=grower.agents[number % len(grower.agents)])
        grower.noise(rng.randint(1, 4))
    _end(grower)


def two_bugs(grower: Grower) -> None:
    """Two independent faults, found by different tests."""
    one = grower.take()
    two = grower.take(lambda fault: not set(fault.failing) & set(one.failing))
    _start(grower)
    _seed(grower, one)
    grower.noise(grower.rng.randint(1, 6))
    _seed(grower, two)
    _end(grower)


def _sides(grower: Grower, fault: Fault) -> tuple[list[str], list[str], str]:
    """Return the modules of the side with the fault, those of main, and the agent of the side."""
    rest = [path for path in grower.modules if path != fault.path]
    side = rest[: len(rest) // 3]
    return [fault.path, *side], [path for path in rest if path not in side], grower.agents[0]


def _side(grower: Grower, fault: Fault, wanted: bool) -> tuple[list[str], str]:
    mine, theirs, agent = _sides(grower, fault)
    grower.fork("side")
    if wanted:
        grower.noise(grower.rng.randint(1, 3), "side", mine, [agent])
    _seed(grower, fault, branch="side", agent=agent)
    if wanted:
        grower.noise(grower.rng.randint(0, 3), "side", mine, [agent])
    grower.noise(grower.rng.randint(1, 5), modules=theirs, agents=grower.agents[1:])
    return theirs, agent


def merge_bad(grower: Grower) -> None:
    """The bad commit came by a merge that brought nothing else."""
    fault = grower.take()
    _start(grower)
    _, agent = _side(grower, fault, wanted=False)
    merge = grower.merge("side", summary="merge side", agent=agent)
    grower.truth.aliases[grower.truth.culprits[0]] = merge
    _end(grower)


def merge_mixed(grower: Grower) -> None:
    """The bad commit came by a merge that also brought good work."""
    fault = grower.take()
    _start(grower)
    _, agent = _side(grower, fault, wanted=True)
    grower.merge("side", summary="merge side", agent=agent)
    _end(grower)


def foxtrot(grower: Grower) -> None:
    """The agent merged main into its branch, and main was moved forward to that: the second parent is main's own.

    Rollcage saw main pass just before.
    """
    fault = grower.take()
    _start(grower)
    _, agent = _side(grower, fault, wanted=grower.rng.random() < 0.5)
    grower.truth.good = grower.branches["main"].tip
    grower.foxtrot("side", agent)
    _end(grower)


def octopus(grower: Grower) -> None:
    """The bad commit came by a merge of three branches."""
    fault = grower.take()
    _start(grower)
    mine, theirs, agent = _sides(grower, fault)
    for name in ("side", "two", "three"):
        grower.fork(name)
    _seed(grower, fault, branch="side", agent=agent)
    other = theirs or mine
    grower.noise(1, "two", other[:1], grower.agents[1:2])
    if other[1:]:
        grower.noise(2, "three", other[1:], (grower.agents[2:] or grower.agents[1:])[:1])
    else:
        grower.good("notes", append("docs/three.md", "- three\n"), branch="three")
    grower.merge("side", "two", "three", summary="merge three branches")
    _end(grower)


def combination(grower: Grower) -> None:
    """Two branches that are sound by themselves and not together: one renamed what the other calls."""
    fault = grower.take()  # only for its module
    path, package, rng = fault.path, grower.package, grower.rng
    grower.noise(2)
    number = grower.number()
    summary, edit = new_function(package, rng, path, number, "start")
    grower.good(summary, edit)
    old = summary.split()[1]
    grower.truth.good = grower.noise(2)[-1]
    grower.noise(rng.randint(1, 5))
    grower.reserved.add((path, old))
    mine, theirs, agent = _sides(grower, fault)
    grower.fork("side")
    name = f"twice_{number}"
    call = f"\n\ndef {name}(value):\n    from {package.importable(path)} import {old}\n\n    return {old}, value\n"
    other = mine[-1] if mine[-1] != path else path
    test = f"from {package.importable(other)} import {name}\n\n\ndef test_{name}():\n    assert {name}(1)[1] == 1\n"
    edit = both(append(other, call), write(f"{package.more_tests}/test_twice.py", test))
    side = grower.good(f"add {name} with tests", edit, agent, "side")
    grower.must.append((side, True))

    def rename(files: Files) -> Files:
        pattern = re.compile(rf"\b{old}\b")
        return {path: pattern.sub(f"{old}_only", text) for path, text in files.items()}

    main = grower.good(f"rename {old}", rename, grower.agents[1])
    grower.must.append((main, True))
    if theirs:
        grower.noise(rng.randint(0, 3), modules=theirs, agents=grower.agents[1:])
    merge = grower.merge("side", summary="merge side", agent=agent, brings=False)
    grower.must.append((merge, False))
    grower.truth.culprits.append(merge)
    grower.truth.expect = "ask"
    _end(grower)


def renamed(grower: Grower) -> None:
    """The file was renamed since."""
    if grower.package.name == "cachetools":
        raise Stillborn("its modules' names are used for other things")
    fault = grower.take()
    _start(grower)
    _seed(grower, fault)
    grower.noise(grower.rng.randint(0, 5))
    old = fault.path.rpartition("/")[2].removesuffix(".py")
    new = f"{old}_impl"
    path = fault.path.replace(f"{old}.py", f"{new}.py")

    def rename(files: Files) -> Files:
        files = {path if name == fault.path else name: text for name, text in files.items()}
        return {
            name: re.sub(rf"\b{old}\b", new, text) if name.endswith(".py") else text for name, text in files.items()
        }

    grower.good(f"rename {old} to {new}", rename)
    grower.modules = [path if name == fault.path else name for name in grower.modules]
    grower.reserved.add((path, fault.function))
    _end(grower)


_BROKEN = "def test_half_a_thought(:\n"


def _break(grower: Grower, path: str) -> None:
    grower.good("wip", write(path, _BROKEN))


def unbuildable(grower: Grower) -> None:
    """Some commits near the culprit do not build; it can be told all the same."""
    rng, fault = grower.rng, grower.take()
    path = f"{grower.package.more_tests}/test_wip.py"
    _start(grower)
    if rng.random() < 0.5:
        _break(grower, path)
        grower.noise(rng.randint(0, 3))
        grower.good("finish it", write(path, "def test_thought():\n    assert True\n"))
        grower.noise(1)
    _seed(grower, fault)
    grower.noise(rng.randint(1, 3))
    _break(grower, path)
    grower.noise(rng.randint(0, 5))
    grower.good("finish it now", write(path, "def test_thought():\n    assert 1\n"))
    _end(grower)


def unbuildable_culprit(grower: Grower) -> None:
    """The culprit lies among commits that do not build: one of some, nobody can tell which by the tests."""
    rng, fault = grower.rng, grower.take()
    path = f"{grower.package.more_tests}/test_wip.py"
    _start(grower)
    _break(grower, path)
    grower.noise(rng.randint(0, 1))
    summary = PLAIN[0].format(fault.function)
    grower.truth.culprits.append(grower.bad(summary, fault.edit))
    grower.noise(rng.randint(0, 1))
    grower.good("finish it", write(path, "def test_thought():\n    assert True\n"))
    grower.truth.expect = "ask"
    _end(grower)


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
    _start(grower)
    _seed(grower, fault)
    _end(grower)


def frightening(grower: Grower) -> None:
    """One bad commit with an innocent message, and innocent ones with frightening messages around it."""
    rng, fault = grower.rng, grower.take()
    _start(grower)
    _scare(grower)
    _seed(grower, fault)
    grower.noise(rng.randint(0, 2))
    for _ in range(rng.randint(1, 2)):
        _scare(grower)
        grower.noise(rng.randint(0, 3))
    _end(grower, (1, 6))


def _scare(grower: Grower) -> None:
    number = grower.number()
    path = grower.rng.choice(grower.modules)
    _, edit = new_function(grower.package, grower.rng, path, number, "scary")
    grower.good(grower.rng.choice(FRIGHTENING), edit)


def revert_of_revert(grower: Grower) -> None:
    """A bad commit was reverted, and the revert was reverted."""
    rng, fault = grower.rng, grower.take()
    grower.truth.good = grower.noise(2)[-1]
    summary = PLAIN[1].format(fault.function)
    bad = grower.bad(summary, fault.edit)
    grower.must.append((bad, False))
    grower.noise(rng.randint(0, 3))
    mend = grower.bad(f'Revert "{summary}"', fault.inverse.edit)
    grower.must.append((mend, True))
    if rng.random() < 0.7:
        grower.truth.good = mend
    grower.noise(rng.randint(1, 4))
    again = grower.bad(f'Revert "Revert "{summary}""', fault.edit)
    grower.truth.culprits.append(again)
    grower.must.append((again, False))
    _end(grower)


def dirty(grower: Grower) -> None:
    """A human has uncommitted work in the file of the fault, elsewhere in it, and a file that git does not know."""
    fault = _simple(grower)
    _end(grower)
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
    from .edits import functions

    text = grower.real()[fault.path]
    own = function(text, fault.function)
    return [
        name
        for name, node in functions(text).items()
        if abs(node.lineno - own.lineno) > 40 and abs(node.lineno - (own.end_lineno or 0)) > 40
    ]


def dirty_line(grower: Grower) -> None:
    """A human has uncommitted work on the very line: nobody may act alone."""
    fault = grower.take(_one_line)
    _start(grower)
    _seed(grower, fault)
    _end(grower)
    changed = remark(fault.path, fault.function, fault.offset, "half a thought of a human")(grower.real())
    grower.truth.dirty = {fault.path: changed[fault.path]}
    grower.truth.own_lines = [(fault.path, f"{fault.new[0].strip()}  # note: half a thought of a human")]
    grower.truth.expect = "ask"


def keep(grower: Grower) -> None:
    """The bad commit asks to be kept."""
    fault = grower.take()
    _start(grower)
    _seed(grower, fault, trailer="Rollcage: keep\n")
    grower.truth.expect = "ask"
    _end(grower)


def old(grower: Grower) -> None:
    """The bad commit is more than a day older than the newest one."""
    _simple(grower)
    grower.noise(2)
    grower.wait(30 * 3600)
    grower.truth.expect = "ask"
    _end(grower)


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
    _start(grower)
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
    _end(grower)


KINDS: dict[str, tuple[Kind, int]] = {
    kind.__name__: (kind, count)
    for kind, count in (
        (single, 6),
        (very_line, 7),
        (beside, 4),
        (wanted_file, 5),
        (wanted_test, 4),
        (wanted_helper, 5),
        (woven, 4),
        (sandwich, 5),
        (interleaved, 6),
        (two_bugs, 5),
        (merge_bad, 4),
        (merge_mixed, 6),
        (foxtrot, 5),
        (octopus, 3),
        (combination, 4),
        (renamed, 5),
        (unbuildable, 5),
        (unbuildable_culprit, 3),
        (flaky, 5),
        (frightening, 5),
        (revert_of_revert, 4),
        (dirty, 5),
        (dirty_line, 3),
        (large, 6),
        (keep, 2),
        (old, 2),
        (never_good, 2),
        (healthy, 12),
    )
}
"""Each kind, and how many cases of it there are."""
