"""Building blocks of the widgets: outputs set as data, lines of text, sizes.

Outputs are assigned to the ``outputs`` trait instead of being captured, so that they appear the
same way in a browser, in a thread and in a headless run.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RED = "#B3261E"
GRAY = "#6b6b6b"
GREEN = "#00664B"


class Panel(widgets.VBox):  # type: ignore[misc]
    """A box of widgets with a plain-text form for where no widgets are shown."""

    def text(self) -> str:
        """What the panel shows, in plain text."""
        return type(self).__name__

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = self.text()
        return bundle


def line(text: str, color: str = GRAY, *, bold: bool = False) -> str:
    """One line of text as HTML; `text` is escaped."""
    weight = "600" if bold else "400"
    return (
        f'<span style="color:{color};font-weight:{weight};line-height:1.4">'
        f"{html.escape(text)}</span>"
    )


def show_html(output: widgets.Output, fragment: str, text: str) -> None:
    """Make an output area show HTML; links to files open in JupyterLab."""
    _show(output, {"text/html": fragment, "text/plain": text}, {})


def show_figure(output: widgets.Output, figure: Figure, text: str) -> None:
    """Make an output area show a matplotlib figure at its size in inches times 96 pixels."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=192, bbox_inches=None)
    data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": text}
    _show(output, data, {"image/png": {"width": round(figure.get_figwidth() * 96)}})


def _show(output: widgets.Output, data: dict[str, str], metadata: dict[str, Any]) -> None:
    output.outputs = ({"output_type": "display_data", "data": data, "metadata": metadata},)
