"""The extra ``md``: nothing needs it until it is used, and then its absence is one clear line."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = "import sys; sys.modules.update({name: None for name in ('openmm', 'parmed')}); "


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_importing_the_package_loads_no_engine():
    done = python(
        "import sys, labkit.hotspots, labkit.hotspots.simulate; dir(labkit.hotspots.simulate); "
        "print([m for m in ('openmm', 'parmed', 'rdkit', 'torch') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", ["pocket_system", "run_md", "parametrize_ligand"])
def test_without_openmm_the_extra_is_named(name):
    done = python(
        f"{BLOCK}from labkit.errors import LabkitError\n"
        "import labkit.hotspots.simulate as simulate\n"
        f"try:\n    simulate.{name}\nexcept LabkitError as exc:\n    print(exc)"
    )
    assert done.stdout.strip() == (
        "Molecular dynamics needs openmm, which is not installed; run: pip install 'labkit[md]'"
    ), done.stderr


def test_every_public_name_is_there():
    from labkit.hotspots import simulate

    for name in (*simulate.__all__, *simulate._MODULES):
        assert getattr(simulate, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simulate.nothing  # noqa: B018
