"""Work on long arrays in blocks that fit the processor's cache, on all of its cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["map_blocks"]

BLOCK: Final = 1 << 13
_MAX_THREADS: Final = 8


def map_blocks(function: Callable[..., NDArray[Any]], *arrays: NDArray[Any]) -> NDArray[Any]:
    """Apply a function to arrays, block by block.

    Parameters
    ----------
    function : callable
        Takes one block of each array, gives an array whose last axis is as long as the block.
        It runs in threads: most of its time should be spent in code that lets go of the GIL.
    *arrays : ndarray
        One-dimensional, of one length.

    Returns
    -------
    ndarray
        The results, one after the other along the last axis.
    """
    blocks = [slice(start, start + BLOCK) for start in range(0, len(arrays[0]), BLOCK)]
    if len(blocks) <= 1:
        return function(*arrays)
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda block: function(*(array[block] for array in arrays)), blocks)
        return np.concatenate(list(results), axis=-1)
