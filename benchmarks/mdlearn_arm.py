"""The mdlearn side of cvae.py; runs in an environment of its own that has mdlearn.

Reads images (npz), trains `SymmetricConv2dVAE` with its defaults for a given CPU time as its own
trainer does (RMSprop 1e-3, weight decay 1e-5, batches of 128, gradients clipped at 10), and writes
samples, CPU seconds and the negative ELBO of the validation images as JSON. The trainer's own
`ContactMapDataset` holds binary maps only, so its loop is repeated here on real-valued images. Its
loss takes the mean of the cross-entropy over pixels; times their number (`lambda_rec`) this is the
negative ELBO, the same objective that labkit minimizes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mdlearn.nn.models.vae.symmetric_conv2d_vae import SymmetricConv2dVAE

BATCH, CLIP = 128, 10.0


def train(images: torch.Tensor, seconds: float, latent_dim: int) -> tuple[torch.nn.Module, dict]:
    """Train for so many CPU seconds; at least one step."""
    model = SymmetricConv2dVAE(tuple(images.shape[1:]), latent_dim=latent_dim)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-5)
    lambda_rec = images[0].numel()
    model.train()
    step(model, optimizer, images[:2], 0.0)
    start, samples, epochs = time.process_time(), 0, 0
    while time.process_time() - start < seconds:
        epochs += 1
        for chosen in torch.randperm(len(images)).split(BATCH):
            step(model, optimizer, images[chosen], lambda_rec)
            samples += len(chosen)
            if time.process_time() - start >= seconds:
                break
    taken = time.process_time() - start
    return model, {"samples": samples, "cpu_s": taken, "epochs": samples / len(images)}


def step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, lambda_rec: float
) -> None:
    """One step of mdlearn's trainer; a weight of 0 leaves out the update and loads the compiler."""
    _, reconstruction = model(x)
    loss = lambda_rec * model.recon_loss(x, reconstruction) + model.kld_loss()
    optimizer.zero_grad()
    if not lambda_rec:
        return
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()


@torch.no_grad()
def negative_elbo(model: torch.nn.Module, images: torch.Tensor, draws: int) -> dict:
    """Bernoulli cross-entropy summed over pixels, and KL, nats per image."""
    model.eval()
    reconstruction = kl = 0.0
    for x in images.split(BATCH):
        mu, log_std = model.encoder(x)
        kl += float(0.5 * (mu**2 + torch.exp(2 * log_std) - 1 - 2 * log_std).sum())
        for _ in range(draws):
            output = model.decode(mu + torch.exp(log_std) * torch.randn_like(mu))
            reconstruction += float(F.binary_cross_entropy(output, x, reduction="sum")) / draws
    return {"reconstruction": reconstruction / len(images), "kl": kl / len(images)}


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="npz with train and valid, (n, 1, H, W)")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent-dim", type=int, default=3)
    parser.add_argument("--draws", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    with np.load(arguments.images) as data:
        images = {name: torch.from_numpy(data[name]) for name in ("train", "valid")}
    model, result = train(images["train"], arguments.seconds, arguments.latent_dim)
    result |= negative_elbo(model, images["valid"], arguments.draws)
    result["parameters"] = sum(p.numel() for p in model.parameters())
    arguments.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
