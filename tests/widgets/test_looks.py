"""Every text can be read: contrast after WCAG 2.1, criterion 1.4.3, computed for each look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.style import Style

from rollcage.themes.looks import ANSI, DARK, LIGHT, LOOKS, MEANINGS, Look

Rgb = tuple[int, int, int]

# The first sixteen colours as these terminals show them by default, black to white and bright black to bright white.
PALETTES = {
    "VGA": (
        "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa "
        "555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
    ),
    "xterm": (
        "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 "
        "7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff"
    ),
    "Tango": (
        "2e3436 cc0000 4e9a06 c4a000 3465a4 75507b 06989a d3d7cf "
        "555753 ef2929 8ae234 fce94f 729fcf ad7fa8 34e2e2 eeeeec"
    ),
    "Windows": (
        "0c0c0c c50f1f 13a10e c19c00 0037da 881798 3a96dd cccccc "
        "767676 e74856 16c60c f9f1a5 3b78ff b4009e 61d6d6 f2f2f2"
    ),
}


def luminance(rgb: Rgb) -> float:
    """Relative luminance after WCAG 2.1."""

    def channel(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (channel(value) for value in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio after WCAG 2.1, 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def rgb(text: str) -> Rgb:
    text = text.removeprefix("#")
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def colour(style: Style, part: str) -> Rgb | None:
    found = style.color if part == "color" else style.bgcolor
    return None if found is None else tuple(found.get_truecolor())  # type: ignore[return-value]


def pairs(look: Look) -> Iterator[tuple[str, Rgb, Rgb]]:
    """Yield (where, text, background) for every pair that can stand on a screen of an RGB look."""
    theme = look.theme
    assert theme.background is not None
    assert theme.surface is not None
    assert theme.foreground is not None
    grounds = {
        "background": rgb(theme.background),
        "surface": rgb(theme.surface),
        "cursor": colour(look.cursor, "bgcolor"),
        "idle cursor": colour(look.cursor_idle, "bgcolor"),
    }
    for name, style in look.styles.items():
        if name.startswith("frame"):
            continue  # no text
        text = colour(style, "color") or rgb(theme.foreground)
        own = colour(style, "bgcolor")
        for ground, background in grounds.items():
            assert background is not None
            yield f"{name} on {ground}", text, own or background
    yield "notice", rgb(theme.foreground), rgb(theme.variables["notice"])


@pytest.mark.parametrize("look", [DARK, LIGHT], ids=lambda look: look.name)
def test_text_has_a_contrast_of_4_5_on_every_background(look: Look) -> None:
    poor = {
        where: round(contrast(text, ground), 2) for where, text, ground in pairs(look) if contrast(text, ground) < 4.5
    }
    assert not poor


@pytest.mark.parametrize("palette", PALETTES)
def test_the_ansi_look_sets_colours_in_pairs_that_can_be_read_with_every_palette(palette: str) -> None:
    colours = [rgb(text) for text in PALETTES[palette].split()]
    for name, style in ANSI.styles.items():
        text, ground = style.color, style.bgcolor
        assert (text is None) == (ground is None), f"{name} sets one colour without the other"
        if text is not None and ground is not None:
            assert text.number is not None
            assert ground.number is not None
            assert contrast(colours[text.number], colours[ground.number]) >= 4.5, (palette, name)


def test_every_look_has_a_style_for_every_meaning() -> None:
    for look in LOOKS.values():
        assert set(look.styles) == set(MEANINGS)


def test_frames_can_be_seen() -> None:
    for look in (DARK, LIGHT):
        assert look.theme.background is not None
        lines = colour(look.styles["frame-focus"], "color")
        assert lines is not None
        assert contrast(lines, rgb(look.theme.background)) >= 3.0
