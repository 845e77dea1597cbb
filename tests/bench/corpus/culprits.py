"""Trouble on one line of work: what came after the bad commit, with it, and between several."""

from __future__ import annotations

import re

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
from .story import PLAIN, end, one_fault, one_line, seed, start


def single(grower: Grower) -> None:
    """One bad commit."""
    one_fault(grower)
    end(grower)


def large(grower: Grower) -> None:
    """One bad commit among many good ones."""
    fault = grower.take()
    start(grower, (4, 10))
    grower.noise(grower.rng.randint(10, 70))
    seed(grower, fault)
    end(grower, (20, 70))


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
    fault = grower.take(one_line)
    start(grower)
    seed(grower, fault)
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
        end(grower)
        return
    raise Stillborn("the line cannot be edited")


def beside(grower: Grower) -> None:
    """A later good commit edited the line next to it: git reverts that only with a conflict."""
    fault = grower.take(one_line)
    start(grower)
    seed(grower, fault)
    grower.noise(grower.rng.randint(0, 4))
    edit = comment_beside(fault.path, fault.function, fault.offset, "Order matters.")
    grower.good(f"say why in {fault.function}", edit)
    end(grower)


def wanted_file(grower: Grower) -> None:
    """The bad commit also brought a module that later work needs."""
    fault, rng = grower.take(), grower.rng
    start(grower)
    path = f"{fault.path.rpartition('/')[0]}/extra_{grower.number()}.py"
    agent = rng.choice(grower.agents)
    _, edit = new_function(grower.package, rng, path, grower.number(), "extra")
    module = edit(grower.ideal())[path].lstrip("\n")
    seed(grower, fault, agent=agent, also=write(path, f'"""Small helpers."""\n\n\n{module}'))
    grower.noise(rng.randint(0, 4))
    tests = f"{grower.package.more_tests}/test_extra.py"
    grower.good("test the helpers", append(tests, edit(grower.ideal())[tests].lstrip("\n")))
    end(grower)


def wanted_helper(grower: Grower) -> None:
    """The bad commit also brought a helper, in the file of the fault, that later work uses."""
    fault, rng = grower.take(), grower.rng
    start(grower)
    agent = rng.choice(grower.agents)
    tests = f"{grower.package.more_tests}/test_helper.py"
    _, edit = new_function(grower.package, rng, fault.path, grower.number(), "helper")

    def helper(files: Files) -> Files:
        return {path: text for path, text in edit(files).items() if path != tests}

    text = edit(grower.ideal())[tests].lstrip("\n")
    seed(grower, fault, agent=agent, also=helper)
    grower.noise(rng.randint(0, 4))
    grower.good("test the helper", append(tests, text))
    end(grower)


def wanted_test(grower: Grower) -> None:
    """The bad commit also brought a file of tests that later work added to."""
    fault, rng = grower.take(), grower.rng
    start(grower)
    tests = f"{grower.package.more_tests}/test_late.py"
    _, one = new_function(grower.package, rng, fault.path, grower.number(), "late")
    text = one(grower.ideal())[tests].lstrip("\n")
    grower.good("add a helper", lambda files: {path: text for path, text in one(files).items() if path != tests})
    seed(grower, fault, also=write(tests, text))
    grower.noise(rng.randint(0, 4))
    _, two = new_function(grower.package, rng, fault.path, grower.number(), "late")
    grower.good("more tests", two)
    end(grower)


def woven(grower: Grower) -> None:
    """The bad commit also renamed a variable, on the faulty line too, and later work goes on with the new name."""
    for _ in range(20):
        fault = grower.take(one_line)
        node = function(grower.real()[fault.path], fault.function)
        names = [name for name in renamable(node) if re.search(rf"\b{name}\b", fault.old[0])]
        if names:
            break
    else:
        raise Stillborn("no variable where a fault is")
    name = names[0].strip("_")
    start(grower)
    seed(grower, fault, also=rename_local(fault.path, fault.function, names[0], f"{name}_now"))
    grower.noise(grower.rng.randint(0, 4))
    edit = rename_local(fault.path, fault.function, f"{name}_now", f"current_{name}")
    _joint(grower, fault, edit)
    grower.good(f"a better name for {name}_now", edit)
    end(grower)


def sandwich(grower: Grower) -> None:
    """Two bad commits in one function, and a good one on the same lines between them."""
    for _ in range(20):
        one = grower.take(one_line)
        two = next((each for each in grower.others_in(one) if one_line(each) and each.offset != one.offset), None)
        if two is not None:
            break
    else:
        raise Stillborn("no two faults in one function")
    rng = grower.rng
    start(grower)
    agents = rng.sample(grower.agents, 2)
    seed(grower, one, agent=agents[0])
    grower.noise(rng.randint(0, 2))
    text = "as the tests want it"
    edit = both(*(remark(each.path, each.function, each.offset, text) for each in (one, two)))
    _joint(grower, one, edit)
    grower.good("remarks", edit)
    grower.noise(rng.randint(0, 2))
    seed(grower, two, agent=rng.choice(agents))
    grower.truth.joint.append((two.path, f"{two.old[0]}{REMARK}{text}", f"{two.new[0]}{REMARK}{text}"))
    end(grower)


def interleaved(grower: Grower) -> None:
    """Bad commits of several agents, with good ones of theirs between them."""
    rng = grower.rng
    faults = [grower.take() for _ in range(rng.randint(2, 3))]
    start(grower)
    for number, fault in enumerate(faults):
        seed(grower, fault, agent=grower.agents[number % len(grower.agents)])
        grower.noise(rng.randint(1, 4))
    end(grower)


def two_bugs(grower: Grower) -> None:
    """Two independent faults, found by different tests."""
    one = grower.take()
    two = grower.take(lambda fault: not set(fault.failing) & set(one.failing))
    start(grower)
    seed(grower, one)
    grower.noise(grower.rng.randint(1, 6))
    seed(grower, two)
    end(grower)


def renamed(grower: Grower) -> None:
    """The file was renamed since."""
    if grower.package.name == "cachetools":
        raise Stillborn("its modules' names are used for other things")
    fault = grower.take()
    start(grower)
    seed(grower, fault)
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
    end(grower)


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
    end(grower)
