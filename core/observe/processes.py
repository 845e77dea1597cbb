"""What the processes of each agent use, over its whole tree: memory, processor, descriptors, how many there are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import psutil

from ..fleet.runs import Run, trees
from ..model import Signal, SignalKind


class ProcessSampler:
    """Samples again and again; the processor's share is what was used since the sample before."""

    def __init__(self) -> None:
        """Begin without a sample."""
        self._used: dict[str, tuple[float, float]] = {}
        """By run id: when (monotonic), and the processor seconds used until then."""

    def sample(self, runs: Sequence[Run], now: datetime) -> list[Signal]:
        """Return the metrics of each run, from one pass over the process table.

        ``memory_usage`` (RSS, bytes), ``cpu`` (share of one core, from the second sample on), ``descriptors`` and
        ``processes`` (with how many are in which state). Processes that vanish meanwhile count as far as they were
        seen; a run without any (held, or about to end) has only ``processes``.
        """
        found = trees(runs)
        signals: list[Signal] = []
        for run in runs:
            signals += self._sample(run, found.get(run.id, []), now)
        self._used = {run.id: self._used[run.id] for run in runs if run.id in self._used}
        return signals

    def _sample(self, run: Run, members: list[psutil.Process], now: datetime) -> list[Signal]:
        states: Counter[str] = Counter()
        memory, descriptors, used = 0, 0, 0.0
        for process in members:
            try:
                with process.oneshot():
                    states[process.status()] += 1
                    used += sum(process.cpu_times()[:4])
                    memory += process.memory_info().rss
                    descriptors += process.num_fds()
            except psutil.Error:
                continue  # gone, a zombie, or another user's
        values = {"processes": float(states.total())}
        if states.total() > states[psutil.STATUS_ZOMBIE]:
            values |= {"memory_usage": float(memory), "descriptors": float(descriptors)}
            share = self._share(run, used)
            if share is not None:
                values["cpu"] = share
        return [
            Signal(
                at=now,
                agent=run.agent,
                kind=SignalKind.METRIC,
                name=name,
                value=value,
                unit="B" if name == "memory_usage" else None,
                attrs={"states": dict(states)} if name == "processes" else {},
            )
            for name, value in values.items()
        ]

    def _share(self, run: Run, used: float) -> float | None:
        """Return the processor seconds used per second since the last sample; ``None`` at the first.

        A process that ended has handed its time on to whoever reaped it, in the end to the supervisor. So the sum over
        the living, with what they and the supervisor have taken over, misses nothing that came and went in between.
        """
        try:
            times = psutil.Process(run.supervisor_pid).cpu_times()
        except psutil.Error:
            return None
        used += times.children_user + times.children_system
        at = time.monotonic()
        before = self._used.get(run.id)
        self._used[run.id] = (at, used)
        if before is None or at <= before[0]:
            return None
        return max(0.0, used - before[1]) / (at - before[0])
