"""Who takes too long is told of while it still goes on, once, and nothing is cut short."""

from __future__ import annotations

from threading import Event

from rollcage.core.execute.deadline import watched
from tests.execute.scene import Scene
from tests.loop import eventually


def test_an_overrun_is_told_while_it_lasts(scene: Scene) -> None:
    services = scene.services()

    def alerts() -> list[str]:
        return [str(event.body["text"]) for event in services.store.recent_events(9) if event.event == "alert"]

    with watched(services, "phase 3 of rb-1", 60.0, rollback="rb-1") as told:
        pass
    assert (told, alerts()) == ([], [])
    with watched(services, "phase 3 of rb-1", 60.0, before=59.99, rollback="rb-1") as told:
        eventually(lambda: told)
        eventually(alerts)
        Event().wait(0.05)
    assert alerts() == ["phase 3 of rb-1 has taken 60 s, over its 60 s; it goes on"]
    with watched(services, "phase 3 of rb-1", 60.0, before=60.5) as told:
        pass
    assert len(alerts()) == 1, "it was told before"
    services.store.close()
