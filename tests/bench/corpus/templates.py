"""Small functions with tests, such as good commits add: (name, code, assertions), NAME standing for the name."""

from __future__ import annotations

# ruff: noqa: ISC004 - code, line by line

TEMPLATES = (
    (
        "clamp",
        'def NAME(value, low, high):\n    """Return ``value``, but at least ``low`` and at most ``high``."""\n'
        "    if value < low:\n        return low\n    return min(value, high)\n",
        ("NAME(5, 0, 3) == 3", "NAME(-1, 0, 3) == 0", "NAME(2, 0, 3) == 2"),
    ),
    (
        "pairs_of",
        'def NAME(items):\n    """Return neighbours, two by two."""\n    known = list(items)\n'
        "    return list(zip(known, known[1:]))\n",
        ("NAME([1, 2, 3]) == [(1, 2), (2, 3)]", "NAME([]) == []"),
    ),
    (
        "count_of",
        'def NAME(items):\n    """Return how often each item is there."""\n    counts = {}\n    for item in items:\n'
        "        counts[item] = counts.get(item, 0) + 1\n    return counts\n",
        ("NAME('aab') == {'a': 2, 'b': 1}", "NAME('') == {}"),
    ),
    (
        "first_of",
        'def NAME(items, default=None):\n    """Return the first item, or ``default``."""\n'
        "    for item in items:\n        return item\n    return default\n",
        ("NAME([3, 4]) == 3", "NAME([], 7) == 7"),
    ),
    (
        "without",
        'def NAME(mapping, *keys):\n    """Return a copy of ``mapping`` that lacks ``keys``."""\n'
        "    return {key: value for key, value in mapping.items() if key not in keys}\n",
        ("NAME({1: 2, 3: 4}, 1) == {3: 4}", "NAME({}, 1) == {}"),
    ),
    (
        "shorten",
        'def NAME(text, width):\n    """Return ``text``, cut to ``width`` characters with dots at its end."""\n'
        "    if len(text) <= width:\n        return text\n    return text[: max(width - 3, 0)] + '...'\n",
        ("NAME('abcdefgh', 5) == 'ab...'", "NAME('ab', 5) == 'ab'"),
    ),
    (
        "blocks_of",
        'def NAME(items, size):\n    """Return ``items`` in lists of ``size``; the last may be shorter."""\n'
        "    known = list(items)\n    return [known[at : at + size] for at in range(0, len(known), size)]\n",
        ("NAME(range(5), 2) == [[0, 1], [2, 3], [4]]", "NAME([], 2) == []"),
    ),
    (
        "mean_of",
        'def NAME(values):\n    """Return the mean, 0 of nothing."""\n    known = list(values)\n'
        "    if not known:\n        return 0\n    return sum(known) / len(known)\n",
        ("NAME([1, 2, 3]) == 2", "NAME([]) == 0"),
    ),
    (
        "inverse_of",
        'def NAME(mapping):\n    """Return the mapping the other way round; the last of equal values wins."""\n'
        "    return {value: key for key, value in mapping.items()}\n",
        ("NAME({1: 2}) == {2: 1}", "NAME({}) == {}"),
    ),
    (
        "flags_of",
        'def NAME(number):\n    """Return the powers of two that ``number`` is the sum of."""\n'
        "    return [1 << at for at in range(number.bit_length()) if number >> at & 1]\n",
        ("NAME(5) == [1, 4]", "NAME(0) == []"),
    ),
    (
        "lines_of",
        'def NAME(text):\n    """Return the lines that are not blank, without the space around them."""\n'
        "    stripped = [line.strip() for line in text.splitlines()]\n    return [line for line in stripped if line]\n",
        ("NAME(' a \\n\\n b') == ['a', 'b']", "NAME('') == []"),
    ),
    (
        "rounded",
        'def NAME(value, step):\n    """Return the multiple of ``step`` that is next below or at ``value``."""\n'
        "    return value - value % step\n",
        ("NAME(17, 5) == 15", "NAME(15, 5) == 15"),
    ),
)
