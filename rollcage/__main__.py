"""The program ``rollcage``, also as ``python -m rollcage``: the light verbs first, then the whole command line."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    from .console import light

    code = light.dispatch(sys.argv[1:])
    if code is not None:
        return code
    from .console.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
