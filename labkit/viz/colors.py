"""Numbers to colors, with the legend that says what a color means.

Signed quantities run from blue over light gray to vermillion, quantities of one sign from light
gray to blue, or from light gray over orange to dark red where large values are what to look for.
All ramps stay ordered for color-blind readers; the two of one sign also in a gray print.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.viz.style import axis_label

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

_RAMPS = {
    "diverging": ("#0072B2", "#8fbdd9", "#eeeeee", "#eca779", "#D55E00"),
    "sequential": ("#eeeeee", "#a6cbe0", "#4d9ac8", "#0072B2"),
    "heat": ("#eeeeee", "#f5cf8e", "#E69F00", "#D55E00", "#a33c00"),
}
MISSING = "#c9b8d4"
"""Color of a missing value (nan): on neither ramp."""


@dataclass(frozen=True)
class ColorScale:
    """A range of values and the color ramp laid over it.

    Parameters
    ----------
    low, high : float
        Values at the two ends; values outside take the color of the nearer end.
    kind : {"diverging", "sequential", "heat"}
        Ramp. A diverging scale from ``for_values`` has zero in its middle.
    label, unit : str
        What the colors show, for the legend.

    Examples
    --------
    >>> scale = ColorScale(-1, 1, label="charge", unit="e")
    >>> scale.color(-1), scale.color(0), scale.color(7)
    ('#0072b2', '#eeeeee', '#d55e00')
    """

    low: float
    high: float
    kind: str = "diverging"
    label: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _RAMPS:
            raise ValueError(f"kind={self.kind!r} is no color ramp; choose from {sorted(_RAMPS)}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"a color scale needs finite low < high, got low={self.low}, high={self.high}"
            )

    @classmethod
    def for_values(
        cls,
        values: Iterable[float],
        *,
        label: str = "",
        unit: str = "",
        signed: bool | None = None,
        ramp: str = "sequential",
    ) -> ColorScale:
        """Scale that holds all `values`: symmetric about zero when they are signed.

        Parameters
        ----------
        values : iterable of float
            nan is ignored; all equal or empty gives a scale of width one.
        label, unit : str
            See the class.
        signed : bool, optional
            Whether zero is neutral and the sign matters; when not given, whether `values` have
            both signs.
        ramp : {"sequential", "heat"}
            Ramp of values that are not signed.
        """
        known = [float(value) for value in values if math.isfinite(value)]
        low, high = min(known, default=0.0), max(known, default=1.0)
        if (low < 0 < high) if signed is None else signed:
            reach = max(-low, high) or 1.0
            return cls(-reach, reach, "diverging", label, unit)
        if low == high:
            low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            high = low + 1.0
        return cls(low, high, ramp, label, unit)

    def color(self, value: float) -> str:
        """Hex color of one value; nan has a color of its own (`MISSING`)."""
        if math.isnan(value):
            return MISSING
        ramp = _RAMPS[self.kind]
        place = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        step = place * (len(ramp) - 1)
        left = min(int(step), len(ramp) - 2)
        return _mix(ramp[left], ramp[left + 1], step - left)

    def rgb(self, value: float) -> tuple[float, float, float]:
        """Red, green and blue of one value, each from 0 to 1."""
        red, green, blue = _channels(self.color(value))
        return red / 255, green / 255, blue / 255

    def colormap(self) -> Colormap:
        """Return the ramp as a matplotlib ``Colormap``."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list(f"labkit-{self.kind}", _RAMPS[self.kind])

    def to_html(self, width_px: int = 240) -> str:
        """Legend as an HTML fragment without scripts: label, color bar, its end values."""
        ramp = ", ".join(_RAMPS[self.kind])
        middle = (self.low + self.high) / 2
        ticks = [self.low, middle, self.high] if self.kind == "diverging" else [self.low, self.high]
        cells = "".join(f"<span>{_short(tick)}</span>" for tick in ticks)
        title = html.escape(axis_label(self.label, self.unit))
        bar = f"height:10px;border-radius:2px;background:linear-gradient(to right, {ramp})"
        return (
            f'<div style="width:{width_px}px;max-width:100%;font:12px sans-serif;margin:4px 0">'
            f"<div>{title}</div>"
            f'<div style="{bar}"></div>'
            f'<div style="display:flex;justify-content:space-between">{cells}</div></div>'
        )


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _mix(first: str, second: str, share: float) -> str:
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _short(value: float) -> str:
    text = f"{value:.3g}"
    return text.replace("-", "−") if float(text) else "0"


def is_light(color: str) -> bool:
    """Whether dark text is easier to read on a color than white.

    Examples
    --------
    >>> is_light("#bfdff3"), is_light("#0072B2")
    (True, False)
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def pale(color: str, share: float = 0.35) -> str:
    """Color mixed with white, of which it keeps a `share`.

    Examples
    --------
    >>> pale("#000000", 0.5)
    '#808080'
    """
    channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02x}" for channel in channels)
