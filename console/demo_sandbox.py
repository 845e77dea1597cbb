"""Makes the sandbox of ``rollcage demo``: a real repository with history and tests, a database, and its settings."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import demo_agent

AGENTS = ("planner", "analyzer", "executor", "monitor")

_HISTORY: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Start the shop",
        {
            "README.md": "# shop\n\nA small shop, worked on by four agents.\n",
            ".gitignore": "app.db*\n__pycache__/\n",
            "shop/__init__.py": "",
            "shop/calc.py": (
                '"""Arithmetic of the shop."""\n\n\ndef add(a, b):\n    """Return the sum of two prices."""\n'
                '    return a + b\n\n\ndef times(price, count):\n    """Return the price of many."""\n'
                "    return price * count\n"
            ),
            "tests/__init__.py": "",
            "tests/test_calc.py": (
                "import unittest\n\nfrom shop.calc import add, times\n\n\nclass CalcTest(unittest.TestCase):\n"
                "    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n\n"
                "    def test_times(self):\n        self.assertEqual(times(2, 3), 6)\n"
            ),
        },
    ),
    (
        "Add prices",
        {
            "shop/prices.py": (
                '"""Price rules."""\n\n\ndef with_tax(price):\n    """Return the price with 20 % tax."""\n'
                "    return price * 120 / 100\n"
            ),
            "tests/test_prices.py": (
                "import unittest\n\nfrom shop.prices import with_tax\n\n\nclass PricesTest(unittest.TestCase):\n"
                "    def test_with_tax(self):\n        self.assertEqual(with_tax(100), 120)\n"
            ),
        },
    ),
    (
        "Add reports, limits and the plan",
        {
            "shop/reports.py": '"""Reports over rows of numbers."""\n',
            "shop/limits.py": '"""Limits that are watched."""\n\nLIMIT_0 = 0\n',
            "docs/plan.md": "# Plan\n\n",
            "drafts/.gitkeep": "",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where everything of a demo lies; nothing outside ``folder`` is touched."""

    folder: Path
    repository: Path
    state: Path
    progress: Path


def make_sandbox(folder: Path) -> Sandbox:
    """Make the repository, the database and the settings below ``folder``, which must be empty."""
    sandbox = Sandbox(folder, folder / "shop", folder / "state", folder / "progress")
    for path in (sandbox.repository, sandbox.state, sandbox.progress):
        path.mkdir(mode=0o700)
    _git(sandbox, "init", "--quiet", "--initial-branch=main")
    _git(sandbox, "config", "user.name", "Shop Owner")
    _git(sandbox, "config", "user.email", "owner@shop.example")
    agent_source = Path(demo_agent.__file__).read_text(encoding="utf-8")
    for summary, files in _HISTORY:
        _write(sandbox, files)
        _git(sandbox, "add", "--all")
        _git(sandbox, "commit", "--quiet", "-m", summary)
    _write(sandbox, {"agents/agent.py": agent_source, "rollcage.yml": settings_text(sandbox)})
    _git(sandbox, "add", "--all")
    _git(sandbox, "commit", "--quiet", "-m", "Add the agents and rollcage.yml")
    _write(sandbox, {"README.md": "# shop\n\nA small shop, worked on by four agents.\n\nHalf a sentence that nobody"})
    _make_database(sandbox.repository / "app.db")
    return sandbox


def settings_text(sandbox: Sandbox) -> str:
    """Return the sandbox's ``rollcage.yml``."""
    agents = {
        name: {
            "stage": name,
            "commits": {"trailer": name},
            "run": [sys.executable, "-B", "agents/agent.py", name],
            "start": "engine",
        }
        for name in AGENTS
    }
    settings = {
        "version": 1,
        "branch": "main",
        # unittest passes when it finds no test (before Python 3.12), so the check asks for at least one.
        "checks": [
            {"name": "tests", "run": [sys.executable, "-B", "-c", demo_agent.RUN_TESTS], "timeout": "1m", "retries": 1}
        ],
        "agents": agents,
        "rules": {
            "memory_usage": {"normal": "80 MB", "warning": "110 MB", "critical": "250 MB", "for": "1s"},
        },
        "database": {
            "url": "sqlite:///app.db",
            "checks": [
                {
                    "name": "orders_without_customer",
                    "sql": "select count(*) from orders where customer not in (select id from customers)",
                    "expect": 0,
                }
            ],
            "every": "10s",
        },
    }
    return "# Written by rollcage demo.\n" + yaml.safe_dump(settings, sort_keys=False)


def _make_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table customers (id integer primary key, name text not null)")
        connection.execute("create table orders (id integer primary key, customer integer not null, price integer)")
        connection.executemany("insert into customers values (?, ?)", [(n, f"customer {n}") for n in range(1, 201)])
        connection.executemany(
            "insert into orders values (?, ?, ?)", [(n, n % 200 + 1, n * 7 % 1000) for n in range(1, 2001)]
        )
    connection.close()


def _write(sandbox: Sandbox, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = sandbox.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _git(sandbox: Sandbox, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *words], cwd=sandbox.repository, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
