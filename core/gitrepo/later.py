"""What later commits put in: the lines that may need what a bad commit brought."""

from __future__ import annotations

from collections.abc import Sequence

from .mirror import Mirror
from .paths import raw, shown

MOST_COMMITS = 200
_MOST_BYTES = 8_000_000
"""Of a longer patch only the newest part is read; a search for words in it stays quick."""


def later_lines(mirror: Mirror, head: str, targets: Sequence[str]) -> dict[str, bytes]:
    """Return by file what the commits put in that ``head`` has and the oldest target has not, the targets left out.

    At most `MOST_COMMITS` are read, the newest, and no merges. Raises GitError.
    """
    if not targets:
        return {}
    oldest = mirror.git.text("merge-base", "--octopus", *targets, ok=(0, 1)) if len(targets) > 1 else targets[0]
    limits = [f"^{oldest}"] if oldest else []
    out = mirror.git.run(
        "-c", "core.bigFileThreshold=1m", "log", "--format=%x00%H", f"--max-count={MOST_COMMITS}", "--no-merges", "-p",
        "-U0", "--no-renames", "--no-prefix", "--no-ext-diff", "--no-textconv", head, *limits, "--",
    ).out[:_MOST_BYTES]  # fmt: skip
    found: dict[str, list[bytes]] = {}
    for entry in out.split(b"\0"):
        sha, _, patch = entry.partition(b"\n")
        if sha.decode("ascii", "replace") in targets:
            continue
        path = ""
        for line in patch.split(b"\n"):
            if line.startswith(b"+++ "):
                path = shown(raw(line.removeprefix(b"+++ ").removesuffix(b"\t").decode("utf-8", "surrogateescape")))
            elif line.startswith(b"+"):
                found.setdefault(path, []).append(line[1:])
    return {path: b"\n".join(lines) for path, lines in found.items()}
