"""The integer SGNN (being written)."""

from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.wiring import build_sgnn

__all__ = ["SGNNParameters", "build_sgnn"]
