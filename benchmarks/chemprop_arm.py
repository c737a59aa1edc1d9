"""The chemprop side of chemprop_sider.py; runs in an environment of its own that has chemprop.

Reads a CSV and a JSON file with index lists, trains chemprop's default message-passing network, and
writes predictions and CPU seconds (parsing to test predictions, without imports) as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from chemprop import data, models, nn
from lightning import pytorch as pl


def train_and_predict(
    smiles: list[str], Y: np.ndarray, train: list[int], test: list[int], epochs: int, seed: int
) -> np.ndarray:
    """Probabilities for the test molecules, as chemprop 2's training example does it."""
    pl.seed_everything(seed, verbose=False)
    points = [data.MoleculeDatapoint.from_smi(s, y) for s, y in zip(smiles, Y, strict=True)]
    sets = [data.MoleculeDataset([points[i] for i in rows]) for rows in (train, test)]
    loaders = [
        data.build_dataloader(d, shuffle=shuffle, seed=seed, num_workers=0)
        for d, shuffle in zip(sets, (True, False), strict=True)
    ]
    network = models.MPNN(
        nn.BondMessagePassing(), nn.MeanAggregation(), nn.BinaryClassificationFFN(Y.shape[1])
    )
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = pl.Trainer(max_epochs=epochs, **quiet)
    trainer.fit(network, loaders[0])
    return torch.cat(trainer.predict(network, loaders[1])).numpy()


def main() -> None:
    """Run every split of the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("splits", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    frame = pd.read_csv(arguments.csv)
    smiles, Y = frame.iloc[:, 0].tolist(), frame.iloc[:, 1:].to_numpy(dtype=np.float32)
    results = []
    for split in json.loads(arguments.splits.read_text()):
        start = time.process_time()
        prediction = train_and_predict(
            smiles, Y, split["train"], split["test"], arguments.epochs, split["seed"]
        )
        results.append({"cpu_s": time.process_time() - start, "prediction": prediction.tolist()})
    arguments.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
