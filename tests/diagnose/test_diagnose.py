"""What happened, and who did it: found out on real histories by real checks, and honest where it cannot be."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from rollcage.core.diagnose.diagnose import diagnose
from rollcage.core.model import CheckRuns, Diagnosis, Incident, Severity, Signal, SignalKind, Verdict
from rollcage.core.services import origin_key
from tests.conftest import ManualClock, git
from tests.loop import BAD, CHECK, GOOD, Shop


def found(shop: Shop, incident: Incident | None = None, **more: Any) -> Diagnosis:
    return diagnose(shop.services, incident or shop.incident(), **more)


def test_the_culprit_is_found_confirmed_and_explained(shop: Shop) -> None:
    shop.mark_good()
    good = shop.head()
    bad = shop.break_it()
    diagnosis = found(shop)
    assert diagnosis.verdict is Verdict.ACT
    assert [(culprit.sha, culprit.agent) for culprit in diagnosis.culprits] == [(bad, "executor")]
    assert diagnosis.suspects[0] == diagnosis.culprits[0]
    assert (diagnosis.last_good, diagnosis.head) == (good, shop.head())
    assert diagnosis.reach.files == ("calc.py",)
    assert diagnosis.root_cause == f'{bad[:12]} "tidy add" by executor makes tests fail'
    assert "seen afresh on both" in diagnosis.culprits[0].evidence[0]
    assert diagnosis.onset == diagnosis.culprits[0].at


def test_without_a_known_good_commit_it_looks_back(shop: Shop) -> None:
    bad = shop.break_it()
    assert [culprit.sha for culprit in found(shop).culprits] == [bad]


def test_no_good_commit_within_the_look_back_cannot_be_told(shop: Shop) -> None:
    shop.configure(limits={"lookback": 2})
    bad = shop.break_it()
    for number in range(3):
        shop.commit("planner", f"note {number}", {"notes.md": f"{number}\n"})
    diagnosis = found(shop)
    assert diagnosis.verdict is Verdict.CANNOT_TELL
    assert diagnosis.reasons == ("no commit that passes was found in the last 2 commits",)
    assert bad not in [suspect.sha for suspect in diagnosis.suspects]


def test_only_what_is_really_run_is_counted(shop: Shop, tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    command = ["sh", "-c", f"echo x >>{counter}; grep -q 'a + b' calc.py"]
    shop.configure(checks=[{**CHECK, "run": command}])
    shop.mark_good()
    for number in range(6):
        shop.commit("planner", f"before {number}", {"plan.md": f"{number}\n"})
    shop.break_it()
    incident = shop.incident()
    services = shop.services
    for check in services.settings.checks:
        services.checks.believed(check, shop.head(), services.repository.tree(shop.head()))
    before = len(counter.read_text().split())
    first = found(shop, incident)
    runs = first.check_runs
    assert runs.rehearse == 1, "whether all is well without the culprit"
    assert runs.search + runs.confirm + runs.rehearse == len(counter.read_text().split()) - before
    again = found(shop, incident)
    assert again.check_runs == CheckRuns(search=0, confirm=4, rehearse=0), "what is known costs nothing"


def test_one_who_asks_to_keep_a_commit_is_asked_about(shop: Shop) -> None:
    shop.mark_good()
    bad = shop.commit("executor", "tidy add", {"calc.py": BAD})
    git(shop.path, "commit", "-q", "--amend", "-m", "tidy add\n\nAgent: executor\nRollcage: keep\n")
    diagnosis = found(shop)
    assert bad != shop.head() == diagnosis.culprits[0].sha
    assert diagnosis.verdict is Verdict.ASK
    assert "Rollcage: keep" in diagnosis.reasons[0]


def test_a_check_that_cannot_fail_blames_nobody(shop: Shop) -> None:
    shop.configure(checks=[{**CHECK, "run": ["true"]}])
    shop.break_it()
    diagnosis = found(shop)
    assert diagnosis.verdict is Verdict.CANNOT_TELL
    assert diagnosis.culprits == ()
    assert "check tests passes even with every source emptied" in diagnosis.root_cause
    assert diagnosis.suspects, "the evidence is shown all the same"


def test_one_check_that_cannot_be_believed_does_not_silence_the_other(shop: Shop) -> None:
    shop.configure(checks=[CHECK, {**CHECK, "name": "lint", "run": ["true"]}])
    bad = shop.break_it()
    incident = shop.incident(shop.finding("check:lint"), shop.finding())
    assert [culprit.sha for culprit in found(shop, incident).culprits] == [bad]


def test_commits_that_cannot_be_tested_leave_a_choice_for_a_human(shop: Shop) -> None:
    """Exit status 125 says that a commit cannot be judged, as git bisect has it."""
    shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "test ! -e broken || exit 125; grep -q 'a + b' calc.py"]}])
    shop.mark_good()
    suspects = {
        shop.commit("planner", "half", {"broken": "x\n"}),
        shop.commit("executor", "tidy add", {"calc.py": BAD}),
    }
    git(shop.path, "rm", "-q", "broken")
    git(shop.path, "commit", "-q", "-m", "whole again\n\nAgent: planner")
    diagnosis = found(shop)
    assert diagnosis.verdict is Verdict.ASK
    assert diagnosis.culprits == ()
    assert {suspect.sha for suspect in diagnosis.suspects} == suspects | {shop.head()}
    assert "3 commits remain" in diagnosis.root_cause


def test_when_the_time_for_checks_is_up_it_cannot_tell_and_says_so(shop: Shop) -> None:
    shop.configure(limits={"check_time": "5m"})
    shop.mark_good()
    shop.break_it()
    clock = ManualClock()
    shop.open(clock)

    def progress(text: str) -> None:
        if text.startswith("confirming"):
            clock.advance(301)

    diagnosis = found(shop, progress=progress)
    assert diagnosis.verdict is Verdict.CANNOT_TELL
    assert diagnosis.root_cause == "cannot tell: the time for checks is up (limits.check_time: 5m)"


def test_a_check_in_progress_is_stopped_when_the_time_is_up(shop: Shop) -> None:
    shop.configure(limits={"check_time": "1s"}, checks=[{**CHECK, "run": ["sleep", "60"], "timeout": "1m"}])
    diagnosis = found(shop)
    assert "limits.check_time: 1s" in diagnosis.root_cause
    assert diagnosis.duration_s < 30


def test_stopped_from_outside_it_cannot_tell(shop: Shop) -> None:
    shop.break_it()
    stop = threading.Event()
    stop.set()
    assert found(shop, stop=stop).verdict is Verdict.CANNOT_TELL


def test_a_merge_is_the_culprit_where_only_the_merge_breaks_it(shop: Shop) -> None:
    shop.configure(checks=[{**CHECK, "run": ["sh", "-c", "grep -q 'a + b' calc.py && ! test -e one -a -e two"]}])
    git(shop.path, "checkout", "-q", "-b", "work")
    shop.commit("executor", "one", {"one": "1\n"})
    git(shop.path, "checkout", "-q", "main")
    shop.mark_good(shop.commit("planner", "two", {"two": "2\n"}))
    git(shop.path, "merge", "-q", "--no-ff", "-m", "take work in", "work")
    merge = shop.head()
    shop.commit("planner", "later", {"plan.md": "later\n"})
    diagnosis = found(shop)
    assert [(culprit.sha, culprit.agent) for culprit in diagnosis.culprits] == [(merge, "executor")]
    assert diagnosis.root_cause.startswith(f'merge {merge[:12]} "take work in" by executor')
    assert diagnosis.reach.files == ("one",)


def test_a_fault_brought_by_a_merge_is_that_of_the_commit_within_it(shop: Shop) -> None:
    shop.mark_good()
    good = shop.head()
    git(shop.path, "checkout", "-q", "-b", "work")
    shop.path.joinpath("calc.py").write_text(BAD)
    git(shop.path, "commit", "-q", "-a", "-m", "tidy add\n\nAgent: executor")
    bad = git(shop.path, "rev-parse", "work")
    git(shop.path, "checkout", "-q", "main")
    shop.commit("planner", "meanwhile", {"plan.md": "meanwhile\n"})
    git(shop.path, "merge", "-q", "--no-ff", "-m", "take work in", "work")
    diagnosis = found(shop)
    assert [culprit.sha for culprit in diagnosis.culprits] == [bad]
    assert diagnosis.agents == ("executor",)
    assert diagnosis.last_good == git(shop.path, "rev-parse", "main~1") != good, "the newest on the branch without it"


def test_a_commit_that_says_of_nobody_to_be_his_is_that_of_the_working_tree_it_was_made_in(shop: Shop) -> None:
    shop.mark_good()
    bad = shop.commit("", "tidy add", {"calc.py": BAD})
    shop.services.store.set_note(origin_key(bad), "executor")
    assert found(shop).agents == ("executor",)


def test_other_trouble_of_an_agent_is_evidence(shop: Shop) -> None:
    shop.incident(shop.finding("memory_usage", agent="executor", summary="memory climbs", severity=Severity.WARNING))
    shop.break_it()
    assert "by executor, whose memory climbs" in found(shop).culprits[0].evidence


def test_who_was_found_guilty_before_is_suspected_sooner(shop: Shop) -> None:
    bad = shop.break_it()
    first = found(shop)
    shop.services.store.save_diagnosis(first)
    shop.commit("planner", "mend", {"calc.py": GOOD})
    shop.break_it()
    evidence = found(shop).culprits[0].evidence
    assert "by executor, found guilty 1 time before" in evidence
    assert first.culprits[0].sha == bad


def test_files_that_the_output_names_are_evidence(shop: Shop) -> None:
    now = shop.services.clock.now()
    signal = Signal(now, "", SignalKind.TEST, "tests", text="failed", attrs={"check": True, "files": ["calc.py"]})
    incident = shop.incident(shop.finding(signals=(signal,)))
    shop.break_it()
    assert "changed calc.py, named by the failing tests" in found(shop, incident).culprits[0].evidence


def test_where_no_check_fails_evidence_ranks_and_nobody_acts_on_it(shop: Shop) -> None:
    shop.mark_good()
    incident = shop.incident(shop.finding("memory_usage", agent="executor", summary="memory 7.2 GB, over 7 GB"))
    diagnosis = found(shop, incident)
    assert diagnosis.verdict is Verdict.ASK
    assert diagnosis.culprits == ()
    assert diagnosis.suspects[0].sha == shop.head(), "though the checks pass there"
    assert diagnosis.confidence <= 0.5
    assert diagnosis.root_cause.startswith("memory 7.2 GB, over 7 GB; no check fails")


def test_where_no_check_fails_commits_that_a_merge_brought_are_suspects_too(shop: Shop) -> None:
    git(shop.path, "checkout", "-q", "-b", "work")
    shop.commit("executor", "cache all", {"cache.py": "kept = []\n"})
    bad = git(shop.path, "rev-parse", "work")
    git(shop.path, "checkout", "-q", "main")
    git(shop.path, "merge", "-q", "--no-ff", "-m", "take work in", "work")
    incident = shop.incident(shop.finding("resource_leak", agent="executor", summary="memory climbs"))
    diagnosis = found(shop, incident)
    assert diagnosis.suspects[0].sha == bad
    assert f'{bad[:12]} "cache all" by executor, which is the likeliest cause' in diagnosis.root_cause


def test_damaged_data_names_the_database_checks(shop: Shop) -> None:
    signal = Signal(
        shop.services.clock.now(), "", SignalKind.DATA, "data_consistency", value=2.0, attrs={"orphans": 2, "nulls": 0}
    )
    diagnosis = found(shop, shop.incident(shop.finding("data_consistency", signals=(signal,))))
    assert diagnosis.reach.tables == ("orphans",)
    assert diagnosis.verdict is Verdict.CANNOT_TELL, "nobody in particular is in trouble"


def test_an_unborn_branch_cannot_be_told(shop: Shop) -> None:
    shop.configure(branch="nowhere")
    assert found(shop).root_cause == "cannot tell: the branch has no commit yet"


def test_a_check_that_passes_by_now_is_said_to(shop: Shop) -> None:
    shop.break_it()
    incident = shop.incident()
    shop.commit("planner", "mend", {"calc.py": GOOD})
    assert found(shop, incident).root_cause == "cannot tell: the checks pass at the head"
