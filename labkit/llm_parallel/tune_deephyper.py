"""The search of the Frontier study: DeepHyper's Bayesian optimization with failures as "F".

Dash et al. [1]_ gave a centralized Bayesian optimization the places of the values in their lists as
whole numbers, an upper confidence bound as acquisition (``acq_func="UCB"``), the constant liar
``"cl_min"``, ``random_state=42``, the throughput as objective, and the string "F" for whatever
failed. The same is done here, with the reason after the "F": ``"F_out_of_memory"``.

DeepHyper writes every trial to ``results.csv`` in its folder, and what this module needs to go on
or to tell a reader beside it, as metadata columns ``m:...``. It is an optional dependency.

References
----------
.. [1] Dash et al., arXiv:2312.12705, and the launch scripts of its authors.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.atomic import replace_text
from labkit.choices import require_folder
from labkit.errors import ParameterError
from labkit.llm_parallel.space import Domain, Space
from labkit.llm_parallel.trials import Measured

if TYPE_CHECKING:
    from deephyper.hpo import HpProblem

RESULTS = "results.csv"
ABOUT = "about.json"
SETTINGS = {"acq_func": "UCB", "multi_point_strategy": "cl_min", "acq_optimizer": "sampling"}
"""The first two as in the launch scripts, whose seed 42 is the default of `tune`.

The acquisition is maximized over random points. The genetic algorithm that DeepHyper 0.13 would use
compares its whole population for duplicates, which takes seconds a trial in small discrete spaces.
"""


def search_with_deephyper(
    space: Space,
    measure: Callable[[int], Measured],
    *,
    n_trials: int,
    seed: int,
    storage: str | os.PathLike[str] | None,
    about: Mapping[str, str],
    first: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Measured], int]:
    """Let DeepHyper choose what is measured, one strategy after the other.

    Parameters
    ----------
    space : Space
    measure : callable
        Point of the space to what became of it.
    n_trials : int
        In all, those in the folder included.
    seed : int
    storage : path, optional
        Folder of the trials.
    about : mapping of str to str
        What the search is about; a folder with trials of another one is refused.
    first : int, optional
        Point to measure first.
    progress : callable, optional

    Returns
    -------
    list of Measured
    int
        How many of them were in the folder already.

    Raises
    ------
    ParameterError
        DeepHyper is not installed, or the folder is of another search.
    """
    _require_deephyper()
    if storage is None:
        with tempfile.TemporaryDirectory(prefix="labkit-deephyper-") as scratch:
            return _search(space, measure, n_trials, seed, Path(scratch), first, progress)
    require_folder("storage", storage)
    folder = Path(storage).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _check_about(folder, about)
    _cut_half_line(folder / RESULTS)
    return _search(space, measure, n_trials, seed, folder, first, progress)


def hyperparameters(space: Space) -> HpProblem:
    """Return the free choices of a space as DeepHyper's problem.

    Parameters
    ----------
    space : Space

    Returns
    -------
    deephyper.hpo.HpProblem
        Ordered choices as whole numbers, the place in their domain; the others as categories.
    """
    from deephyper.hpo import HpProblem

    problem = HpProblem()
    for domain in space.free:
        last = len(domain) - 1
        places = (0, last) if domain.is_ordered else _categories(domain)
        problem.add_hyperparameter(places, domain.name)
    return problem


def _categories(domain: Domain) -> list[str]:
    """Texts that a table read back from a file does not take for numbers or booleans."""
    return [f"{domain.name}={value}" for value in domain.values]


def _point(space: Space, parameters: Mapping[str, Any]) -> int:
    point = 0
    for domain in space.domains:
        if len(domain) == 1:
            digit = 0
        elif domain.is_ordered:
            digit = int(parameters[domain.name])
        else:
            digit = _categories(domain).index(parameters[domain.name])
        point = point * len(domain) + digit
    return point


def _parameters(space: Space, point: int) -> dict[str, Any]:
    index = np.array([point])
    digits = {domain: int(space.digits(index, domain.name)[0]) for domain in space.free}
    return {d.name: i if d.is_ordered else _categories(d)[i] for d, i in digits.items()}


def _search(
    space: Space,
    measure: Callable[[int], Measured],
    n_trials: int,
    seed: int,
    folder: Path,
    first: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Measured], int]:
    from deephyper.evaluator import Evaluator
    from deephyper.hpo import CBO

    before = _read(folder / RESULTS)
    missing = n_trials - len(before)
    if missing <= 0 or not space.free:
        return before, len(before)
    n_ended = len(before)
    given_up = threading.Event()

    async def run(job: Any) -> dict[str, Any]:
        nonlocal n_ended
        if given_up.is_set():
            raise KeyboardInterrupt
        found = measure(_point(space, job.parameters))
        n_ended += 1
        if progress is not None:
            progress(n_ended, n_trials)
        failed = f"F_{found.reason.replace(' ', '_')}" if found.reason else None
        return {"objective": failed or found.throughput, "metadata": asdict(found)}

    search = CBO(
        hyperparameters(space),
        random_state=_seed_after(len(before), seed),
        log_dir=str(folder),
        checkpoint_restart=True,
        initial_points=None if first is None or before else [_parameters(space, first)],
        **SETTINGS,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The objective has been evaluated at this point")
        evaluator = Evaluator.create(run, method="serial", method_kwargs={"num_workers": 1})

        def work() -> None:
            try:
                search.search(evaluator, max_evals=missing)
            finally:
                _close(evaluator.loop)

        _beside_a_loop(work, given_up)
    return _read(folder / RESULTS), len(before)


def _beside_a_loop(work: Callable[[], object], given_up: threading.Event) -> None:
    """Work in another thread where an event loop runs in this one (Jupyter).

    DeepHyper waits for its trials in a loop, which cannot be the one that is running already. An
    interrupt of this thread sets ``given_up`` and is raised when the current trial has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1, thread_name_prefix="labkit-deephyper") as pool:
        try:
            pool.submit(work).result()
        except KeyboardInterrupt:
            given_up.set()
            raise


def _close(loop: asyncio.AbstractEventLoop | None) -> None:
    """End what an interrupt left in DeepHyper's loop."""
    if loop is None or loop.is_closed():
        return
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def _seed_after(n_trials: int, seed: int) -> int:
    """Seed of a search that goes on: with the same one it would begin with the same points."""
    state = np.random.SeedSequence((seed, n_trials)).generate_state(1)
    return int(state[0]) if n_trials else seed


def _read(file: Path) -> list[Measured]:
    """Trials of a table that DeepHyper wrote, none where there is no file."""
    if not file.exists() or not file.stat().st_size:
        return []
    table = pd.read_csv(file, keep_default_na=False)
    wanted = [f"m:{item.name}" for item in fields(Measured)]
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ParameterError(
            f"storage={str(file.parent)!r}: {RESULTS} has no column {missing[0]!r}, so it is of "
            "another program; name another folder."
        )
    ordered = table.sort_values("job_id", kind="stable")[wanted]
    return [_measured(row) for row in ordered.to_dict("records")]


def _measured(row: Mapping[str, Any]) -> Measured:
    seconds, memory = (row[f"m:{name}"] for name in ("seconds", "memory_bytes"))
    return Measured(
        point=int(row["m:point"]),
        throughput=float(row["m:throughput"]),
        seconds=None if seconds == "" else float(seconds),
        memory_bytes=None if memory == "" else float(memory),
        reason=str(row["m:reason"]),
        message=str(row["m:message"]),
        wall_s=float(row["m:wall_s"]),
    )


def _require_deephyper() -> None:
    if importlib.util.find_spec("deephyper") is None:
        raise ParameterError(
            "engine='deephyper' needs DeepHyper; install it with pip install 'labkit[deephyper]', "
            "or use engine='optuna'."
        )


def _check_about(folder: Path, about: Mapping[str, str]) -> None:
    """Sign a new folder with what the search is about, and refuse one of another search."""
    file = folder / ABOUT
    if not file.exists():
        if (folder / RESULTS).exists():
            raise ParameterError(
                f"storage={str(folder)!r} holds {RESULTS} of another program; name another folder."
            )
        replace_text(file, json.dumps(dict(about), indent=1))
        return
    try:
        known = json.loads(file.read_text())
    except ValueError:
        known = {}
    differing = [name for name in about if known.get(name) != about[name]]
    if differing:
        raise ParameterError(
            f"storage={str(folder)!r} holds a search that differs in {', '.join(differing)}; "
            "name another folder."
        )


def _cut_half_line(file: Path) -> None:
    """Cut off what a killed process wrote of a line."""
    if file.exists():
        content = file.read_bytes()
        os.truncate(file, content.rfind(b"\n") + 1)
