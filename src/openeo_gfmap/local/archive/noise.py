"""Noise that is a pure function of place: hashed lattices, no random generator, no state.

Every random choice of the archive comes from :func:`mix`, so a pixel has the same value
whichever window, process or order it is computed in.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Hashes", "block_mean", "fractal", "grain", "mix", "smooth", "uniform"]

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]

# Odd constants of the splitmix64 finaliser (Steele, Lea and Flood 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(*keys: ArrayLike) -> Hashes:
    """Hash integer arrays, broadcast together, to 64 well-mixed bits (splitmix64 per key)."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            part = np.asarray(key)
            if part.dtype != np.uint64:
                part = part.astype(np.int64).view(np.uint64)
            state = (state ^ part) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX_1
            state = (state ^ (state >> np.uint64(27))) * _MIX_2
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(hashes: Hashes, stream: int = 0) -> Floats:
    """Floats in [0, 1) from hashes; different ``stream`` numbers give independent values."""
    bits = mix(hashes, stream) if stream else hashes
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def smooth(x: Floats, y: Floats, seed: ArrayLike) -> Floats:
    """Value noise with unit lattice: smooth, in [-1, 1].

    Parameters
    ----------
    x, y
        Coordinates in lattice units; they broadcast with ``seed``.
    seed
        Integer seeds; each gives another field.
    """
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    # The quintic fade has no visible creases at lattice lines.
    fx = fx * fx * fx * (fx * (fx * 6 - 15) + 10)
    fy = fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    sw, se, nw, ne = _corners(x0.astype(np.int64), y0.astype(np.int64), np.asarray(seed))
    south = sw + (se - sw) * fx
    north = nw + (ne - nw) * fx
    result: Floats = (south + (north - south) * fy) * 2 - 1
    return result


def _corners(i: Integers, j: Integers, seed: np.ndarray[Any, Any]) -> tuple[Floats, ...]:
    """Values at the four lattice points around each cell (i, j): SW, SE, NW, NE."""
    left, bottom = i.min(), j.min()
    columns, rows = i.max() - left + 2, j.max() - bottom + 2
    if seed.ndim == 0 and columns * rows * 4 < i.size:
        # Many points per lattice cell: hash each lattice point once and look it up.
        lattice = mix(mix(seed, bottom + np.arange(rows))[:, None], left + np.arange(columns))
        values = uniform(lattice).ravel()
        at = (j - bottom) * columns + (i - left)
        return values[at], values[at + 1], values[at + columns], values[at + columns + 1]
    lower, upper = mix(seed, j), mix(seed, j + 1)
    return tuple(uniform(mix(row, i + step)) for row in (lower, upper) for step in (0, 1))


def fractal(
    x: Floats, y: Floats, seed: ArrayLike, *, octaves: int, gain: ArrayLike = 0.5
) -> Floats:
    """Sum of ``octaves`` of :func:`smooth`, each twice as fine; about unit standard deviation."""
    gain = np.asarray(gain, dtype=np.float64)
    total: Any = 0.0
    power: Any = 0.0
    for octave in range(octaves):
        weight = gain**octave
        # A fixed shift per octave keeps the lattices from lining up.
        shift = 17.37 * octave
        total = total + weight * smooth(
            x * 2**octave + shift, y * 2**octave - shift, mix(seed, octave)
        )
        power = power + weight**2
    # The variance of one octave, averaged over the lattice, is about 0.18.
    result: Floats = total / np.sqrt(0.18 * power)
    return result


@cache
def grain(size: int = 512) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a tileable table of white Gaussian-like noise, (2 size, 2 size), unit deviation.

    The table is repeated once along each axis, so any window of up to ``size`` pixels that
    starts inside the first copy is one slice: sensor noise costs no hashing per pixel.
    """
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    bits = mix(0x6E01, rows, columns)
    # The sum of four uniforms is close to normal; its deviation is sqrt(4 / 12).
    total = sum(uniform(bits, stream) for stream in range(1, 5))
    table = ((total - 2.0) / np.sqrt(1 / 3)).astype(np.float32)
    table = np.tile(table, (2, 2))
    table.setflags(write=False)
    return table


def block_mean(values: Floats, factor: int) -> Floats:
    """Means of blocks of factor x factor pixels of a (rows, columns) array."""
    if factor == 1:
        return values
    # Adding strided slices is several times as fast as a mean over two axes.
    total = sum(values[i::factor, j::factor] for i in range(factor) for j in range(factor))
    result: Floats = np.asarray(total) * values.dtype.type(1 / factor**2)
    return result
