import subprocess
import sys

import pytest

from labkit.clot import library
from labkit.errors import LabkitError

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == {hidden!r}:
            raise {error}
sys.meta_path.insert(0, Hidden())
"""
TRY = """
from labkit.clot.library import load_lammps
from labkit.errors import LabkitError
try:
    load_lammps()
except LabkitError as error:
    print(error)
"""


def output(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("hidden", "error"),
    [
        ("lammps", "ModuleNotFoundError(\"No module named 'lammps'\")"),
        ("mpi4py", "ModuleNotFoundError(\"No module named 'mpi4py'\")"),
        ("mpi4py.MPI", "RuntimeError('cannot load MPI library')"),
        ("lammps", "OSError('libmpi.so.12: cannot open shared object file')"),
    ],
    ids=["no lammps", "no mpi4py", "no mpich", "no libmpi"],
)
def test_what_is_missing_is_named_with_its_cure_in_one_line(hidden, error):
    said = output(HIDE.format(hidden=hidden, error=error) + TRY)
    assert said.endswith("install them: pip install 'labkit[clot]'")
    assert len(said.splitlines()) == 1


def test_the_engine_is_imported_without_lammps_and_mpi():
    program = (
        "import sys, labkit.clot.engine, labkit.clot.deck, labkit.clot.ranks\n"
        "print([name for name in ('lammps', 'mpi4py', 'torch') if name in sys.modules])"
    )
    assert output(program) == "[]"


def test_threads_wait_passively_while_the_environment_stays_as_it_was():
    program = """
import os
for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
    os.environ.pop(name, None)
os.environ["OMP_DISPLAY_ENV"] = "true"
from labkit.clot.library import new_lammps
new_lammps().close()
print([name for name in os.environ if name.startswith("OMP_") and name != "OMP_DISPLAY_ENV"])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert b"OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert b"OMP_NUM_THREADS = '1'" in done.stderr
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    "arguments", [("-k", "on", "-sf", "kk"), ("-suffix", "kk"), ("-kokkos", "on", "g", "1")]
)
def test_kokkos_is_refused_in_one_sentence(arguments):
    with pytest.raises(LabkitError, match="KOKKOS switched on has no r-RESPA"):
        library.new_lammps(*arguments)


def test_one_program_without_mpirun_is_one_rank():
    assert library.n_ranks() == 1
    assert library.any_rank(True)
    assert not library.any_rank(False)
