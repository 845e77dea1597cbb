"""The trouble began when its metric changed, its check first failed, its error first came, or its culprit did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollcage.core.diagnose.onset import find_onset
from rollcage.core.model import EVERYBODY, Commit, Finding, Incident, IncidentState, Severity, Signal, SignalKind
from tests.loop import Shop

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def signal(seconds: float, kind: SignalKind, name: str, agent: str = "executor", **about: Any) -> Signal:
    return Signal(at(seconds), agent, kind, name, **about)


def finding(seconds: float, rule: str, newest: Signal | None = None, **about: Any) -> Finding:
    about = {"agent": "executor", "severity": Severity.CRITICAL, "fingerprint": rule, "since": at(seconds), **about}
    return Finding(at=at(seconds), rule=rule, summary="bad", signals=(newest,) if newest else (), **about)


def incident(*findings: Finding) -> Incident:
    first = findings[0]
    since = min(each.since for each in findings)
    return Incident(
        "inc-1", first.agent, "", Severity.CRITICAL, "", IncidentState.OPEN, first.at, since, tuple(findings)
    )


def commit(seconds: float, sha: str = "a" * 40) -> Commit:
    return Commit(sha, (), "Ann", at(seconds), "tidy", "executor")


@pytest.fixture
def told(shop: Shop) -> Any:
    def put(*signals: Signal) -> Any:
        shop.services.signals.put(list(signals))
        return shop.services

    return put


def test_a_metric_began_where_it_changed(told: Any) -> None:
    rate = [signal(each, SignalKind.METRIC, "error_rate", value=0.001 + each % 7 * 1e-4) for each in range(300)]
    rate += [signal(each, SignalKind.METRIC, "error_rate", value=0.03 + each % 5 * 1e-3) for each in range(300, 330)]
    onset = find_onset(told(*rate), incident(finding(330, "error_rate", rate[-1])), [commit(299)])
    assert onset.at == at(300)
    assert onset.why == "error_rate of executor jumped then"


def test_a_leak_began_where_the_climb_did_and_accuracy_where_it_dropped(told: Any) -> None:
    memory = [
        signal(each, SignalKind.METRIC, "memory_usage", value=1e9 + each % 9 * 1e6 + max(0, each - 400) * 1e6)
        for each in range(900)
    ]
    onset = find_onset(told(*memory), incident(finding(900, "resource_leak", memory[-1])), [])
    assert onset.at is not None
    assert abs((onset.at - at(400)).total_seconds()) <= 60
    assert onset.why == "memory_usage of executor climbs since then"
    right = [signal(each, SignalKind.METRIC, "accuracy", value=0.98 - 0.2 * (each >= 40)) for each in range(50)]
    onset = find_onset(told(*right), incident(finding(50, "accuracy", right[-1])), [])
    assert (onset.at, onset.why) == (at(40), "accuracy of executor dropped then")


def test_few_values_leave_it_to_the_rule(told: Any) -> None:
    values = [signal(each, SignalKind.METRIC, "error_rate", value=0.5) for each in range(3)]
    onset = find_onset(told(*values), incident(finding(9, "error_rate", values[-1], since=at(2))), [])
    assert (onset.at, onset.why) == (at(2), "error_rate of executor is out of band since then")


def result(seconds: float, text: str) -> Signal:
    return signal(seconds, SignalKind.TEST, "tests", EVERYBODY, text=text, attrs={"check": True})


def test_a_check_began_to_fail_with_its_culprit_or_where_it_was_first_seen(told: Any) -> None:
    services = told(result(0, "failed"), result(10, "passed"), result(50, "failed"), result(60, "flaky"))
    told(result(70, "failed"))
    failing = incident(finding(70, "check_failed", fingerprint="check:tests", agent=EVERYBODY))
    assert find_onset(services, failing, []).at == at(50)
    assert find_onset(services, failing, []).why == "tests was first seen to fail then"
    assert find_onset(services, failing, [commit(45), commit(30, "b" * 40)]).at == at(30)
    assert find_onset(services, failing, [commit(5_000)]).at == at(50), "its clock is wrong"


def test_a_commit_from_elsewhere_did_harm_when_it_came(told: Any) -> None:
    came = signal(20, SignalKind.COMMIT, "a" * 40)
    failing = incident(finding(70, "check_failed", fingerprint="check:tests", agent=EVERYBODY))
    assert find_onset(told(came), failing, [commit(-86_400)]).at == at(20)
    assert find_onset(told(came), failing, [commit(19)]).at == at(19)


def test_a_storm_began_with_the_first_of_its_errors(told: Any) -> None:
    def error(seconds: float, template: str) -> Signal:
        return signal(seconds, SignalKind.ERROR, "output", text=template, attrs={"template": template})

    errors = [error(each, "timeout <n>") for each in (0, 4_000, 4_300, 4_310, 4_320)]
    services = told(error(3_990, "other"), *errors)
    onset = find_onset(services, incident(finding(4_320, "error_storm", errors[-1])), [])
    assert (onset.at, onset.why) == (at(4_000), "the first of these errors of executor came then")


def test_loops_and_silence_began_when_the_rule_says(told: Any) -> None:
    services = told(signal(0, SignalKind.STEP, "import"))
    stuck = find_onset(services, incident(finding(4_000, "infinite_loop", since=at(400))), [commit(300)])
    assert (stuck.at, stuck.why) == (at(400), "executor began its step then")
    silent = find_onset(services, incident(finding(4_000, "communication_failure", since=at(500))), [])
    assert (silent.at, silent.why) == (at(500), "the last word of executor came then")


def test_of_equally_grave_trouble_a_failing_check_tells_when(told: Any) -> None:
    failing = finding(900, "check_failed", fingerprint="check:tests", agent=EVERYBODY)
    stuck = finding(950, "infinite_loop", since=at(10))
    assert find_onset(told(), incident(stuck, failing), []).at == at(900)


def test_what_is_over_or_less_grave_does_not_count(told: Any) -> None:
    over = finding(10, "error_rate", ended=False), finding(20, "error_rate", ended=True)
    slight = finding(5, "trend", severity=Severity.WARNING)
    stuck = finding(900, "infinite_loop", since=at(600))
    assert find_onset(told(), incident(*over, slight, stuck), []).at == at(600)
