"""Color scales."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from labkit.viz.colors import MISSING, ColorScale

NAN = math.nan


@pytest.mark.parametrize("kind", ["diverging", "sequential", "heat"])
def test_colors_agree_with_matplotlibs_interpolation(kind: str) -> None:
    scale = ColorScale(-2.0, 6.0, kind)
    for value in np.linspace(-2, 6, 33):
        expected = scale.colormap()((value + 2) / 8)[:3]
        # matplotlib rounds to 256 steps of the ramp: at most one step of each channel away.
        assert scale.rgb(value) == pytest.approx(expected, abs=3 / 255)


@pytest.mark.parametrize(
    ("values", "kind", "low", "high"),
    [
        ([-1, 3], "diverging", -3, 3),
        ([0.2, 0.9], "sequential", 0.2, 0.9),
        ([-4, -1], "sequential", -4, -1),
        ([5, 5], "sequential", 0, 5),
        ([0, 0], "sequential", 0, 1),
        ([], "sequential", 0, 1),
        ([NAN, -1, 1, math.inf], "diverging", -1, 1),
    ],
)
def test_scale_holds_its_values(values: list[float], kind: str, low: float, high: float) -> None:
    scale = ColorScale.for_values(values)
    assert (scale.kind, scale.low, scale.high) == (kind, low, high)


@pytest.mark.parametrize(
    ("values", "reach"), [([1, 3], 3), ([-4, -1], 4), ([0, 0], 1), ([], 1), ([-1, 2], 2)]
)
def test_signed_scale_is_symmetric_whatever_the_values(values: list[float], reach: float) -> None:
    scale = ColorScale.for_values(values, signed=True)
    assert (scale.kind, scale.low, scale.high) == ("diverging", -reach, reach)


def test_zero_is_neutral_on_a_diverging_scale() -> None:
    assert ColorScale.for_values([-1, 7]).color(0) == ColorScale.for_values([-7, 1]).color(0)


def test_values_outside_take_the_color_of_the_end_and_nan_its_own() -> None:
    scale = ColorScale(0, 1, "sequential")
    assert scale.color(-5) == scale.color(0)
    assert scale.color(math.inf) == scale.color(1)
    assert scale.color(NAN) == MISSING


@pytest.mark.parametrize("kind", ["sequential", "heat"])
def test_colors_of_one_sign_get_darker(kind: str) -> None:
    scale = ColorScale.for_values([0, 1], ramp=kind)
    assert scale.kind == kind
    lightness = [sum(to_rgb(scale.color(value))) for value in np.linspace(0, 1, 20)]
    assert lightness == sorted(lightness, reverse=True)


def test_legend_names_quantity_unit_and_ends_and_is_safe_html() -> None:
    legend = ColorScale(-0.25, 0.25, label="charge <b>", unit="e").to_html()
    assert "Charge &lt;b&gt; (e)" in legend
    assert "−0.25" in legend
    assert "<script" not in legend


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (NAN, 1), (0, math.inf)])
def test_empty_range_is_refused_with_its_numbers(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=rf"low={low}, high={high}"):
        ColorScale(low, high)


def test_unknown_ramp_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"rainbow.*diverging.*sequential"):
        ColorScale(0, 1, "rainbow")
