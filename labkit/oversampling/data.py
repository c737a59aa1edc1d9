"""Load molecules: named sets through :mod:`labkit.datasets`, simulated effects, or a user's CSV.

Rows whose SMILES is not a molecule, or that have no known target, are dropped and listed with the
reason; whatever else is wrong with a file is an error that names the column, the row and the value.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem

from labkit import datasets
from labkit.errors import MissingDataError, ParameterError
from labkit.oversampling.graphs import parse, reason_unparsable
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.simulated import SimulatedEffects, simulate_effects

SIMULATED = "nci_simulated"
TASKS = ("multilabel", "regression")
_BIOGEN_TARGETS = (
    "LOG HLM_CLint (mL/min/kg)",
    "LOG MDR1-MDCK ER (B-A/A-B)",
    "LOG SOLUBILITY PH 6.8 (ug/mL)",
    "LOG PLASMA PROTEIN BINDING (HUMAN) (% unbound)",
    "LOG PLASMA PROTEIN BINDING (RAT) (% unbound)",
    "LOG RLM_CLint (mL/min/kg)",
)
_SMILES_COLUMNS = ("smiles", "canonical_smiles", "canonicalsmiles", "structure")


@dataclass(frozen=True)
class _Measured:
    task: str
    smiles_col: str = "smiles"
    target_cols: tuple[str, ...] | None = None


_MEASURED = {
    "sider": _Measured("multilabel"),
    "tox21": _Measured("multilabel"),
    "clintox": _Measured("multilabel"),
    "toxcast": _Measured("multilabel"),
    "biogen_adme": _Measured("regression", "SMILES", _BIOGEN_TARGETS),
}
NAMES = (SIMULATED, *_MEASURED)

__all__ = ["NAMES", "SIMULATED", "TASKS", "MoleculeTable", "load_molecules", "simulated_table"]


def load_molecules(
    name_or_csv: str | Path,
    *,
    smiles_col: str | None = None,
    target_cols: Sequence[str] | None = None,
    task: str | None = None,
    n_molecules: int | None = None,
    seed: int = 0,
) -> MoleculeTable:
    """Load a named set or a CSV file.

    Parameters
    ----------
    name_or_csv : str or Path
        One of ``nci_simulated`` (**simulated** effects of real molecules, no network), ``sider``,
        ``tox21``, ``clintox``, ``toxcast``, ``biogen_adme``; or a CSV file (``.csv``, ``.tsv``,
        also ``.gz``).
    smiles_col : str, optional
        Column of the SMILES in a CSV; found by name when omitted.
    target_cols : sequence of str, optional
        Targets; all numeric columns of a CSV when omitted.
    task : {"multilabel", "regression"}, optional
        Told by the values of a CSV when omitted.
    n_molecules : int, optional
        Draw that many molecules at random.
    seed : int
        Seed of that draw.

    Raises
    ------
    ParameterError
        Unknown name, missing column, a value that is not a number or not a label, no usable row.
    MissingDataError
        The file is not there, or a named set can not be had.
    """
    if task not in (None, *TASKS):
        raise ParameterError(f'task={task!r} is not "multilabel" or "regression".')
    name = str(name_or_csv).removeprefix("oversampling/")
    if name == SIMULATED:
        table = simulated_table(simulate_effects(), task or "multilabel", target_cols)
    elif name in _MEASURED:
        table = _load_measured(name, target_cols, task)
    else:
        table = _load_csv(_csv_path(name_or_csv), smiles_col, target_cols, task)
    return table if n_molecules is None else table.sample(n_molecules, seed)


def simulated_table(
    effects: SimulatedEffects, task: str = "multilabel", target_cols: Sequence[str] | None = None
) -> MoleculeTable:
    """Table of simulated effects: labels, or the continuous effects."""
    multilabel = task == "multilabel"
    values = effects.labels if multilabel else effects.continuous
    frame = pd.DataFrame(values, columns=list(effects.names))
    keep = _positions(list(effects.names), target_cols)
    return MoleculeTable(
        name=SIMULATED,
        smiles=effects.smiles,
        canonical=effects.canonical,
        targets=frame.iloc[:, keep],
        task=task,
        source_rows=effects.source_rows,
        group=pd.factorize(effects.canonical)[0],
        dropped=effects.dropped.assign(
            reason=[reason_unparsable(s) for s in effects.dropped.smiles]
        ),
        sha256=effects.digest,
        simulated=True,
        citation="Molecules: National Cancer Institute, as shipped with RDKit. Effects: simulated.",
        note="Real molecules, simulated effects: no statement about real drugs follows from them.",
        probability=effects.probability[:, keep] if multilabel else None,
        expected=effects.expected[:, keep],
        noise_sd=effects.noise_sd,
    )


def _load_measured(name: str, target_cols: Sequence[str] | None, task: str | None) -> MoleculeTable:
    known = _MEASURED[name]
    if task not in (None, known.task):
        advice = (
            'load it with task="regression" and use threshold() for labels'
            if known.task == "regression"
            else 'leave task out or give task="multilabel"'
        )
        raise ParameterError(f"task={task!r}: {name} is a {known.task} set; {advice}.")
    path = datasets.path(f"oversampling/{name}")
    entry = datasets.get(f"oversampling/{name}")
    table = _load_csv(path, known.smiles_col, target_cols or known.target_cols, known.task)
    return replace(table, name=name, citation=entry.citation, note=f"{entry.summary}.")


def _csv_path(name_or_csv: str | Path) -> Path:
    path = Path(name_or_csv).expanduser()
    if path.is_file():
        return path
    if path.suffix or path.is_dir() or len(path.parts) > 1:
        raise MissingDataError(f"{path} is not a file; give the path of a CSV file.")
    near = difflib.get_close_matches(str(name_or_csv), NAMES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(
        f"dataset={str(name_or_csv)!r} is not known. Use one of {', '.join(NAMES)}, or the path "
        f"of a CSV file.{hint}"
    )


def _load_csv(
    path: Path, smiles_col: str | None, target_cols: Sequence[str] | None, task: str | None
) -> MoleculeTable:
    frame, sha256 = _read(path)
    smiles_col = _smiles_column(frame, smiles_col, path)
    targets, note = _targets(frame, smiles_col, target_cols, path)
    task, how = (task, "") if task else _infer_task(targets)
    if task == "multilabel":
        _require_labels(targets)
    smiles = frame[smiles_col].astype(object).to_numpy()
    mols = [parse(text) for text in smiles]
    known = targets.notna().any(axis=1).to_numpy()
    keep = np.flatnonzero([mol is not None for mol in mols] & known)
    dropped = [
        (i, smiles[i], reason_unparsable(smiles[i]) if mols[i] is None else "no known target")
        for i in sorted(set(range(len(frame))) - set(keep.tolist()))
    ]
    if not len(keep):
        first = f" (row {dropped[0][0]}: {dropped[0][2]})" if dropped else ""
        raise ParameterError(f"{path.name} has no usable row among {len(frame)}{first}.")
    canonical = np.array([Chem.MolToSmiles(mols[i]) for i in keep], dtype=object)
    return MoleculeTable(
        name=path.name.split(".")[0],
        smiles=smiles[keep],
        canonical=canonical,
        targets=targets.iloc[keep].reset_index(drop=True),
        task=task,
        source_rows=keep,
        group=pd.factorize(canonical)[0],
        dropped=pd.DataFrame(dropped, columns=["row", "smiles", "reason"]),
        sha256=sha256,
        note=" ".join(part for part in (note, how) if part),
    )


def _read(path: Path) -> tuple[pd.DataFrame, str]:
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        separator = "\t" if ".tsv" in path.suffixes else ","
        frame = pd.read_csv(io.BytesIO(content), sep=separator)
    except (ValueError, OSError, EOFError) as error:
        raise ParameterError(f"{path} can not be read as CSV: {error}") from error
    if frame.empty:
        raise ParameterError(f"{path} has no rows.")
    if not isinstance(frame.index, pd.RangeIndex):
        raise ParameterError(f"{path}: rows have more cells than the header has names.")
    return frame, hashlib.sha256(content).hexdigest()


def _smiles_column(frame: pd.DataFrame, smiles_col: str | None, path: Path) -> str:
    columns = [str(column) for column in frame.columns]
    if smiles_col is not None:
        if smiles_col not in columns:
            raise ParameterError(
                f"smiles_col={smiles_col!r}: {_no_column(smiles_col, columns, path)}"
            )
        return smiles_col
    found = [column for column in columns if column.strip().lower() in _SMILES_COLUMNS]
    if len(found) != 1:
        which = f"several columns look like SMILES ({', '.join(found)})" if found else "none found"
        raise ParameterError(
            f"smiles_col is not given and {which}; {path.name} has the columns {_listed(columns)}."
        )
    return found[0]


def _targets(
    frame: pd.DataFrame, smiles_col: str, target_cols: Sequence[str] | None, path: Path
) -> tuple[pd.DataFrame, str]:
    """Targets as floats, and a note on the columns that were left out."""
    others = [str(column) for column in frame.columns if column != smiles_col]
    if target_cols is None:
        chosen = [c for c in others if pd.api.types.is_numeric_dtype(frame[c])]
        left_out = [c for c in others if c not in chosen]
        note = f"Columns without numbers are left out: {_listed(left_out)}." if left_out else ""
        if not chosen:
            raise ParameterError(f"{path.name} has no numeric column; it has {_listed(others)}.")
    else:
        chosen, note = [others[i] for i in _positions(others, target_cols, path)], ""
    return pd.DataFrame({column: _numbers(frame[column]) for column in chosen}), note


def _positions(
    columns: list[str], wanted: Sequence[str] | None, path: Path | None = None
) -> list[int]:
    if wanted is None:
        return list(range(len(columns)))
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if not names or len(set(names)) < len(names):
        raise ParameterError(f"target_cols={names!r} is empty or names a column twice.")
    for name in names:
        if name not in columns:
            raise ParameterError(f"target_cols: {_no_column(name, columns, path)}")
    return [columns.index(name) for name in names]


def _no_column(name: str, columns: list[str], path: Path | None) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    where = path.name if path else "the data set"
    return f"{where} has no column {name!r}; it has {_listed(columns)}.{hint}"


def _listed(names: Sequence[str], limit: int = 8) -> str:
    text = ", ".join(repr(name) for name in names[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _numbers(column: pd.Series) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero((np.isnan(values) & column.notna().to_numpy()) | np.isinf(values))
    if len(bad):
        raise ParameterError(
            f"column {column.name!r} has {len(bad)} values that are not finite numbers, the first "
            f"{column.iloc[bad[0]]!r} in row {bad[0]}; leave a cell empty where nothing is known."
        )
    return values


def _not_labels(targets: pd.DataFrame) -> list[str]:
    return [c for c in targets if not targets[c].dropna().isin((0.0, 1.0)).all()]


def _infer_task(targets: pd.DataFrame) -> tuple[str, str]:
    continuous = _not_labels(targets)
    if 0 < len(continuous) < targets.shape[1]:
        labels = [c for c in targets if c not in continuous]
        raise ParameterError(
            f"some columns are labels ({_listed(labels)}), some not ({_listed(continuous)}); "
            "name those of one kind in target_cols."
        )
    if continuous:
        return "regression", "Taken as regression: the values are not all 0 or 1."
    return "multilabel", "Taken as multilabel: all values are 0 or 1."


def _require_labels(targets: pd.DataFrame) -> None:
    bad = _not_labels(targets)
    if bad:
        value = next(v for v in targets[bad[0]].dropna() if v not in (0.0, 1.0))
        raise ParameterError(
            f"column {bad[0]!r} has the value {value:g}, but labels are 0, 1 or empty"
            + (f" (also in {_listed(bad[1:])})" if bad[1:] else "")
            + '; for continuous effects give task="regression" and use threshold() for labels.'
        )
