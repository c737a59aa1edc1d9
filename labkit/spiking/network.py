"""One description of a spiking network for all back ends, and its file format.

A `Network` is populations, projections, and currents that enter from outside. It says nothing about
how it is simulated: the numpy, numba and torch engines, Lava and the resource report all read it.

On disk a network is two files: ``<stem>.json`` with the structure and ``<stem>.npz`` with the
arrays, named ``<population>_bias``, ``_ref``, ``_inp`` and ``<projection>_w``, ``_d``; sparse
arrays are stored as ``<name>_data``, ``_indices``, ``_indptr``, ``_shape``. The first holds the
SHA-256 of the second (``npz_sha256``), so that files of two networks are not taken for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labkit.atomic import replace_text
from labkit.errors import MissingDataError, ParameterError
from labkit.spiking.fixedpoint import LIFParameters, check_integers
from labkit.spiking.plasticity import STDPLoihi
from labkit.spiking.projections import Population, Projection
from labkit.spiking.storage import read_arrays, require_parent, write_arrays

INPUT_LIMIT = 2**25 - 1
"""An input beyond it would overflow 32 bits when it is aligned with the state."""
_KINDS = {
    "Dense": "dense",
    "Sparse": "sparse",
    "DelayDense": "delay_dense",
    "LearningDense": "learning_dense",
}
_PROCESSES = {kind: process for process, kind in _KINDS.items()}


@dataclass(frozen=True, eq=False)
class Network:
    """Populations of integer neurons, the projections between them, and their inputs.

    Parameters
    ----------
    populations : sequence of Population
    projections : sequence of Projection
    inputs : mapping of str to ndarray or scipy.sparse matrix of int, shape (n, n_steps)
        Current into each neuron of a population: column j is added to its input at step t = j + 1.
        After the last column there is none.
    episode : int, optional
        Every so many steps the host sets the learned weights back to their start and the traces to
        zero, while the random streams run on.

    Examples
    --------
    >>> lif = LIFParameters(vth=10)
    >>> network = Network(
    ...     [Population("a", 2, lif), Population("b", 1, lif)],
    ...     [Projection("ab", "a", "b", np.array([[20, 20]]))],
    ...     {"a": np.array([[11, 0], [0, 11]])},
    ... )
    >>> network.n_neurons, network.n_synapses, network.disconnected()
    (3, 2, ())
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    episode: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "populations", tuple(self.populations))
        object.__setattr__(self, "projections", tuple(self.projections))
        object.__setattr__(self, "inputs", dict(self.inputs))
        self.validate()

    @property
    def n_neurons(self) -> int:
        """Neurons of all populations."""
        return sum(population.n for population in self.populations)

    @property
    def n_synapses(self) -> int:
        """Stored synapses of all projections."""
        return sum(projection.n_synapses for projection in self.projections)

    @property
    def input_steps(self) -> int:
        """Steps until the last column of the inputs."""
        return max((matrix.shape[1] for matrix in self.inputs.values()), default=0)

    @property
    def learning(self) -> tuple[Projection, ...]:
        """Projections whose weights change."""
        return tuple(projection for projection in self.projections if projection.learns)

    def population(self, name: str) -> Population:
        """Population of a name."""
        return self.populations[_position("population", name, [p.name for p in self.populations])]

    def projection(self, name: str) -> Projection:
        """Projection of a name."""
        return self.projections[_position("projection", name, [p.name for p in self.projections])]

    def components(self) -> tuple[tuple[str, ...], ...]:
        """Groups of populations that projections join, each in the order of `populations`."""
        group = {population.name: {population.name} for population in self.populations}
        for projection in self.projections:
            joined = group[projection.pre] | group[projection.post]
            for name in joined:
                group[name] = joined
        names = [population.name for population in self.populations]
        found = {min(map(names.index, group[name])): group[name] for name in names}
        return tuple(
            tuple(name for name in names if name in found[start]) for start in sorted(found)
        )

    def disconnected(self) -> tuple[str, ...]:
        """Populations that no path of projections joins to the first: Lava would not run them."""
        return tuple(name for group in self.components()[1:] for name in group)

    def validate(self) -> None:
        """Check that names are unique and known and that shapes agree.

        Raises
        ------
        ParameterError
            Says which population, projection or input is wrong.
        """
        if not self.populations:
            raise ParameterError("populations is empty; a network needs at least one.")
        _check_unique("population", [population.name for population in self.populations])
        _check_unique("projection", [projection.name for projection in self.projections])
        for projection in self.projections:
            self._check_shape(projection)
        for name, matrix in self.inputs.items():
            self._check_input(name, matrix)
        if self.episode is not None:
            check_integers("episode", self.episode, 1, 2**31 - 1)

    def save(self, stem: str | Path) -> None:
        """Write ``<stem>.json`` and ``<stem>.npz``; the folder must exist.

        Each file is replaced whole or not at all. Where only one was replaced, `load` says so.
        """
        stem = Path(stem)
        require_parent("stem", stem)
        arrays: dict[str, np.ndarray] = {}
        pops = [_packed_population(population, arrays) for population in self.populations]
        conns = [_packed_projection(projection, arrays) for projection in self.projections]
        for name, matrix in self.inputs.items():
            _pack(arrays, f"{name}_inp", matrix)
        text: dict[str, Any] = {"T": self.input_steps, "pops": pops, "conns": conns}
        if self.episode is not None:
            text["episode"] = int(self.episode)
        text["npz_sha256"] = write_arrays(stem.with_name(f"{stem.name}.npz"), arrays)
        replace_text(stem.with_name(f"{stem.name}.json"), json.dumps(text))

    @classmethod
    def load(cls, stem: str | Path) -> Network:
        """Read ``<stem>.json`` and ``<stem>.npz``; without a "clip" key weights are clipped.

        Raises
        ------
        MissingDataError
            A file is missing.
        ParameterError
            A file is damaged, or the two do not belong together.
        """
        stem = Path(stem)
        text_file, array_file = (stem.with_name(f"{stem.name}{end}") for end in (".json", ".npz"))
        for file in (text_file, array_file):
            if not file.is_file():
                raise MissingDataError(
                    f"{file} is missing; a network is the two files {stem.name}.json and "
                    f"{stem.name}.npz, as Network.save writes them."
                )
        text = _read_description(text_file)
        arrays, digest = read_arrays(array_file)
        if text.get("npz_sha256", digest) != digest:
            raise ParameterError(
                f"{text_file} and {array_file.name} are not of one network: a save was "
                "interrupted, or one file was changed. Save the network again."
            )
        try:
            return _unpacked(cls, text, arrays)
        except KeyError as missing:
            raise ParameterError(
                f"{text_file} and {array_file.name} lack {missing}; write them with Network.save."
            ) from missing
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ParameterError(
                f"{text_file} and {array_file.name} describe no network ({error}); write them "
                "with Network.save."
            ) from error

    def _check_shape(self, projection: Projection) -> None:
        sizes = {population.name: population.n for population in self.populations}
        for end in (projection.pre, projection.post):
            if end not in sizes:
                raise ParameterError(
                    f"{projection} joins the unknown population {end!r}; there are "
                    f"{', '.join(sizes)}."
                )
        expected = (sizes[projection.post], sizes[projection.pre])
        if projection.weights.shape != expected:
            raise ParameterError(
                f"weights of {projection} have shape {projection.weights.shape}; from "
                f"{projection.pre!r} to {projection.post!r} it is (n_post, n_pre) = {expected}."
            )

    def _check_input(self, name: str, matrix: Any) -> None:
        if name not in [population.name for population in self.populations]:
            raise ParameterError(
                f"inputs name the unknown population {name!r}; there are "
                f"{', '.join(population.name for population in self.populations)}."
            )
        n = self.population(name).n
        if getattr(matrix, "ndim", 0) != 2 or matrix.shape[0] != n:
            raise ParameterError(
                f"inputs of population {name!r} have shape {np.shape(matrix)}; use (n, n_steps) "
                f"with n = {n}."
            )
        values = matrix.data if sparse.issparse(matrix) else matrix
        check_integers(f"inputs of population {name!r}", values, -INPUT_LIMIT, INPUT_LIMIT)


def _position(what: str, name: str, names: list[str]) -> int:
    if name not in names:
        raise ParameterError(
            f"{what} {name!r} is not in the network; there are {', '.join(names)}."
        )
    return names.index(name)


def _check_unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(
                f"{names.count(name)} {what}s are named {name!r}; each needs its own name."
            )


def _read_description(file: Path) -> dict[str, Any]:
    try:
        text = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParameterError(
            f"{file} is damaged ({error}); delete it and save the network again."
        ) from error
    if not isinstance(text, dict):
        raise ParameterError(f"{file} describes no network; write it with Network.save.")
    return text


def _packed_population(population: Population, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    lif = population.lif
    arrays[f"{population.name}_bias"] = np.broadcast_to(np.asarray(lif.bias_mant), population.n)
    if population.kind == "LIFLongReset":
        arrays[f"{population.name}_ref"] = lif.refractory_steps(population.n)
    packed: dict[str, Any] = {"name": population.name, "n": int(population.n)}
    packed |= {"kind": population.kind, "vth": int(lif.vth), "du": int(lif.du), "dv": int(lif.dv)}
    packed["bias_exp"] = int(lif.bias_exp)
    if lif.reset_interval is not None:
        packed |= {"ri": int(lif.reset_interval), "ro": int(lif.reset_offset)}
    return packed | ({"guard": True} if lif.guard else {})


def _packed_projection(projection: Projection, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    _pack(arrays, f"{projection.name}_w", projection.weights)
    if projection.delays is not None:
        arrays[f"{projection.name}_d"] = projection.delays
    packed: dict[str, Any] = {"name": projection.name, "pre": projection.pre}
    packed |= {"post": projection.post, "kind": _PROCESSES[projection.kind]}
    packed |= {"exp": int(projection.weight_exp), "bits": int(projection.num_weight_bits)}
    packed["clip"] = bool(projection.clip)
    if projection.sign_mode is not None:
        packed["sign"] = projection.sign_mode.upper()
    if projection.rule is not None:
        packed["rule"] = asdict(projection.rule)
    return packed


def _pack(arrays: dict[str, np.ndarray], name: str, matrix: Any) -> None:
    if not sparse.issparse(matrix):
        arrays[name] = np.asarray(matrix)
        return
    rows = sparse.csr_matrix(matrix)
    for part in ("data", "indices", "indptr"):
        arrays[f"{name}_{part}"] = getattr(rows, part)
    arrays[f"{name}_shape"] = np.array(rows.shape)


def _unpack(arrays: Mapping[str, np.ndarray], name: str) -> Any:
    if f"{name}_indptr" not in arrays:
        return arrays[name]
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))


def _unpacked(
    network: type[Network], text: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Network:
    populations = tuple(_unpacked_population(packed, arrays) for packed in text["pops"])
    inputs = {
        population.name: _unpack(arrays, f"{population.name}_inp")
        for population in populations
        if f"{population.name}_inp" in arrays or f"{population.name}_inp_indptr" in arrays
    }
    projections = tuple(_unpacked_projection(packed, arrays) for packed in text["conns"])
    return network(populations, projections, inputs, episode=text.get("episode"))


def _unpacked_population(packed: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Population:
    name = packed["name"]
    lif = LIFParameters(
        vth=packed["vth"],
        du=packed["du"],
        dv=packed["dv"],
        bias_mant=arrays[f"{name}_bias"],
        bias_exp=packed["bias_exp"],
        refractory=arrays.get(f"{name}_ref", 0),
        reset_interval=packed.get("ri"),
        reset_offset=packed.get("ro", 0),
        guard=packed.get("guard", False),
    )
    return Population(name, packed["n"], lif)


def _unpacked_projection(packed: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Projection:
    name, sign = packed["name"], packed.get("sign")
    return Projection(
        name,
        packed["pre"],
        packed["post"],
        _unpack(arrays, f"{name}_w"),
        kind=_KINDS[packed["kind"]],
        weight_exp=packed["exp"],
        num_weight_bits=packed["bits"],
        sign_mode=None if sign is None else sign.lower(),
        delays=arrays.get(f"{name}_d"),
        rule=STDPLoihi(**packed["rule"]) if "rule" in packed else None,
        clip=packed.get("clip", packed["kind"] != "LearningDense"),
    )
