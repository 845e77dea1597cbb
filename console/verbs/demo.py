"""``demo``: a sandbox in which something goes wrong."""

from __future__ import annotations

import click


@click.command()
@click.option("--auto", is_flag=True, help="Without a screen, as rollcage --auto --once.")
@click.option("--keep", is_flag=True, help="Leave the sandbox where it is, and say where.")
def demo(auto: bool, keep: bool) -> int:
    """Show the main job in a sandbox in which a fault happens."""
    from ..demo import run_demo

    return run_demo(auto=auto, keep=keep)
