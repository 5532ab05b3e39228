"""How much freed memory a process keeps for its next arrays, instead of giving it back at once.

Windows need arrays of the same sizes one after the other. By default glibc asks the system for each
large one, page by page, and gives it back: a tenth of the CPU time of a dense result, a fifth on
workers of Dask, which lowers the sizes in question.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

__all__ = ["keep_memory"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Older releases take no more than half of a heap.
_MOST_IN_OLD_ONES = 32 * 2**20


def keep_memory(block: int, idle: int) -> None:
    """Keep memory in this process. Elsewhere than with glibc this does nothing.

    Parameters
    ----------
    block
        Larger arrays are asked of the system, and given back to it, one by one; bytes.
    idle
        What may lie idle at the end of the heap; bytes.
    """
    with suppress(OSError, AttributeError):  # another system, or another libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, idle)
        if not mallopt(_M_MMAP_THRESHOLD, block):
            mallopt(_M_MMAP_THRESHOLD, min(block, _MOST_IN_OLD_ONES))
