"""Made-up memory curves, one sample a second, from a fixed seed: what a healthy process does, and what a leak does."""

from __future__ import annotations

import math
from random import Random

from .signals import GB


def noise(random: Random, count: int) -> list[float]:
    level = random.uniform(0.2, 4) * GB
    scale = random.uniform(0.002, 0.1) * level
    return [level + random.gauss(0, scale) for _ in range(count)]


def autocorrelated(random: Random, count: int) -> list[float]:
    """Noise that remembers itself for about 50 s (an AR(1) process)."""
    level = random.uniform(0.2, 4) * GB
    scale, memory = random.uniform(0.002, 0.05) * level, 0.98
    values, state = [], 0.0
    for _ in range(count):
        state = memory * state + random.gauss(0, scale * math.sqrt(1 - memory * memory))
        values.append(level + state)
    return values


def sawtooth(random: Random, count: int, shortest: float = 2, longest: float = 400) -> list[float]:
    """Rises and is collected, again and again."""
    level = random.uniform(0.2, 4) * GB
    period, height = random.uniform(shortest, longest), random.uniform(0.05, 0.6) * level
    values, tooth, top = [], random.uniform(0, height), height
    for _ in range(count):
        tooth += height / period
        if tooth >= top:
            tooth, top = 0.0, height * random.uniform(0.8, 1.2)
        values.append(level + tooth + random.gauss(0, 0.003 * level))
    return values


def generational(random: Random, count: int) -> list[float]:
    """Small collections leave a little, until a large one takes it."""
    level = random.uniform(0.2, 4) * GB
    period, height, full = random.uniform(2, 10), random.uniform(0.02, 0.2) * level, random.randint(3, 20)
    values, tooth, old, done = [], 0.0, 0.0, 0
    for _ in range(count):
        tooth += height / period
        if tooth >= height:
            tooth, old, done = 0.0, old + 0.15 * height, done + 1
            if done >= full:
                old, done = 0.0, 0
        values.append(level + tooth + old + random.gauss(0, 0.003 * level))
    return values


def warm_up(random: Random, count: int) -> list[float]:
    """Fills its caches, ever more slowly."""
    base, top, time = random.uniform(0.1, 0.5) * GB, random.uniform(0.5, 4) * GB, random.uniform(20, 400)
    return [base + top * (1 - math.exp(-i / time)) + random.gauss(0, 0.005 * top) for i in range(count)]


def loading(random: Random, count: int) -> list[float]:
    """Loads its data at a steady pace, and then has it."""
    base, top, time = random.uniform(0.1, 0.5) * GB, random.uniform(0.5, 4) * GB, random.uniform(60, 500)
    return [base + top * min(1.0, i / time) + random.gauss(0, 0.005 * top) for i in range(count)]


def step(random: Random, count: int) -> list[float]:
    """Takes on more work at one moment."""
    level, moment, factor = random.uniform(0.2, 4) * GB, random.randint(300, count - 300), random.uniform(1.1, 2)
    return [level * (factor if i > moment else 1) + random.gauss(0, 0.005 * level) for i in range(count)]


def ramp(random: Random, count: int) -> list[float]:
    """Leaks 15 % of its level or more in 15 min."""
    level = random.uniform(0.4, 4) * GB
    pace = random.uniform(0.15, 2) * level / 900
    return [level + pace * i + random.gauss(0, 0.01 * level) for i in range(count)]


def leaking_sawtooth(random: Random, count: int) -> list[float]:
    """Leaks beneath its collections."""
    values = sawtooth(random, count, 2, 25)
    pace = random.uniform(0.25, 2) * min(values) / 900
    return [value + pace * i for i, value in enumerate(values)]
