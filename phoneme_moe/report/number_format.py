"""Formatting of numbers, probabilities and lists of names for terminal and pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Shown if there is no value.
DASH = "–"
#: Number of names listed in a sentence before "and 12 more".
_NAMED = 6
#: Most decimals with which two values that differ are told apart.
_DECIMALS = 2


def percent(share: float, places: int = 0) -> str:
    """A share in 0..1 with its unit: ``83 %``; small but non-zero shares are ``<1 %``."""
    if not places and 0.0005 <= share < 0.005:
        return "<1 %"
    return f"{in_percent(share, places)} %"


def in_percent(share: float, places: int = 1) -> str:
    """A share in 0..1 in per cent, without the unit: ``83.2``."""
    return number(100 * share, places)


def percent_range(low: float, high: float) -> str:
    """Two shares in 0..1 as a range, or as one value if they round to the same: ``3–83 %``."""
    if percent(low) == percent(high):
        return percent(high)
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def told_apart(
    first: float, second: float, places: int = 0, text: Callable[[float, int], str] = percent
) -> tuple[str, str]:
    """Two values with as few decimals as it takes to read them apart, up to two.

    Args:
        first: The first value; a share in 0..1 unless ``text`` takes another.
        second: The second value.
        places: Fewest decimals.
        text: Writes a value with a number of decimals.
    """
    texts = text(first, places), text(second, places)
    while texts[0] == texts[1] and places < _DECIMALS:
        places += 1
        texts = text(first, places), text(second, places)
    return texts


def from_to(first: float, second: float, places: int = 0) -> str:
    """A change of a share in 0..1: ``from 1.2 % to 1.4 %``, never from a text to the same."""
    before, after = told_apart(first, second, places)
    if before == after:
        return f"by less than 0.01 points from {before}"
    return f"from {before} to {after}"


def seconds_text(seconds: float) -> str:
    """A duration, below 10 s to hundredths: ``0.15 s``, ``12.3 s``."""
    return f"{number(seconds, 2 if seconds < 9.995 else 1)} s"


def number(value: float | None, places: int = 2) -> str:
    """A number with a given number of decimals and no negative zero; a dash for None."""
    if value is None:
        return DASH
    text = f"{value:.{places}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None, places: int = 1) -> str:
    """A change with its sign (``+8.5``, ``−0.3``; zero has none); a dash for None."""
    if value is None:
        return DASH
    text = f"{value:+.{places}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def points(difference: float | None, places: int = 1) -> str:
    """A difference of shares in 0..1 in percentage points, with its sign: ``+8.5``."""
    return signed(None if difference is None else 100 * difference, places)


def points_range(low: float, high: float, places: int = 1) -> str:
    """An interval of differences of shares in percentage points: ``+7.6 to +9.4``.

    An interval without zero reads so, with a decimal more if it must.
    """
    while low * high > 0 and places < _DECIMALS + 1:
        if all(in_percent(abs(end), places).strip("0.") for end in (low, high)):
            break
        places += 1
    return f"{points(low, places)} to {points(high, places)}"


def probability(p: float | None, draws: int | None = None) -> str:
    """A probability that is never written as zero: ``0.25``, ``0.012``, ``<0.001``.

    Args:
        p: The probability; None gives a dash.
        draws: Number of permutations that it was estimated from: the least that so many can show
            is only a bound, ``≤0.001`` for 999.
    """
    if p is None:
        return DASH
    text = "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"
    at_floor = draws is not None and p <= (1 + 1e-9) / (1 + draws)
    return f"≤{text}" if at_floor and not text.startswith("<") else text


def p_value(p: float, draws: int | None = None) -> str:
    """``p = 0.012``, ``p < 0.001`` or ``p ≤ 0.001``; see ``probability``."""
    text = probability(p, draws)
    return f"p {text[0]} {text[1:]}" if text[0] in "<≤" else f"p = {text}"


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``, ``1,200 frames``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def names(items: Sequence[str], limit: int = _NAMED) -> str:
    """``a``, ``a and b``, ``a, b and c``, or the first few ``and 12 more``."""
    if len(items) > limit + 1:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def is_or_are(items: Sequence[object]) -> str:
    """The verb form for this number of subjects."""
    return "is" if len(items) == 1 else "are"
