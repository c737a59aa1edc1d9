"""A progress bar that long calculations of any study can report to."""

from __future__ import annotations

import time

import ipywidgets as widgets
from IPython.display import display

from labkit.ui.blocks import Panel, line

REFRESH_SECONDS = 0.1


class Progress(Panel):
    """Progress bar with a description, a count and the time taken.

    Parameters
    ----------
    description : str
        What is going on.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._shown = False
        self._text = f"{description}: not started"
        self._began = self._drawn = 0.0
        self._bar = widgets.IntProgress(value=0, max=1, bar_style="info")
        self._bar.layout.width = "260px"
        self._words = widgets.HTML()
        name = widgets.HTML(line(description))
        super().__init__([widgets.HBox([name, self._bar, self._words])])

    def text(self) -> str:
        """Description, count and time."""
        return self._text

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show that `done` of `total` steps are done; the bar appears with the first call."""
        now = time.monotonic()
        if not self._shown:
            self._shown, self._began = True, now
            display(self)  # type: ignore[no-untyped-call]
        if done < total and now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        took = f"{now - self._began:.0f} s"
        what = ", ".join(part for part in (text, took) if part)
        self._text = f"{self._description}: {done} of {total} ({what})"
        self._bar.max, self._bar.value = max(total, 1), done
        self._bar.bar_style = "success" if done >= total else "info"
        self._words.value = line(f"{done} of {total} ({what})")


def progress(description: str = "working") -> Progress:
    """Progress bar to pass to a calculation, which calls it with (done, total, text).

    Parameters
    ----------
    description : str
        What is going on.

    Returns
    -------
    Progress

    Examples
    --------
    >>> bar = progress("training")
    >>> bar.text()
    'training: not started'
    """
    return Progress(description)
