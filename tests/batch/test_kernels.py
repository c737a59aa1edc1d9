"""A warm kernel is a cold one that starts faster: nothing in a notebook can tell them apart."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from labkit.batch import pool as pools
from labkit.batch.engine import quick_imports
from labkit.batch.imports import imports_of
from labkit.batch.kernels import WarmPool, start_warm_pool
from labkit.batch.pool import kernel_environment, private_folder
from labkit.batch.runner import execute
from labkit.batch.runs import Run

IMPORTS = "import numpy, torch, matplotlib.pyplot as plt\nfrom tqdm.auto import tqdm"

# Each cell prints something that a forked process could get wrong.
LOOKS = {
    "program": "import sys\nprint(sys.argv[0], sys.argv[1], sys.argv[3:], len(sys.argv))\n"
    "print(sys.orig_argv[:3], sys.path, sys.executable, sys.flags)",
    "main module": "import sys\nprint(sys.modules['__main__'].__dict__ is globals(), __name__)\n"
    "print('__mp_main__' in sys.modules, [m for m in sys.modules if m.startswith('test')])",
    "environment": "import os\nskip = {'JPY_SESSION_NAME'}\n"
    "print({k: v for k, v in sorted(os.environ.items()) if k not in skip})",
    "session": "import os\nprint(os.getpid() == os.getpgid(0) == os.getsid(0), os.getcwd())\n"
    "print(os.umask(0o22), os.nice(0), os.sched_getaffinity(0))",
    "limits": "import resource as r\n"
    "print({n: r.getrlimit(getattr(r, n)) for n in dir(r) if n.startswith('RLIMIT_')})",
    "signals": "import signal\nprint({s.name: str(signal.getsignal(s)) for s in signal.Signals\n"
    "       if s not in (signal.SIGKILL, signal.SIGSTOP)})",
    "streams": "import sys\nprint(repr(sys.stdin.read()), sys.stdin)\n"
    "print(sys.__stdout__, sys.__stderr__)\n"
    "print(sys.__stderr__.errors, sys.__stderr__.line_buffering, sys.__stdout__.line_buffering)",
    "logging": "import logging\nprint(logging.root.handlers, logging.root.level)\n"
    "print(sorted(n for n, l in logging.root.manager.loggerDict.items()\n"
    "             if getattr(l, 'handlers', None)))",
    "multiprocessing": "import multiprocessing as mp\n"
    "print(mp.current_process(), mp.parent_process(), mp.get_start_method(), mp.active_children())",
    "pools": "from multiprocessing import get_context\nimport math\n"
    "for method in ('fork', 'spawn', 'forkserver'):\n"
    "    with get_context(method).Pool(1) as pool:\n        print(pool.map(math.sqrt, [4]))",
    "interpreter": "import gc, locale, sys, time\nprint(gc.isenabled(), gc.get_threshold())\n"
    "print(sys.getrecursionlimit(), sys.getswitchinterval(), time.tzname, locale.getlocale())",
    "backend": "import matplotlib\nprint(plt.get_backend(), plt.isinteractive())",
    "figure": "plt.plot([1, 2]);",
    "progress": "import asyncio\nprint(tqdm, type(asyncio.get_event_loop()))",
    "threads": "print(torch.get_num_threads(), torch.get_num_interop_threads())",
    "subprocess": "import subprocess\n"
    "print(subprocess.run('ulimit -a; umask; cat', shell=True, capture_output=True).stdout)",
    "loader": "from torch.utils.data import DataLoader\n"
    "print(sum(b.sum().item() for b in DataLoader(torch.arange(10.), num_workers=2)))",
    "seeded": "import random\ntorch.manual_seed(3); numpy.random.seed(4); random.seed(5)\n"
    "print(torch.rand(3).tolist(), numpy.random.rand(3), random.random())\n"
    "print(torch.nn.Linear(3, 2).weight.tolist(), numpy.random.default_rng(6).normal(size=3))",
}


@pytest.fixture(scope="module")
def looks(
    tmp_path_factory: pytest.TempPathFactory, warm_pool: WarmPool
) -> dict[str, tuple[str, str]]:
    """Return, by name, what each look printed in a cold kernel and in a warm one."""
    folder = tmp_path_factory.mktemp("looks")
    outputs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_TEST_LATE", "set after the forkserver started")
        patch.setenv("TZ", "Asia/Tokyo")
        patch.delenv("MPLBACKEND")
        patch.setattr(pools, "_current", None)
        for warm in (False, True):
            notebook = folder / "looks.ipynb"
            cells = [nbformat.v4.new_code_cell(cell) for cell in (IMPORTS, *LOOKS.values())]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
            run = Run(0, notebook, {}, "0" * 64, folder / str(warm), "python3")
            status = execute(run, warm=warm)
            assert (status["status"], status["warm"]) == ("completed", warm)
            nb = nbformat.read(run.output, as_version=4)
            outputs.append([_text(cell.outputs) for cell in nb.cells[1:]])
        start_warm_pool([]).stop()
    return {name: (cold, warm) for name, cold, warm in zip(LOOKS, *outputs, strict=True)}


def _text(outputs: list[Any]) -> str:
    """Return what a cell showed; a stream arrives in any number of pieces."""
    return "".join(
        out.text if out.output_type == "stream" else json.dumps(out.get("data", out))
        for out in outputs
    )


@pytest.mark.parametrize("name", LOOKS)
def test_a_notebook_sees_the_same_in_a_warm_kernel(
    name: str, looks: dict[str, tuple[str, str]]
) -> None:
    cold, warm = (_without_addresses(text) for text in looks[name])
    assert cold == warm
    assert cold


def _without_addresses(text: str) -> str:
    return " ".join(word for word in text.split() if "0x7" not in word)


def test_the_looks_show_something(looks: dict[str, tuple[str, str]]) -> None:
    assert "image/png" in looks["figure"][1]
    assert "LABKIT_TEST_LATE" in looks["environment"][1]
    assert "JST" in looks["interpreter"][1]
    assert "45.0" in looks["loader"][1]


def test_unseeded_draws_differ_between_warm_kernels(
    run_cells: Callable[..., Any], warm_pool: WarmPool
) -> None:
    draw = "import numpy, torch, random\nprint(numpy.random.rand(), torch.rand(1).item())\n"
    draw += "print(random.random(), numpy.random.default_rng().random(), torch.initial_seed())"
    texts = []
    for _ in range(2):
        status, nb = run_cells(draw)
        assert status["warm"]
        texts.append(nb.cells[-1].outputs[0].text.split())
    assert len(set(texts[0]) | set(texts[1])) == 10


def test_a_warm_kernel_costs_a_fraction_of_a_cold_one(
    run_cells: Callable[..., Any], warm_pool: WarmPool
) -> None:
    cold, warm = (run_cells(IMPORTS, warm=warm)[0]["cpu_s"] for warm in (False, True))
    assert warm < cold / 4


def test_several_threads_share_one_pool(
    make_run: Callable[..., Run], warm_pool: WarmPool, no_process_left: None
) -> None:
    runs = [make_run(f"import numpy\nprint({n} * numpy.ones(2).sum())") for n in range(6)]
    with ThreadPoolExecutor(3) as threads:
        statuses = list(threads.map(execute, runs))
    assert [(status["status"], status["warm"]) for status in statuses] == [("completed", True)] * 6
    for number, run in enumerate(runs):
        nb = nbformat.read(run.output, as_version=4)
        assert nb.cells[-1].outputs[0].text == f"{number * 2.0}\n"
    assert threading.active_count() < 10


def test_a_pool_with_these_modules_is_not_started_again(warm_pool: WarmPool) -> None:
    assert start_warm_pool(["numpy"]) is start_warm_pool([]) is start_warm_pool(["torch"])


def test_sockets_are_private_and_go_with_the_kernel(
    run_cells: Callable[..., Any], warm_pool: WarmPool
) -> None:
    before = set(private_folder().iterdir())
    look = "import os, sys, json\nfile = sys.argv[2]\ninfo = json.load(open(file))\n"
    look += (
        "print(file, info['transport'], info['ip'], oct(os.stat(os.path.dirname(file)).st_mode))"
    )
    for warm in (False, True):
        _, nb = run_cells(look, warm=warm)
        file, transport, ip, mode = nb.cells[-1].outputs[0].text.split()
        assert transport == "ipc"
        assert Path(ip).parent == Path(file).parent
        assert int(mode, 8) & 0o777 == 0o700
        assert not Path(file).parent.exists()
    assert stat.S_IMODE(private_folder().stat().st_mode) == 0o700
    assert set(private_folder().iterdir()) == before


def test_a_kernel_dies_with_its_forkserver(
    make_run: Callable[..., Run], warm_pool: WarmPool
) -> None:
    pool = pools.WarmPool(["numpy"], kernel_environment())
    pool.start()
    script = "import time; time.sleep(600)"
    kernel = pool.launch(["-c", script], cwd="/", env=dict(os.environ), stdout=None, stderr=None)
    process = psutil.Process(kernel.pid)
    assert kernel.poll() is None
    os.kill(process.ppid(), signal.SIGKILL)
    process.wait(10)
    assert kernel.wait(5) == -signal.SIGKILL
    assert not pool.serves(["numpy"], kernel_environment())
    pool.stop()


def _pool_of(folder: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> WarmPool:
    (folder / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    pool = pools.WarmPool([name], kernel_environment())
    pool.start()
    return pool


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()",
            "thread",
        ),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import no_such_module", "ModuleNotFoundError"),
    ],
)
def test_a_module_that_cannot_be_shared_is_left_to_the_kernels(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool_of(tmp_path, "unshareable", source, monkeypatch)
    try:
        assert pool.usable
        assert reason in pool.refused["unshareable"]
    finally:
        pool.stop()


def test_variables_that_a_module_sets_when_imported_reach_the_kernel(
    tmp_path: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\nos.environ['LABKIT_TEST_SET'] = 'yes'"
    pool = _pool_of(tmp_path, "sets_variables", source, monkeypatch)
    monkeypatch.setattr(pools, "_current", pool)
    run = make_run("import os\nprint(os.environ['LABKIT_TEST_SET'])")
    status = execute(run)
    pool.stop()
    assert (status["status"], status["warm"]) == ("completed", True)


def test_a_local_module_by_the_name_of_a_loaded_one_makes_the_kernel_cold(
    tmp_path: Path, run_cells: Callable[..., Any], warm_pool: WarmPool
) -> None:
    (tmp_path / "torch.py").write_text("mine = True")
    status, _ = run_cells("import torch\nassert torch.mine", cwd=tmp_path)
    assert (status["status"], status["warm"]) == ("completed", False)


def _add_kernel(folder: Path, name: str, executable: str, metadata: dict[str, Any]) -> None:
    spec = folder / "kernels" / name
    spec.mkdir(parents=True)
    argv = [executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": argv, "display_name": name, "language": "python", "metadata": metadata}
    (spec / "kernel.json").write_text(json.dumps(content))


def test_papermills_own_engine_starts_a_warm_kernel_by_its_kernelspec(
    tmp_path: Path,
    make_notebook: Callable[..., Path],
    warm_pool: WarmPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with quick_imports():
        import papermill
    metadata = {"kernel_provisioner": {"provisioner_name": "labkit-warm"}}
    _add_kernel(tmp_path, "warm-python", sys.executable, metadata)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    look = "import psutil\nprint(psutil.Process().parent().cmdline()[-1])"
    nb = papermill.execute_notebook(
        str(make_notebook(look)), None, kernel_name="warm-python", progress_bar=False
    )
    assert "labkit.batch.preloaded" in nb.cells[-1].outputs[0].text


def test_another_interpreter_is_started_cold(
    tmp_path: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "elsewhere" / "python"
    link.parent.mkdir()
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    _add_kernel(tmp_path, "foreign", str(link), {})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    run = make_run("b = 2")
    status = execute(Run(0, run.notebook, {}, run.key, run.directory, "foreign"))
    assert (status["status"], status["warm"]) == ("completed", False)


def test_import_time_settings_get_a_pool_of_their_own(
    run_cells: Callable[..., Any], warm_pool: WarmPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_current", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    look = "import numpy, threadpoolctl\n"
    look += "print({i['num_threads'] for i in threadpoolctl.threadpool_info()})\n"
    look += "a = numpy.random.rand(600, 600)\nprint(numpy.isfinite(a @ a).all())"
    try:
        status, nb = run_cells(look)
        assert status["warm"]
        assert nb.cells[-1].outputs[0].text.split() == ["{2}", "True"]
    finally:
        own = pools._current
        assert own is not None
        own.stop()


def test_the_thread_count_is_shared_out_unless_the_user_set_it(
    monkeypatch: pytest.MonkeyPatch, warm_pool: WarmPool
) -> None:
    assert kernel_environment()["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"]
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(pools, "_workers", 2)
    assert kernel_environment({})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert kernel_environment({"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"
    assert kernel_environment({})["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert kernel_environment({})["OMP_NUM_THREADS"] == "1"


def test_a_replaced_pool_serves_its_kernels_to_the_end(
    tmp_path: Path,
    make_run: Callable[..., Run],
    warm_pool: WarmPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, go = tmp_path / "ready", tmp_path / "go"
    wait = f"import os, time\nopen({str(ready)!r}, 'w').close()\n"
    wait += f"while not os.path.exists({str(go)!r}): time.sleep(0.05)"
    first = pools.WarmPool([], kernel_environment())
    first.start()
    monkeypatch.setattr(pools, "_current", first)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(execute, make_run(wait))
        end = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        second = start_warm_pool(["numpy"])
        assert second is not first
        assert execute(make_run("import numpy"))["warm"]
        go.touch()
        assert slow.result()["status"] == "completed"
    start_warm_pool(["numpy"])
    assert not first.usable
    second.stop()


def test_waiting_for_a_pool_can_be_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_pool: WarmPool
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(pools, "_current", None)
    cancel = threading.Event()
    timer = threading.Timer(1, cancel.set)
    timer.start()
    pool = start_warm_pool(["slow"], cancel=cancel)
    timer.join()
    assert not pool.usable
    assert pools._current is None


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            ["import numpy as np, json\nfrom sklearn.ensemble import x"],
            ["numpy", "sklearn.ensemble"],
        ),
        (["def f():\n    import torch"], []),
        (["%matplotlib inline\n!pip list\nimport torch"], ["torch"]),
        (["%%bash\nimport torch"], []),
        (["import torch\nthis is no python"], []),
        (["from . import x\nfrom .a import b\nimport no_such_module"], []),
        (["import torch", "import torch\nimport numpy"], ["torch", "numpy"]),
        (["from rdkit import Chem"], ["rdkit"]),
        (["import torch.no_such_part"], []),
        (["from labkit.batch import runs, claim"], ["labkit.batch", "labkit.batch.runs"]),
        ([""], []),
    ],
)
def test_imports_are_read_from_the_top_level_of_code_cells(
    cells: list[str], expected: list[str], tmp_path: Path
) -> None:
    nb = {"cells": [{"cell_type": "code", "source": cell} for cell in cells]}
    assert imports_of(nb) == expected
    (tmp_path / "a.ipynb").write_text(json.dumps(nb))
    assert imports_of(tmp_path / "a.ipynb") == expected


def test_modules_beside_the_notebook_are_not_installed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_notebook.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import beside_the_notebook"
    assert imports_of({"cells": [{"cell_type": "code", "source": source}]}) == []


def test_warm_kernels_end_by_themselves_and_need_no_signal(
    tmp_path: Path, warm_pool: WarmPool
) -> None:
    # Without the wait for the control thread, one in ten to twenty kernels hangs in its last flush.
    notebook = tmp_path / "short.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), notebook)
    for index in range(16):
        run = Run(index, notebook, {}, "0" * 64, tmp_path / str(index), "python3")
        assert execute(run)["warm"]
        pool = pools._current
        assert pool is not None
        assert pool._kernels[-1].wait(1) == 0  # -15 after Jupyter's SIGTERM
