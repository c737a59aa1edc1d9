"""Pictures as text, drawn in milliseconds: for widgets that follow a slider.

Each function returns an HTML fragment without scripts. Text takes the color of the page, so that it
reads on a dark theme; a shape tells its numbers under the mouse.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.llm_parallel.plots.colors import COMPONENTS, FAILED, PARTS
from labkit.llm_parallel.plots.marks import GIB, duration, percent
from labkit.llm_parallel.plots.pipeline import KINDS
from labkit.viz.colors import is_light, pale

if TYPE_CHECKING:
    from labkit.llm_parallel.schedule import Timeline

LEFT, RIGHT, TOP, FOOT = 46, 8, 20, 38
"""Margins of a picture with axes, in pixels."""
SEPARATE = 24
MAX_LABELS = 16
MAX_NUMBERS = 900
"""Bars above which micro-batches are not numbered."""
CHARACTER_PX = 6.2


def memory_svg(
    frame: pd.DataFrame, hbm_bytes: float, *, width_px: int = 720, height_px: int = 250
) -> str:
    """Memory of a device by pipeline stage and component; see `memory_by_stage`.

    Parameters
    ----------
    frame : DataFrame
        Of `memory_breakdown`.
    hbm_bytes : float
        Memory of a device.
    width_px, height_px : int

    Returns
    -------
    str
        HTML.
    """
    names = [name for name in COMPONENTS if name in frame]
    parts = frame[names].to_numpy(dtype=float) / GIB
    tops, limit = parts.sum(axis=1), hbm_bytes / GIB
    high = 1.08 * max(float(tops.max()), limit)
    n, inner = len(frame), width_px - LEFT - RIGHT
    slot = min(inner / n, 90.0)
    left = LEFT + slot * np.arange(n)
    scale = (height_px - TOP - FOOT) / high
    base = height_px - FOOT
    gap = 0.1 * slot if n <= SEPARATE else 0.0
    shapes, foot = [_y_axis(high, width_px, height_px)], np.zeros(n)
    for name, part in zip(names, parts.T, strict=True):
        rectangles = _rectangles(
            left + gap, base - (foot + part) * scale, slot - 2 * gap, part * scale
        )
        shapes.append(_path(rectangles, COMPONENTS[name][1]))
        foot += part
    over = tops > limit
    shapes.append(
        _path(_rectangles((left + gap)[over], base - tops[over] * scale, slot - 2 * gap, 3), FAILED)
    )
    shapes.append(_limit_line(base - limit * scale, limit, width_px))
    for stage in range(n):
        said = [f"stage {stage}: {tops[stage]:.1f} GiB"]
        said += [f"{COMPONENTS[c][0]} {v:.2f}" for c, v in zip(names, parts[stage], strict=True)]
        shapes.append(_hint(left[stage], TOP, slot, base - TOP, "\n".join(said)))
    for stage in range(0, n, -(-n // MAX_LABELS)):
        shapes.append(_text(left[stage] + slot / 2, base + 15, str(stage), "middle"))
    shapes.append(_text(LEFT + n * slot / 2, height_px - 5, "pipeline stage", "middle"))
    shapes.append(_text(4, TOP - 8, "memory of a device (GiB)"))
    present = [name for name, column in zip(names, parts.T, strict=True) if (column > 0).any()]
    key = _key((COMPONENTS[name][1], COMPONENTS[name][0]) for name in present)
    return _svg(shapes, width_px, height_px) + key


def anatomy_svg(parts: Mapping[str, float], *, width_px: int = 720) -> str:
    """Parts of the time of a step as one bar; see `step_anatomy`.

    Parameters
    ----------
    parts : mapping of str to float
        Seconds of each part.
    width_px : int

    Returns
    -------
    str
        HTML.
    """
    shown = {name: float(parts[name]) for name in PARTS if parts[name] > 0}
    total = sum(shown.values())
    shapes, key, left = [], [], 0.0
    for name, seconds in shown.items():
        label, color = PARTS[name]
        share, wide = percent(seconds / total), width_px * seconds / total
        said = f"{label}: {duration(seconds)}, {share}"
        shapes.append(_path(_rectangles(np.array([left]), np.array([0.0]), wide, 26), color))
        if wide > 26:
            ink = "#222222" if is_light(color) else "#ffffff"
            number = f"{100 * seconds / total:.0f} %"
            shapes.append(_text(left + wide / 2, 17, number, "middle", ink))
        shapes.append(_hint(left, 0, wide, 26, said))
        key.append((color, said))
        left += wide
    return _svg(shapes, width_px, 26) + _key(key)


def gantt_svg(timeline: Timeline, *, width_px: int = 860, row_px: int = 24) -> str:
    """Passes of a simulated pipeline, one row a rank; see `labkit.llm_parallel.plots.gantt`.

    Parameters
    ----------
    timeline : Timeline
        Of `simulate`.
    width_px, row_px : int

    Returns
    -------
    str
        HTML.
    """
    frame, p, v = timeline.frame, timeline.schedule.p, timeline.schedule.v
    side, tall = 52, row_px * p + 16
    scale = (width_px - LEFT - side) / (timeline.makespan or 1.0)
    left = LEFT + frame["start"].to_numpy() * scale
    wide = (frame["end"] - frame["start"]).to_numpy() * scale
    top = 16 + row_px * frame["rank"].to_numpy() + 0.09 * row_px
    waiting = _rectangles(
        np.full(p, float(LEFT)), 16 + row_px * (np.arange(p) + 0.09), width_px - LEFT - side,
        0.82 * row_px,
    )  # fmt: skip
    shapes = [_path(waiting, PARTS["bubble"][1])]
    gap = 0.5 if len(frame) <= MAX_NUMBERS else 0.0
    for (kind, chunk), rows in frame.groupby(["kind", "chunk"]).indices.items():
        color = _shade(str(kind), int(chunk), v)
        rectangles = _rectangles(left[rows], top[rows], wide[rows] - gap, 0.82 * row_px)
        shapes.append(_path(rectangles, color))
        if len(frame) <= MAX_NUMBERS:
            numbers = frame["microbatch"].to_numpy()[rows]
            shapes.append(
                _numbers(left[rows], top[rows] + 0.58 * row_px, wide[rows], numbers, color)
            )
    for rank, held in enumerate(timeline.peak_in_flight):
        y = 16 + row_px * (rank + 0.65)
        shapes.append(_text(LEFT - 8, y, str(rank), "end"))
        shapes.append(_text(width_px - side + 10, y, str(held)))
    shapes += [_text(LEFT - 8, 10, "rank", "end"), _text(width_px - side + 10, 10, "held")]
    key = [(_shade(k, 0, v), name) for k, (name, _) in KINDS.items() if (frame["kind"] == k).any()]
    later = [(_shade("F", v - 1, v), "paler: later model chunk")] if v > 1 else []
    return _svg(shapes, width_px, tall) + _key([*key, *later, (PARTS["bubble"][1], "bubble")])


def _shade(kind: str, chunk: int, v: int) -> str:
    color = KINDS[kind][1]
    return pale(color, 1 - 0.6 * chunk / max(v, 2)) if chunk else color


def _numbers(
    left: np.ndarray, foot: np.ndarray, wide: np.ndarray, numbers: np.ndarray, color: str
) -> str:
    """Numbers of micro-batches in the bars that have room for them."""
    fits = [CHARACTER_PX * len(str(n)) + 1 < w for n, w in zip(numbers, wide, strict=True)]
    texts = [
        f'<text x="{x:.1f}" y="{y:.1f}">{n}</text>'
        for x, y, n, room in zip(left + wide / 2, foot, numbers, fits, strict=True)
        if room
    ]
    ink = "#222222" if is_light(color) else "#ffffff"
    return f'<g fill="{ink}" font-size="10" text-anchor="middle">{"".join(texts)}</g>'


def _y_axis(high: float, width_px: int, height_px: int) -> str:
    """Lines and numbers at round values."""
    step = next(
        unit * 10.0**power
        for power in range(-3, 7)
        for unit in (1, 2, 5)
        if high / (unit * 10.0**power) <= 6
    )
    marks = []
    for value in np.arange(0, high, step):
        y = height_px - FOOT - value / high * (height_px - TOP - FOOT)
        line = f'x1="{LEFT}" x2="{width_px - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        marks.append(f'<line {line} stroke="currentColor" stroke-opacity="0.15"/>')
        marks.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    return "".join(marks)


def _limit_line(y: float, limit: float, width_px: int) -> str:
    line = f'x1="{LEFT}" x2="{width_px - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
    style = 'stroke="currentColor" stroke-width="1.5" stroke-dasharray="6 4"'
    said = _text(width_px - RIGHT, y - 4, f"has {limit:.3g} GiB", "end")
    return f"<line {line} {style}/>{said}"


def _rectangles(
    left: np.ndarray, top: np.ndarray, wide: np.ndarray | float, tall: np.ndarray | float
) -> str:
    """Outlines of rectangles as one path."""
    sizes = np.broadcast_arrays(left, top, wide, tall)
    rows = np.column_stack([np.asarray(size, dtype=float) for size in sizes]).tolist()
    return "".join(
        f"M{x:.1f} {y:.1f}h{w:.1f}v{h:.1f}h-{w:.1f}z" for x, y, w, h in rows if w > 0 and h > 0
    )


def _path(outline: str, color: str) -> str:
    return f'<path d="{outline}" fill="{color}"/>' if outline else ""


def _hint(x: float, y: float, wide: float, tall: float, text: str) -> str:
    """Invisible rectangle that tells its numbers under the mouse."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {place} fill-opacity="0"><title>{html.escape(text)}</title></rect>'


def _text(
    x: float | np.floating,
    y: float | np.floating,
    text: str,
    anchor: str = "start",
    color: str = "currentColor",
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"'
    return f"<text {place}>{html.escape(text)}</text>"


def _svg(shapes: Iterable[str], width_px: int, height_px: int) -> str:
    size = f'width="{width_px}" height="{height_px}" viewBox="0 0 {width_px} {height_px}"'
    style = 'style="max-width:100%;height:auto;display:block" font-family="sans-serif"'
    return f'<svg {size} {style} font-size="12">{"".join(shapes)}</svg>'


def _key(entries: Iterable[tuple[str, str]]) -> str:
    """Legend: colors and what they mean."""
    square = "display:inline-block;width:11px;height:11px;margin:0 5px 0 0"
    items = [
        f'<span style="margin:0 14px 0 0;white-space:nowrap"><span style="{square};'
        f'background:{color}"></span>{html.escape(label)}</span>'
        for color, label in entries
    ]
    style = "font:12px sans-serif;line-height:1.6;display:flex;flex-wrap:wrap;margin:2px 0 8px"
    return f'<div style="{style}">{"".join(items)}</div>'
