"""Training of the graph networks on rows of a packed data set.

A training set is an array of molecule indices, one a row. A cloned row repeats an index, so
oversampling by clones copies no graph; a synthetic row of MLSMOTE names the molecule that was its
seed and brings its own interpolated fingerprint (``graph="seed"``), or lies between the embeddings
that a trained encoder gives (``space="embedding"``, `MoleculeEstimator.refit_head`).

Notation: ``rows`` (n_rows,) molecule of each row; ``Y`` (n_rows, n_outputs) targets of each row,
nan where unknown.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from labkit.devices import pick_device
from labkit.errors import ParameterError
from labkit.oversampling.featurize import GraphBatch, PackedMolecules, featurize
from labkit.oversampling.losses import MULTILABEL_LOSSES, MaskedLoss, positive_weights
from labkit.oversampling.models import HybridGNN
from labkit.oversampling.optimization import BestEpoch, fit_head, warm_cosine
from labkit.oversampling.rows import TrainingRows, training_rows

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all and what was done last."""

TASKS = ("multilabel", "regression")
PREDICTION_BATCH = 256


class MoleculeEstimator:
    """Graph network with the fit and predict of an estimator.

    Parameters
    ----------
    task : {"multilabel", "regression"}
        What the targets are.
    encoder : str
        Graph encoder, see `labkit.oversampling.models`.
    fingerprint : bool
        Join the graph with the fingerprint (hybrid) or not (standard).
    hidden, layers, timesteps, dropout
        Of `HybridGNN`.
    epochs : int
        Passes over the training rows.
    lr : float
        Highest learning rate of Adam; it rises over the first tenth of the steps, then falls to
        zero along a cosine.
    batch_size : int
        Rows a step.
    loss : {None, "bce", "pos_weight", "focal", "asymmetric", "mse"}
        None takes ``"bce"`` for labels and ``"mse"`` for regression.
    patience : int, optional
        Stop after so many epochs without a better validation loss, and keep the best epoch;
        needs ``valid`` in `fit`. None trains all epochs and keeps the last.
    seed : int
        Initial weights, order of rows and dropout; the same seed gives the same result on a CPU.
    device : str
        ``"auto"`` takes a GPU where there is one.

    Attributes
    ----------
    model_ : HybridGNN
        The trained network.
    history_ : DataFrame
        Columns epoch, train_loss and, with validation rows, valid_loss.
    device_ : torch.device
        Where it was trained.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Scaling of regression targets; 0 and 1 for labels.

    Examples
    --------
    >>> packed = featurize(["CCO", "CCCCO", "CCN", "CCCCN"], fingerprint="ecfp4:128")
    >>> Y = np.array([[1.0], [1.0], [0.0], [0.0]])
    >>> estimator = MoleculeEstimator(hidden=16, epochs=40, lr=0.01, seed=1).fit(packed, Y)
    >>> estimator.predict_smiles(["CCCO", "not a molecule", "CCCN"]).shape
    (3, 1)
    """

    def __init__(
        self,
        task: str = "multilabel",
        encoder: str = "attentivefp",
        *,
        fingerprint: bool = True,
        hidden: int = 64,
        layers: int = 2,
        timesteps: int = 2,
        dropout: float = 0.1,
        epochs: int = 12,
        lr: float = 4e-3,
        batch_size: int = 64,
        loss: str | None = None,
        patience: int | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.task = task
        self.encoder = encoder
        self.fingerprint = fingerprint
        self.hidden = hidden
        self.layers = layers
        self.timesteps = timesteps
        self.dropout = dropout
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.loss = loss or ("mse" if task == "regression" else "bce")
        self.patience = patience
        self.seed = seed
        self.device = device
        self._check()

    def fit(
        self,
        packed: PackedMolecules,
        Y: np.ndarray,
        *,
        rows: np.ndarray | None = None,
        fingerprint: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        valid: tuple[np.ndarray, np.ndarray] | None = None,
        progress: Progress | None = None,
    ) -> MoleculeEstimator:
        """Train on rows of a packed data set.

        Parameters
        ----------
        packed : PackedMolecules
            The molecules; not changed and not copied.
        Y : ndarray of shape (n_rows, n_outputs)
            Targets of the rows; nan where unknown.
        rows : ndarray of int, shape (n_rows,), optional
            Molecule of each row, with repeats for clones; all molecules in order if not given.
        fingerprint : ndarray of shape (n_rows, n_bits), optional
            Fingerprint of each row, instead of its molecule's own.
        sample_weight : ndarray of shape (n_rows,), optional
            Weight of each row in the loss.
        valid : tuple (rows, Y), optional
            Validation molecules and their targets.
        progress : callable, optional
            Called after each epoch with (epochs done, epochs, text).

        Returns
        -------
        MoleculeEstimator
            Itself.

        Raises
        ------
        ParameterError
            If the rows, targets, fingerprints and weights do not fit together.
        """
        data = training_rows(packed, Y, rows, fingerprint, sample_weight)
        if self.fingerprint and packed.n_bits == 0:
            raise ParameterError(
                "fingerprint=True but the molecules were featurized with fingerprint='none'; "
                "featurize with 'ecfp4:2048' or use fingerprint=False."
            )
        if self.patience is not None and valid is None:
            raise ParameterError(f"patience={self.patience} needs validation rows; give valid.")
        self.device_ = pick_device(self.device)
        self._fit_scaling(data)
        with self._seeded():
            self.model_ = self._make_model(packed, data.Y.shape[1]).to(self.device_)
            self._train(packed, data, valid, progress)
        return self

    def predict_proba(
        self,
        packed: PackedMolecules,
        rows: np.ndarray | None = None,
        *,
        fingerprint: np.ndarray | None = None,
    ) -> np.ndarray:
        """Probability of each label.

        Parameters
        ----------
        packed : PackedMolecules
            Molecules, featurized as for `fit`.
        rows : ndarray of int, optional
            Which molecules, repeats allowed; all if not given.
        fingerprint : ndarray of shape (n_rows, n_bits), optional
            Fingerprint of each row, instead of its molecule's own.

        Returns
        -------
        ndarray of shape (n_rows, n_labels)
        """
        if self.task != "multilabel":
            raise ParameterError("task='regression' has no probabilities; use predict.")
        return torch.sigmoid(self._batched(packed, rows, self.trained_model(), fingerprint)).numpy()

    def predict(
        self,
        packed: PackedMolecules,
        rows: np.ndarray | None = None,
        *,
        fingerprint: np.ndarray | None = None,
    ) -> np.ndarray:
        """Labels at threshold 0.5 (multilabel), or values in the units of training (regression).

        Parameters
        ----------
        packed : PackedMolecules
            Molecules, featurized as for `fit`.
        rows : ndarray of int, optional
            Which molecules, repeats allowed; all if not given.
        fingerprint : ndarray of shape (n_rows, n_bits), optional
            Fingerprint of each row, instead of its molecule's own.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs)
        """
        if self.task == "multilabel":
            return (self.predict_proba(packed, rows, fingerprint=fingerprint) >= 0.5).astype(float)
        scaled = self._batched(packed, rows, self.trained_model(), fingerprint).numpy()
        return scaled * self.target_scale_ + self.target_mean_

    def predict_smiles(
        self, smiles: Sequence[str], *, fingerprint: str | None = None
    ) -> np.ndarray:
        """Probabilities (multilabel) or values (regression) for SMILES strings.

        Parameters
        ----------
        smiles : sequence of str
            Molecules to predict.
        fingerprint : str, optional
            Specification that `featurize` was given for training; if not given, ``"maccs"`` for a
            network trained on 167 bits and ``"ecfp4"`` of the trained length for others.

        Returns
        -------
        ndarray of shape (len(smiles), n_outputs)
            Row i belongs to ``smiles[i]``; nan where RDKit cannot read it.
        """
        self.trained_model()
        result = np.full((len(smiles), self.n_outputs_), np.nan)
        packed = featurize(smiles, fingerprint=fingerprint or fingerprint_name(self.n_bits_))
        if packed.n_bits != self.n_bits_:
            raise ParameterError(
                f"fingerprint={fingerprint!r} has {packed.n_bits} bits but the network was trained "
                f"on {self.n_bits_}; give the specification used for training."
            )
        if len(packed):
            predict = self.predict if self.task == "regression" else self.predict_proba
            result[packed.valid] = predict(packed)
        return result

    def embed(self, packed: PackedMolecules, rows: np.ndarray | None = None) -> np.ndarray:
        """Vectors that the head of the trained network reads.

        Parameters
        ----------
        packed : PackedMolecules
            Molecules, featurized as for `fit`.
        rows : ndarray of int, optional
            Which molecules; all if not given.

        Returns
        -------
        ndarray of shape (n_rows, embedding_dim)
        """
        return self._batched(packed, rows, self.trained_model().embed).numpy()

    def refit_head(
        self, embedding: np.ndarray, Y: np.ndarray, *, epochs: int = 20
    ) -> MoleculeEstimator:
        """Train the head on, with vectors such as MLSMOTE makes between embeddings.

        Parameters
        ----------
        embedding : ndarray of shape (n_rows, embedding_dim)
            Real (`embed`) and synthetic vectors.
        Y : ndarray of shape (n_rows, n_outputs)
            Their targets.
        epochs : int
            Passes over the rows.

        Returns
        -------
        MoleculeEstimator
            Another estimator with the same encoder; this one is not changed.
        """
        self.trained_model()
        other = copy.deepcopy(self)
        inputs = torch.as_tensor(embedding, dtype=torch.float32, device=self.device_)
        target = self._scaled(Y).to(self.device_)
        criterion = self._criterion(TrainingRows(np.arange(len(Y)), Y))
        with self._seeded():
            fit_head(other.model_.head, inputs, target, criterion, epochs, self.lr, self.batch_size)
        return other

    def _check(self) -> None:
        if self.task not in TASKS:
            raise ParameterError(f"task={self.task!r} is not known; use one of {', '.join(TASKS)}.")
        allowed = ("mse",) if self.task == "regression" else MULTILABEL_LOSSES
        if self.loss not in allowed:
            raise ParameterError(
                f"loss={self.loss!r} does not fit task={self.task!r}; use {' or '.join(allowed)}."
            )
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"{name}={value} is too few; use 1 or more.")
        if not self.lr > 0:
            raise ParameterError(f"lr={self.lr} is not a learning rate; use a number above 0.")

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """All of torch's random numbers follow ``seed`` inside, and are as before afterwards."""
        with torch.random.fork_rng(devices=[self.device_] if self.device_.type == "cuda" else []):
            torch.manual_seed(self.seed)
            yield

    def _make_model(self, packed: PackedMolecules, n_outputs: int) -> HybridGNN:
        self.n_outputs_ = n_outputs
        self.n_bits_ = packed.n_bits if self.fingerprint else 0
        return HybridGNN(
            packed.node_dim,
            packed.edge_dim,
            n_outputs,
            encoder=self.encoder,
            fingerprint_dim=self.n_bits_,
            hidden=self.hidden,
            layers=self.layers,
            timesteps=self.timesteps,
            dropout=self.dropout,
        )

    def _fit_scaling(self, data: TrainingRows) -> None:
        n_outputs = data.Y.shape[1]
        self.target_mean_, self.target_scale_ = np.zeros(n_outputs), np.ones(n_outputs)
        if self.task != "regression":
            return
        weight = np.ones(len(data)) if data.weight is None else data.weight
        mass = weight[:, None] * ~np.isnan(data.Y)
        total = np.maximum(mass.sum(axis=0), np.finfo(float).tiny)
        self.target_mean_ = np.nansum(mass * data.Y, axis=0) / total
        variance = np.nansum(mass * (data.Y - self.target_mean_) ** 2, axis=0) / total
        self.target_scale_ = np.where(variance > 0, np.sqrt(variance), 1.0)

    def _scaled(self, Y: np.ndarray) -> Tensor:
        return torch.as_tensor((Y - self.target_mean_) / self.target_scale_, dtype=torch.float32)

    def _criterion(self, data: TrainingRows) -> MaskedLoss:
        balance = positive_weights(data.Y, data.weight) if self.loss == "pos_weight" else None
        return MaskedLoss(self.loss, positive_weight=balance).to(self.device_)

    def _train(
        self,
        packed: PackedMolecules,
        data: TrainingRows,
        valid: tuple[np.ndarray, np.ndarray] | None,
        progress: Progress | None,
    ) -> None:
        criterion = self._criterion(data)
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=self.lr)
        steps = self.epochs * -(-len(data) // self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warm_cosine(step, steps)
        )
        history: list[dict[str, float]] = []
        best = BestEpoch(self.patience)
        for epoch in range(1, self.epochs + 1):
            record = {"train_loss": self._epoch(packed, data, criterion, optimizer, schedule)}
            if valid is not None:
                record["valid_loss"] = self._valid_loss(packed, *valid, criterion)
                best.offer(record["valid_loss"], self.model_)
            history.append(record)
            if progress is not None:
                progress(epoch, self.epochs, f"epoch {epoch}")
            if best.exhausted:
                logger.info("stopped after epoch %d of %d", epoch, self.epochs)
                break
        best.restore(self.model_)
        self.model_.eval()
        self.history_ = pd.DataFrame(history)
        self.history_.insert(0, "epoch", np.arange(1, len(history) + 1))

    def _epoch(
        self,
        packed: PackedMolecules,
        data: TrainingRows,
        criterion: MaskedLoss,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> float:
        """One pass over the rows in random order; returns the mean loss of its steps."""
        self.model_.train()
        target = self._scaled(data.Y)
        weight = torch.ones(len(data)) if data.weight is None else torch.as_tensor(data.weight)
        total = torch.zeros((), device=self.device_)
        batches = torch.randperm(len(data)).split(self.batch_size)
        for chosen in batches:
            output = self.model_(data.batch(packed, chosen.numpy(), self.device_))
            loss = criterion(
                output, target[chosen].to(self.device_), weight[chosen].to(self.device_)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        return float(total) / len(batches)

    def _valid_loss(
        self, packed: PackedMolecules, rows: np.ndarray, Y: np.ndarray, criterion: MaskedLoss
    ) -> float:
        output = self._batched(packed, rows, self.model_).to(self.device_)
        return float(criterion(output, self._scaled(Y).to(self.device_)))

    def _batched(
        self,
        packed: PackedMolecules,
        rows: np.ndarray | None,
        function: Callable[[GraphBatch], Tensor],
        fingerprint: np.ndarray | None = None,
    ) -> Tensor:
        """Result of a function of batches for all rows, without gradients, on the CPU."""
        self.model_.eval()
        index = np.arange(len(packed)) if rows is None else np.asarray(rows, dtype=np.int64)
        data = TrainingRows(index, np.empty((len(index), 0)), fingerprint)
        with torch.no_grad():
            results = [
                function(data.batch(packed, chosen.numpy(), self.device_)).cpu()
                for chosen in torch.arange(len(index)).split(PREDICTION_BATCH)
                if len(chosen)
            ]
        return torch.cat(results) if results else torch.zeros((0, self.n_outputs_))

    def trained_model(self) -> HybridGNN:
        """Return the network, in evaluation mode.

        Raises
        ------
        ParameterError
            Before `fit`.
        """
        if not hasattr(self, "model_"):
            raise ParameterError("this estimator is not trained yet; call fit first.")
        return self.model_


def fingerprint_name(n_bits: int) -> str:
    """Specification that gives a fingerprint of this length: none, MACCS keys or ECFP4."""
    return {0: "none", 167: "maccs"}.get(n_bits, f"ecfp4:{n_bits}")
