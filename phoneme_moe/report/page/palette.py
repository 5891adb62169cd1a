"""Colours of the heat maps and bars, the same in the figure and on the page.

The ramps are linear in the lightness of OKLCH (Ottosson 2020) at one hue, so that equal steps of
weight look equal and no information depends on hue, which colour-blind readers might miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Theme = Literal["light", "dark"]
Colour = tuple[float, float, float]

#: Outline of the speaker's own expert; visible at both ends of both ramps.
OUTLINE_COLOUR = "#e8590c"
#: Paul Tol's "bright" scheme: distinguishable in every common kind of colour blindness.
_FEW = ("#4477aa", "#ee8866", "#228833", "#ccbb44", "#66ccee", "#aa3377")
#: Lightness, chroma (at its widest) and hue in degrees of the ramps' two ends.
_RAMPS: dict[Theme, tuple[tuple[float, float], float, float]] = {
    "light": ((1.0, 0.37), 0.135, 255.0),
    "dark": ((0.255, 0.87), 0.115, 245.0),
}


def ramp(theme: Theme, steps: int = 101) -> NDArray[np.float64]:
    """Colours of the weights 0..1, evenly spaced.

    Args:
        theme: ``light`` starts at white and darkens, ``dark`` starts near black and brightens.
        steps: Number of colours.

    Returns:
        sRGB colours, 0..1, shape (steps, 3).
    """
    (start, end), chroma, hue = _RAMPS[theme]
    weight = np.linspace(0.0, 1.0, steps)
    lightness = start + (end - start) * weight
    # No chroma at weight 0 (background), full chroma from the middle on if within sRGB.
    return _srgb(lightness, chroma * np.sin(np.pi / 2 * np.minimum(1.0, weight * 1.6)), hue)


@cache
def theme_colours() -> dict[str, str]:
    """Colours of the light theme by CSS variable (``--ink``), as ``#rrggbb``."""
    style = resources.files("phoneme_moe.report.page").joinpath("page.css").read_text("utf-8")
    light = style[: style.index("@media")]
    found: list[tuple[str, str]] = re.findall(r"(--[a-z-]+): #([0-9a-f]+);", light)
    # #abc is short for #aabbcc.
    return {name: "#" + (h if len(h) == 6 else "".join(2 * d for d in h)) for name, h in found}


def shade(share: float, top: float = 1.0) -> int:
    """Step of the ramp, 0 to 100, for a weight if ``top`` has the strongest colour."""
    return min(100, max(0, round(100 * share / top)))


def scale_top(weights: NDArray[np.float64]) -> float:
    """A round number not below any weight, for the end of the colour scale."""
    greatest = float(np.nanmax(weights, initial=0.0))
    return next((top for top in (0.05, 0.1, 0.2, 0.3, 0.5) if greatest <= top), 1.0)


def ramp_colours(theme: Theme) -> list[str]:
    """The ramp for each whole per cent as ``#rrggbb``."""
    return [hex_colour((float(r), float(g), float(b))) for r, g, b in ramp(theme)]


def with_ink(colours: Iterable[str]) -> list[tuple[str, str]]:
    """Background colours (``#rrggbb``), each with its text colour."""
    return [(colour, hex_colour(ink(from_hex(colour)))) for colour in colours]


def ink(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more with a background (WCAG 2 contrast ratio)."""
    luminance = relative_luminance(colour)
    white, black = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05
    return (1.0, 1.0, 1.0) if white > black else (0.0, 0.0, 0.0)


def relative_luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def expert_colours(num_experts: int) -> list[str]:
    """One colour per expert for stacked bars, as ``#rrggbb``.

    Up to six are Tol's scheme. More are spread over the hue circle with two alternating
    lightnesses, so that neighbours in a bar differ; beyond about a dozen only the labels
    distinguish them.
    """
    if num_experts <= len(_FEW):
        return list(_FEW[:num_experts])
    hues = 250.0 + 360.0 * np.arange(num_experts) / num_experts
    lightness = np.where(np.arange(num_experts) % 2 == 0, 0.56, 0.78)
    colours = [
        _srgb(np.array([li]), np.array([0.11]), h) for li, h in zip(lightness, hues, strict=True)
    ]
    return [hex_colour(tuple(colour[0])) for colour in colours]


def hex_colour(colour: Colour) -> str:
    """An sRGB colour in 0..1 as ``#rrggbb``."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def from_hex(text: str) -> Colour:
    """Parses ``#rrggbb`` as an sRGB colour in 0..1."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (red, green, blue)


def _srgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: float
) -> NDArray[np.float64]:
    """Converts OKLCH colours of one hue (degrees) to sRGB, shape (colours, 3), clipped to 0..1."""
    angle = np.deg2rad(hue)
    oklab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1)
    to_cone = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((oklab @ to_cone.T) ** 3 @ to_linear.T, 0.0, 1.0)
    gamma: NDArray[np.float64] = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, gamma)
