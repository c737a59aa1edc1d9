"""One figure style for every study: colors, sizes, and axis labels that carry their unit.

The colors are Okabe and Ito's, chosen so that people with any common form of color blindness
tell them apart [1]_. The matplotlib settings are in ``labkit.mplstyle`` beside this file.

References
----------
.. [1] Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OKABE_ITO: dict[str, str] = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}
"""The eight colors by name."""

PALETTE: tuple[str, ...] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
"""The order in which series take colors: the strongest contrasts first, no yellow on white."""

MPLSTYLE = "labkit.viz.labkit"
"""Name of the style for ``matplotlib.style.use`` and ``matplotlib.style.context``."""


def use_style() -> None:
    """Make the labkit style the default of all figures drawn from here on."""
    import matplotlib.pyplot as plt

    # In a notebook, loading the backend makes pyplot interactive; were that left to the first
    # figure inside a ``style.context``, its end would undo it, and no figure would ever show.
    plt.switch_backend(plt.get_backend())
    plt.style.use(MPLSTYLE)


def new_axes(
    ax: Axes | None = None, *, width_in: float | None = None, height_in: float | None = None
) -> Axes:
    """Return `ax`, or the axes of a new figure in the labkit style.

    Every plot function starts with this line, so that a caller may pass axes of their own.

    Parameters
    ----------
    ax : Axes, optional
        Existing axes; returned untouched.
    width_in, height_in : float, optional
        Size of the new figure in inches; the style's own when not given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = new_axes(width_in=4)
    >>> float(ax.figure.get_figwidth())
    4.0
    >>> new_axes(ax) is ax
    True
    """
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with plt.style.context(MPLSTYLE):
        width, height = plt.rcParams["figure.figsize"]
        _, ax = plt.subplots(figsize=(width_in or width, height_in or height))
        interactive = plt.isinteractive()
    plt.interactive(interactive)  # see `use_style`
    return ax


def axis_label(quantity: str, unit: str = "") -> str:
    """Label of an axis or color bar: the quantity, then its unit in parentheses.

    Examples
    --------
    >>> axis_label("energy", "kJ/mol")
    'Energy (kJ/mol)'
    >>> axis_label("F1 score")
    'F1 score'
    >>> axis_label("logP contribution")
    'logP contribution'
    """
    first = quantity.split(" ", 1)[0]
    text = quantity[:1].upper() + quantity[1:] if first.islower() else quantity
    return f"{text} ({unit})" if unit else text
