"""Which device torch calculates on."""

from __future__ import annotations

import torch

from labkit.errors import ParameterError


def pick_device(name: str) -> torch.device:
    """Device of a name; ``"auto"`` is a GPU where there is one.

    Raises
    ------
    ParameterError
        If the name is not known, or is that of a GPU and none is to be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ParameterError(f"device={name!r} is not known; use auto, cpu or cuda.") from exc
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"device={name!r} but no GPU is to be had; use auto or cpu.")
    return device
