"""The kernels against the plain formulas, written out with scipy's direct convolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage, signal

from openeo_gfmap.local.engine.kernels import (
    SCL_MASK1,
    SCL_MASK2,
    gaussian_kernel,
    linear_scale_cast,
    scl_dilation_mask,
)


def direct_kernel(size: int) -> np.ndarray:
    kernel = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            squared = (row - size // 2) ** 2 + (column - size // 2) ** 2
            kernel[row, column] = np.floor(10000 * np.exp(-squared / (2 * (size / 6) ** 2)))
    return kernel


def direct_mask(scl, kernel1=17, kernel2=77, erosion=0) -> np.ndarray:
    """One frame, as the contract words it."""
    mask1 = ~np.isin(scl, SCL_MASK1)
    mask2 = np.isin(scl, SCL_MASK2)
    if mask1.all():
        return np.ones(scl.shape, dtype=bool)
    radius = erosion // 2
    if radius:
        grid = np.arange(-radius, radius + 1)
        disk = grid[:, None] ** 2 + grid**2 <= radius**2
        mask1, mask2 = (ndimage.binary_erosion(m, disk, border_value=1) for m in (mask1, mask2))
    out = np.zeros(scl.shape, dtype=bool)
    for mask, size, threshold in ((mask1, kernel1, 0.057), (mask2, kernel2, 0.025)):
        if size == 0:
            out |= mask
            continue
        kernel = direct_kernel(size)
        # Sums of integers are exact in float64; the one division is that of the definition.
        # "same" centres even kernels half a pixel off, so cut by hand; correlation, so mirrored.
        full = signal.convolve2d(mask.astype(float), kernel[::-1, ::-1])
        first = size - 1 - size // 2
        sums = full[first : first + scl.shape[0], first : first + scl.shape[1]]
        out |= sums / kernel.sum() > threshold
    return out


@st.composite
def scenes(draw):
    """Small SCL frames of blobs, from all clear to all cloudy."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    field = ndimage.gaussian_filter(rng.standard_normal((rows, columns)), draw(st.floats(0, 6)))
    cloudy = field > np.quantile(field, draw(st.floats(0, 1)))
    clear = rng.choice([0, 2, 4, 5, 6, 7], (rows, columns), p=[0.01, 0.19, 0.4, 0.2, 0.1, 0.1])
    return np.where(cloudy, rng.choice([1, 3, 8, 9, 10, 11], (rows, columns)), clear)


@settings(max_examples=80, deadline=None)
@given(
    scenes(),
    st.sampled_from([0, 1, 2, 3, 8, 17]),
    st.sampled_from([0, 5, 16, 31, 77]),
    st.integers(0, 9),
)
def test_dilation_equals_the_direct_convolution(scl, kernel1, kernel2, erosion) -> None:
    mask = scl_dilation_mask(
        scl[np.newaxis].astype("uint16"), 65535, kernel1, kernel2, SCL_MASK1, SCL_MASK2, erosion
    )
    np.testing.assert_array_equal(mask[0], direct_mask(scl, kernel1, kernel2, erosion))


def test_dilation_equals_the_direct_convolution_at_the_size_of_a_patch() -> None:
    rng = np.random.default_rng(5)
    fields = [ndimage.gaussian_filter(rng.standard_normal((140, 140)), s) for s in (0, 1, 4, 12)]
    scl = np.stack([np.where(f > np.quantile(f, 0.9), 9, 4) for f in fields]).astype("uint8")
    mask = scl_dilation_mask(scl, erosion_kernel_size=3)
    for frame, found in zip(scl, mask, strict=True):
        np.testing.assert_array_equal(found, direct_mask(frame, erosion=3))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.03, 0.06, 0.5]),
    st.booleans(),
    st.integers(60, 140),
    st.integers(1, 140),
)
def test_dilation_is_exact_across_blocks_in_speckle_and_in_blobs(
    seed: int, share: float, blobs: bool, rows: int, columns: int
) -> None:
    """Speckle of about the threshold's share puts most pixels near it: the hardest masks."""
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((rows, columns))
    if blobs:
        field = ndimage.gaussian_filter(field, 7)
    scl = np.where(field > np.quantile(field, 1 - share), 9, 4).astype("uint8")
    mask = scl_dilation_mask(scl[np.newaxis], None, 17, 41)
    np.testing.assert_array_equal(mask[0], direct_mask(scl, 17, 41))


def test_pixels_on_the_threshold_are_decided_exactly() -> None:
    """Masks built so that the sum at the centre is just at and just below the limit."""
    kernel = gaussian_kernel(77).ravel()
    total = int(kernel.sum())
    limit = next(n for n in range(int(0.025 * total) - 2, total) if n / total > 0.025)
    order = np.argsort(-kernel, kind="stable")
    for target in (limit - 1, limit, limit + 1):
        chosen, rest = np.zeros(kernel.size, dtype=bool), target
        for cell in order:  # greedy: the kernel's small cells allow any total
            if 0 < kernel[cell] <= rest:
                chosen[cell], rest = True, rest - kernel[cell]
        assert rest == 0
        scl = np.where(chosen.reshape(77, 77), 9, 4).astype("uint8")
        mask = scl_dilation_mask(scl[np.newaxis], kernel1_size=1, mask1_values=(4, 9))
        assert mask[0, 38, 38] == (target >= limit)


def test_missing_and_hopeless_frames() -> None:
    scl = np.full((3, 20, 20), 4, dtype="uint16")
    scl[1] = 65535  # nothing seen at all
    scl[2] = 9
    mask = scl_dilation_mask(scl, 65535, kernel1_size=0, kernel2_size=0)
    assert not mask[0].any()
    assert mask[1].all()
    assert mask[2].all()
    # A value that is nodata is no class, whatever the lists say.
    assert scl_dilation_mask(scl[:1], 4, 0, 0).all()
    assert scl_dilation_mask(scl[0].astype("float32")).shape == (20, 20)


@pytest.mark.parametrize("erosion", [2, 3, 4, 5, 8, 21])
def test_erosion_is_by_a_disk(erosion: int) -> None:
    rng = np.random.default_rng(erosion)
    scl = np.where(rng.random((30, 25)) < 0.03, 4, 9).astype("uint8")
    mask = scl_dilation_mask(scl, None, 0, 0, erosion_kernel_size=erosion)
    np.testing.assert_array_equal(mask, direct_mask(scl, 0, 0, erosion))


numbers = hnp.arrays(
    st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]),
    hnp.array_shapes(max_dims=3, max_side=5),
)


@settings(max_examples=200, deadline=None)
@given(
    numbers,
    st.none() | st.integers(0, 200),
    st.sampled_from([(0, 65534), (0, 254), (1, 65534), (0.0, 1.0), (0, 1), (-5, 300)]),
    st.sampled_from([(0, 65534), (0, 254), (1, 65534), (0.0, 1.0), (0, 1), (0, 65534.0)]),
)
def test_linear_scale_cast_equals_plain_numpy(data, nodata, inputs, outputs) -> None:
    if data.dtype.kind == "f":
        nodata = None
    out, missing_value = linear_scale_cast(data, nodata, *inputs, *outputs)
    values = data.astype(float)
    missing = np.isnan(values) if nodata is None else data == nodata
    with np.errstate(over="ignore"):
        expected = np.clip(values, *inputs)
    if inputs != outputs:
        ratio = (outputs[1] - outputs[0]) / (inputs[1] - inputs[0])
        expected = (expected - inputs[0]) * ratio + outputs[0]
    cast = {(0, 65534): "uint16", (1, 65534): "uint16", (0, 254): "uint8"}
    whole = all(isinstance(v, int) for v in outputs)
    if whole and outputs in cast:
        assert out.dtype == cast[outputs]
        assert missing_value == np.iinfo(out.dtype).max
        assert (out[missing] == missing_value).all()
        np.testing.assert_array_equal(out[~missing], np.trunc(expected[~missing]))
    else:
        assert out.dtype.kind == "f"
        assert missing_value is None
        assert np.isnan(out[missing]).all()
        np.testing.assert_allclose(out[~missing], expected[~missing], rtol=1e-6, atol=1e-6)


def test_identity_scaling_moves_nodata() -> None:
    data = np.array([-3, 0, 7, -32768], dtype="int16")
    out, nodata = linear_scale_cast(data, -32768, 0, 65534, 0, 65534)
    np.testing.assert_array_equal(out, [0, 0, 7, 65535])
    assert (out.dtype, nodata) == (np.uint16, 65535)
