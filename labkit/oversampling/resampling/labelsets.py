"""How LP-ROS and LP-RUS share a number of rows among labelsets.

Charte et al. (Neurocomputing 163, 2015) give each labelset the same share, at most
what takes it to the mean labelset size, and hand what is left over to the labelsets that come
after, sorted so that those with room come last. Whole rows need one more rule, which the paper does
not give: here a labelset may be taken *to or just past* the mean (its room is rounded up), ties in
size are put in random order, and the shares add up to the rows asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["shares"]


def shares(room: NDArray[np.int64], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share `budget` rows equally among labelsets, none above its room.

    Parameters
    ----------
    room : ndarray of int64, shape (n_labelsets,)
        The most rows that each labelset can take.
    budget : int
        Rows to share out.
    rng : Generator
        Decides who gets the odd rows among labelsets with the same room.

    Returns
    -------
    ndarray of int64, shape (n_labelsets,)
        Sums to ``min(budget, room.sum())``.

    Examples
    --------
    >>> shares(np.array([1, 9, 3]), 8, np.random.default_rng(0))
    array([1, 4, 3])
    """
    order = rng.permutation(len(room))
    order = order[np.argsort(room[order], kind="stable")]
    given = np.zeros(len(room), dtype=np.int64)
    for position, labelset in enumerate(order):
        share = budget // (len(order) - position)
        given[labelset] = min(room[labelset], share)
        budget -= int(given[labelset])
    return given
