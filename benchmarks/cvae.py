"""The autoencoder of the hotspots study on ergotamine, alone and side by side with mdlearn.

2,279 images (43 ligand atoms x 53 windows) of 16 frames x 41 residues. The claims: ten seeds, none
collapsed (KL above 1 nat and at least 4 of 8 units active, a unit being active if its mean varies
over images with a variance above 0.01); at least ten times the training samples per CPU second of
mdlearn 1.0.5's `SymmetricConv2dVAE` with its defaults (64, 64, 64 filters, dense 128, latent 3) on
the same images; and, on blocks of time that neither saw, a negative ELBO no worse than mdlearn's
trained for the same CPU time. Both take the Bernoulli likelihood summed over pixels and the
analytic KL; one thread each, turn by turn. mdlearn trains on the same objective: its own mean over
pixels, unweighted, lets the latent space collapse. With --longer it also gets that many times the
CPU time of labkit, without a claim.

    OMP_NUM_THREADS=1 python benchmarks/cvae.py --mdlearn-python /path/to/venv/bin/python

mdlearn needs an environment of its own (pip install mdlearn==1.0.5). About 3 CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.temporal import AtomWindows, atom_windows, time_blocks
from labkit.hotspots.training import FAST, FittedCVAE, fit_cvae

SPEED_BAR, KL_BAR, ACTIVE_BAR = 10, 1.0, 4
DRAWS = 4


def ergotamine() -> AtomWindows:
    """Windows of the packaged trajectory, with the study's defaults."""
    return atom_windows(compute_contacts(example("ergotamine")).pocket())


def timed_fit(windows: AtomWindows, seed: int) -> tuple[FittedCVAE, float]:
    """A fit and its CPU seconds, validation after each epoch included."""
    start = time.process_time()
    fit = fit_cvae(windows, FAST, seed=seed, device="cpu")
    return fit, time.process_time() - start


def report_collapse(windows: AtomWindows, seeds: int) -> None:
    """Print the latent spaces of many seeds."""
    fits = [timed_fit(windows, seed)[0] for seed in range(seeds)]
    kl, active = [fit.kl.sum() for fit in fits], [fit.active_units for fit in fits]
    met = not any(f.collapsed for f in fits) and min(kl) > KL_BAR and min(active) >= ACTIVE_BAR
    print(
        f"{seeds} seeds: KL {min(kl):.2f} to {max(kl):.2f} nats, {min(active)} to {max(active)} "
        f"of {FAST.latent_dim} units active, {sum(f.collapsed for f in fits)} collapsed "
        f"(bar none, KL > {KL_BAR:g}, {ACTIVE_BAR} units: {'met' if met else 'MISSED'})"
    )


def run_mdlearn(python: Path, images: Path, seconds: float, seed: int, latent_dim: int) -> dict:
    """Train and score mdlearn's network in its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        arm = Path(__file__).with_name("mdlearn_arm.py")
        options = {"seconds": seconds, "seed": seed, "latent-dim": latent_dim, "draws": DRAWS}
        command = [python, arm, images, output]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return json.loads(output.read_text())


def compare(windows: AtomWindows, python: Path, seeds: int, longer: list[float]) -> None:
    """Print samples per CPU second and negative ELBO of both, turn by turn."""
    train, valid = (mask[windows.time_index] for mask in time_blocks(windows))
    images = windows.flat()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        np.savez(path, train=images[train], valid=images[valid])
        ratios, gains = [], []
        for seed in range(seeds):
            fit, seconds = timed_fit(windows, seed)
            rate = train.sum() * FAST.epochs / seconds
            bound = fit.negative_elbo(images[valid], draws=DRAWS)
            peer = run_mdlearn(python, path, seconds, seed, 3)
            ratios.append(rate * peer["cpu_s"] / peer["samples"])
            gains.append(peer["reconstruction"] + peer["kl"] - bound)
            print(
                f"seed {seed}: labkit {rate:.0f} samples/CPU s, {seconds:.1f} s, {bound:.2f} nats"
            )
            print(f"        mdlearn {describe(peer)}")
        print(
            f"samples per CPU second: ratio median {median(ratios):.0f}, from {min(ratios):.0f} to "
            f"{max(ratios):.0f} (bar {SPEED_BAR}: {verdict(min(ratios) >= SPEED_BAR)})"
        )
        print(
            f"negative ELBO of held-out time, same CPU time: labkit lower by {min(gains):.1f} to "
            f"{max(gains):.1f} nats (bar 0: {verdict(min(gains) >= 0)})"
        )
        for factor in longer:
            for latent_dim in (3, FAST.latent_dim):
                peer = run_mdlearn(python, path, seconds * factor, 0, latent_dim)
                print(f"mdlearn, {factor:g}x the CPU time, latent {latent_dim}: {describe(peer)}")


def describe(peer: dict) -> str:
    """Speed and score of one run of mdlearn."""
    return (
        f"{peer['samples'] / peer['cpu_s']:.0f} samples/CPU s, {peer['cpu_s']:.1f} s, "
        f"{peer['epochs']:.1f} epochs, {peer['reconstruction'] + peer['kl']:.2f} nats "
        f"(KL {peer['kl']:.2f})"
    )


def verdict(met: bool) -> str:
    """Whether a bar was met."""
    return "met" if met else "MISSED"


def main() -> None:
    """Measure labkit, then compare with mdlearn where its interpreter is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mdlearn-python", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=10, help="for the collapse check")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of the comparison")
    parser.add_argument("--longer", type=float, nargs="*", default=[], help="CPU time factors")
    arguments = parser.parse_args()
    windows = ergotamine()
    timed_fit(windows, 0)
    print(f"{windows.n_images} images of {windows.window} frames x {windows.images.shape[3]}")
    if arguments.seeds:
        report_collapse(windows, arguments.seeds)
    if arguments.mdlearn_python:
        compare(windows, arguments.mdlearn_python, arguments.repeats, arguments.longer)


if __name__ == "__main__":
    main()
