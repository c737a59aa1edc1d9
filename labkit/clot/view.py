"""Platelets in 3D with py3Dmol, colored by what they carry, with a slider over time.

Nothing needs a kernel: the page holds the meshes of all times as whole numbers of hundredths of rc,
and draws those of the slider's time. 3Dmol.js comes from a content delivery network; until it has
loaded, and for good without a network or WebGL, a flat picture of the last time stands in its
place. That picture is drawn here, farthest triangle first, lit from the viewer's upper left.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.proximity import lattice
from labkit.clot.state import Snapshot
from labkit.clot.surfaces import QUANTITIES, Surface, bead_values, surfaces
from labkit.viz.colors import ColorScale
from labkit.viz.depiction import Drawing

if TYPE_CHECKING:
    from labkit.clot.suspension import Suspension
    from labkit.viz.molecules import MoleculeView

Array = NDArray[np.float64]

BUDGET, LIMIT = 24_000, 90_000
"""Vertices of all times together that meshes are thinned out to, and above which times are left
out: about 20 bytes of HTML each."""
FEWEST, MOST = 24, 150
"""Vertices of one membrane."""
TURN_DEG = (18.0, -24.0)
"""How far the box is turned about x and then about y before it is looked at along z."""
BOX_GRAY = "#9a9a9a"
PLATELETS = (
    *("#3d94c9", "#e8834a", "#33b894", "#d98fb5", "#efb73a", "#7cc5ee"),
    *("#8fc1e0", "#f2b896", "#8ad6c1", "#ebc2d6", "#f6d88b", "#b5def6"),
)
"""Colors of platelets: those of `labkit.viz.PALETTE` without black, light enough to be shaded."""
_LIGHT = np.array([-0.4, 0.55, 0.75])


def show_platelets(
    snapshots: Snapshot | Sequence[Snapshot],
    suspension: Suspension,
    *,
    color_by: str = "platelet",
    forcefield: ForceField | None = None,
    flow: Flow | None = None,
    scale: ColorScale | None = None,
    width_px: int = 620,
    height_px: int = 420,
) -> MoleculeView:
    """Show platelets in their box; several snapshots with a slider over time.

    Parameters
    ----------
    snapshots : Snapshot or sequence of Snapshot
    suspension : Suspension
        That the snapshots are of.
    color_by : {"platelet", "stretch", "contacts", "stress"}
        Each platelet in a color of its own, or by what its beads carry.
    forcefield : ForceField, optional
        For contacts and stress; the default one otherwise.
    flow : Flow, optional
        For contacts: a channel is not periodic across.
    scale : ColorScale, optional
        Common colors for several views.
    width_px, height_px : int
        Size in pixels.

    Returns
    -------
    MoleculeView
        Shows itself; ``to_html()`` gives the fragment, below 2 MB.

    Raises
    ------
    ParameterError
        No snapshot, no platelet, or a color that there is not.
    """
    from rdkit import Chem

    from labkit.viz.molecules import MoleculeView

    pictures = film(
        snapshots, suspension, color_by=color_by, forcefield=forcefield, flow=flow, scale=scale
    )
    return MoleculeView(
        Chem.Mol(),
        flat_drawing(pictures, width_px=width_px, height_px=height_px),
        _viewer_html(pictures, width_px, height_px),
        width_px,
        height_px,
    )


@dataclass(frozen=True, eq=False)
class Picture:
    """Platelets at one time, colored.

    Attributes
    ----------
    time : float
        [time]
    box : array of shape (3,)
        [rc]
    tilt : float
        [rc]
    surfaces : list of Surface
        One a platelet.
    colors : list of list of str
        Color of each vertex of each surface.
    scale : ColorScale, optional
        What the colors mean; None where each platelet has its own.
    """

    time: float
    box: Array
    tilt: float
    surfaces: list[Surface]
    colors: list[list[str]]
    scale: ColorScale | None

    @property
    def text(self) -> str:
        """What it shows, in words."""
        what = f"{len(self.surfaces)} platelets at time {self.time:g}"
        if self.scale is None:
            return what
        low, high = (f"{value:.3g}" for value in (self.scale.low, self.scale.high))
        return (
            f"{what}, colored by {self.scale.label} from {low} to {high} {self.scale.unit}".strip()
        )


def film(
    snapshots: Snapshot | Sequence[Snapshot],
    suspension: Suspension,
    *,
    color_by: str = "platelet",
    forcefield: ForceField | None = None,
    flow: Flow | None = None,
    scale: ColorScale | None = None,
) -> list[Picture]:
    """Return colored platelets at several times; arguments as in `show_platelets`.

    Meshes are thinned out until all times together have `BUDGET` vertices, or each membrane has
    `FEWEST`; where that is still too many, times are left out evenly.
    """
    states = [snapshots] if isinstance(snapshots, Snapshot) else list(snapshots)
    for state in states:
        state.require_of(suspension.n_particles, suspension.box)
    states = spread(states, max(2, LIMIT // max(1, FEWEST * suspension.n_platelets)))
    most = BUDGET // max(1, len(states) * suspension.n_platelets)
    meshes = surfaces(states, suspension, most_vertices=int(np.clip(most, FEWEST, MOST)))
    options: dict[str, Any] = {"forcefield": forcefield, "flow": flow}
    values = [bead_values(color_by, state, suspension, **options) for state in states]
    if color_by != "platelet" and scale is None:
        label, unit = QUANTITIES[color_by]
        shown = np.concatenate([v[s.beads] for v, m in zip(values, meshes, strict=True) for s in m])
        high = max(float(np.percentile(shown, 99.0)), 1e-6)
        scale = ColorScale(0.0, high, "heat", label, unit)
    return [
        Picture(
            time=state.time,
            box=state.box,
            tilt=state.tilt,
            surfaces=mesh,
            colors=[_colors(surface, value, scale) for surface in mesh],
            scale=scale,
        )
        for state, mesh, value in zip(states, meshes, values, strict=True)
    ]


def spread(states: Sequence[Snapshot], most: int) -> list[Snapshot]:
    """Return at most so many states, evenly spaced, the first and the last among them."""
    if len(states) <= most:
        return list(states)
    return [states[k] for k in np.linspace(0, len(states) - 1, most).round().astype(int)]


def _colors(surface: Surface, values: Array, scale: ColorScale | None) -> list[str]:
    shown = values[surface.beads]
    if scale is None:
        return [PLATELETS[(int(number) - 1) % len(PLATELETS)] for number in shown]
    return [scale.color(float(value)) for value in shown]


def outlines(box: Array, tilt: float) -> Array:
    """Return the twelve edges of a box as pairs of points [rc], shape (12, 2, 3)."""
    edges = lattice(box, tilt)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    pairs = [
        (a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1
    ]
    return np.asarray(corners[np.array(pairs)] @ edges)


def projected(points: Array, picture: Picture) -> Array:
    """Turn points about the middle of the box by `TURN_DEG`; the viewer looks along -z."""
    x, y = np.radians(TURN_DEG)
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    middle = lattice(picture.box, picture.tilt).sum(axis=0) / 2
    return np.asarray((points - middle) @ (about_x @ about_y).T)


def polygons(picture: Picture) -> tuple[Array, list[str]]:
    """Triangles that face the viewer, farthest first, with the color of their light.

    Returns
    -------
    corners : array of shape (m, 3, 2)
        In the plane of the picture [rc].
    colors : list of str
    """
    corners, colors = [], []
    for surface, shades in zip(picture.surfaces, picture.colors, strict=True):
        corners.append(projected(surface.vertices, picture)[surface.triangles])
        rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in shades])
        colors.append(rgb[surface.triangles].mean(axis=1))
    places, paints = np.concatenate(corners), np.concatenate(colors)
    normals = np.cross(places[:, 1] - places[:, 0], places[:, 2] - places[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = 0.5 + 0.5 * np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    lit = np.clip(paints * light[:, None] + 30 * light[:, None] ** 6, 0, 255)
    order = np.argsort(places[:, :, 2].mean(axis=1), kind="stable")
    order = order[normals[order, 2] > 0]
    names = ["#" + "".join(f"{round(c):02x}" for c in row) for row in lit[order].tolist()]
    return places[order][:, :, :2], names


def flat_drawing(pictures: Sequence[Picture], *, width_px: int, height_px: int) -> Drawing:
    """Return the last picture as a drawing, with the legend of its colors."""
    last = pictures[-1]
    frame = projected(outlines(last.box, last.tilt), last)[:, :, :2]
    corners, colors = polygons(last)
    every = np.concatenate([frame.reshape(-1, 2), corners.reshape(-1, 2)])
    low, high = every.min(axis=0), every.max(axis=0)
    zoom = 0.92 * min(width_px / (high - low)[0], height_px / (high - low)[1])
    center = (low + high) / 2

    def at(points: Array) -> str:
        placed = (points - center) * zoom * (1, -1) + (width_px / 2, height_px / 2)
        return " ".join(f"{x:.0f},{y:.0f}" for x, y in placed)

    lines = [f'<polyline points="{at(edge)}"/>' for edge in frame]
    faces = [
        f'<polygon points="{at(face)}" fill="{color}" stroke="{color}"/>'
        for face, color in zip(corners, colors, strict=True)
    ]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {height_px}" '
        f'width="{width_px}" height="{height_px}"><rect width="100%" height="100%" fill="white"/>'
        f'<g fill="none" stroke="{BOX_GRAY}">{"".join(lines)}</g>'
        f'<g stroke-width="0.6">{"".join(faces)}</g></svg>'
    )
    legend = last.scale.to_html() if last.scale else ""
    return Drawing(svg, last.text, legend)


def _viewer_html(pictures: Sequence[Picture], width_px: int, height_px: int) -> str:
    import py3Dmol

    name = uuid.uuid4().hex
    view = py3Dmol.view(width=width_px, height=height_px)
    values = {
        "DATA": json.dumps(_data(pictures), separators=(",", ":")),
        "NAME": name,
        "TURN": json.dumps(TURN_DEG),
        "GRAY": BOX_GRAY,
    }
    script = _SCRIPT
    for key, value in values.items():
        script = script.replace(f"@{key}@", value)
    view.startjs += script
    return str(view.write_html()) + _CONTROLS.replace("@NAME@", name)


def _data(pictures: Sequence[Picture]) -> dict[str, Any]:
    """Meshes of all times: positions in hundredths of rc, colors as places in a list of them."""
    known = {
        color: i
        for i, color in enumerate(sorted({c for p in pictures for s in p.colors for c in s}))
    }
    times = []
    for picture in pictures:
        colors = [[known[c] for c in shades] for shades in picture.colors]
        times.append(
            {
                "t": f"{picture.time:.4g}",
                "v": [
                    np.rint(100 * s.vertices).astype(int).ravel().tolist() for s in picture.surfaces
                ],
                "c": [c[:1] if len(set(c)) == 1 else c for c in colors],
                "box": np.round(outlines(picture.box, picture.tilt), 2).reshape(-1, 6).tolist(),
            }
        )
    faces = [surface.triangles.ravel().tolist() for surface in pictures[0].surfaces]
    meshes = [face for i, face in enumerate(faces) if face not in faces[:i]]
    return {
        "colors": list(known),
        "meshes": meshes,
        "mesh": [meshes.index(face) for face in faces],
        "times": times,
    }


_SCRIPT = """
(function (viewer) {
  var data = @DATA@, shown = -1;
  function point(a, i) { return {x: a[i] / 100, y: a[i + 1] / 100, z: a[i + 2] / 100}; }
  function draw(k) {
    var now = data.times[k];
    shown = k;
    viewer.removeAllShapes();
    now.box.forEach(function (e) {
      viewer.addLine({start: {x: e[0], y: e[1], z: e[2]}, end: {x: e[3], y: e[4], z: e[5]},
        color: "@GRAY@"});
    });
    now.v.forEach(function (flat, p) {
      var places = [], colors = now.c[p].map(function (c) { return data.colors[c]; });
      for (var i = 0; i < flat.length; i += 3) places.push(point(flat, i));
      viewer.addCustom({vertexArr: places, faceArr: data.meshes[data.mesh[p]],
        normalArr: normals(places, data.meshes[data.mesh[p]]),
        color: colors.length > 1 ? colors : colors[0]});
    });
    viewer.render();
  }
  function normals(places, faces) {
    var sums = places.map(function () { return {x: 0, y: 0, z: 0}; });
    for (var f = 0; f < faces.length; f += 3) {
      var a = places[faces[f]], b = places[faces[f + 1]], c = places[faces[f + 2]];
      var u = [b.x - a.x, b.y - a.y, b.z - a.z], v = [c.x - a.x, c.y - a.y, c.z - a.z];
      for (var j = 0; j < 3; j++) {
        var sum = sums[faces[f + j]];
        sum.x += u[1] * v[2] - u[2] * v[1];
        sum.y += u[2] * v[0] - u[0] * v[2];
        sum.z += u[0] * v[1] - u[1] * v[0];
      }
    }
    return sums.map(function (s) {
      var length = Math.sqrt(s.x * s.x + s.y * s.y + s.z * s.z) || 1;
      return {x: s.x / length, y: s.y / length, z: s.z / length};
    });
  }
  draw(data.times.length - 1);
  viewer.zoomTo();
  viewer.rotate(@TURN@[1], "y");
  viewer.rotate(@TURN@[0], "x");
  viewer.zoom(1.2);
  viewer.render();
  var bar = document.getElementById("labkit-film-@NAME@");
  if (!bar || data.times.length < 2) return;
  var slider = bar.querySelector("input"), words = bar.querySelector("output");
  var button = bar.querySelector("button"), playing = null;
  function go(k) {
    slider.value = k;
    words.textContent = "time " + data.times[k].t;
    if (k !== shown) draw(k);
  }
  function stop() { clearInterval(playing); playing = null; button.textContent = "play"; }
  slider.max = data.times.length - 1;
  slider.oninput = function () { stop(); go(+slider.value); };
  button.onclick = function () {
    if (playing) { stop(); return; }
    button.textContent = "stop";
    playing = setInterval(function () {
      if (!document.body.contains(bar)) { stop(); return; }
      go((shown + 1) % data.times.length);
    }, 180);
  };
  bar.style.display = "flex";
  go(data.times.length - 1);
})(viewer_UNIQUEID);
"""

_CONTROLS = """
<div id="labkit-film-@NAME@" style="display:none;position:absolute;left:8px;right:8px;bottom:4px;
gap:8px;align-items:center;font:12px sans-serif;color:#333"><button style="width:52px">play</button>
<input type="range" min="0" step="1" style="flex:1"><output style="width:92px"></output></div>"""
