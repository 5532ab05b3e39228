"""Every simulated value depends on its place and pass alone."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.archive.grid import CELL_SIZE, Cell, cells_within
from openeo_gfmap.local.archive.landscape import landscape
from openeo_gfmap.local.archive.noise import fractal, mix, smooth, uniform
from openeo_gfmap.local.archive.orbits import acquisitions, acquisitions_of, covering_orbits
from openeo_gfmap.local.archive.scene import render

coordinates = st.floats(-1e7, 1e7, allow_nan=False)
cells = st.builds(
    Cell,
    epsg=st.sampled_from([32601, 32631, 32634, 32660, 32733]),
    column=st.integers(120, 560),
    row=st.integers(1, 3),
).map(lambda c: Cell(c.epsg, c.column, c.row * (-1000 if c.epsg == 32733 else 1400)))


@given(coordinates, coordinates, st.integers(0, 2**60))
def test_noise_of_a_window_is_the_noise_of_its_points(x, y, seed):
    # A window is looked up in a table of lattice points, a single point is not.
    xs, ys = np.meshgrid(x + np.linspace(0, 3, 40), y + np.linspace(0, 3, 40))
    window = smooth(xs, ys, seed)
    assert np.abs(window).max() <= 1
    for row, column in ((0, 0), (17, 39), (39, 5)):
        alone = smooth(xs[row : row + 1, column], ys[row : row + 1, column], seed)
        assert alone[0] == window[row, column]


@given(coordinates, coordinates, st.integers(0, 2**60))
def test_noise_is_smooth(x, y, seed):
    step = 1e-3
    here = fractal(np.array([x]), np.array([y]), seed, octaves=4)
    there = fractal(np.array([x + step]), np.array([y]), seed, octaves=4)
    assert abs(here - there)[0] < 0.2


@given(st.lists(st.integers(-(2**60), 2**60), min_size=2, max_size=50, unique=True))
def test_hashes_differ_and_are_uniform_floats(keys):
    hashes = mix(np.array(keys), 7)
    assert len(set(hashes.tolist())) == len(keys)
    values = uniform(hashes)
    assert ((values >= 0) & (values < 1)).all()
    # Order and company make no difference.
    assert (mix(np.array(keys[::-1]), 7)[::-1] == hashes).all()


@given(cells, st.integers(0, CELL_SIZE - 1), st.integers(1, 5 * CELL_SIZE))
def test_cells_within_a_box_cover_it_without_overlap(cell, start, size):
    west, south, _, _ = cell.bounds
    box = (west + start, south + start, west + start + size, south + start + size)
    found = list(cells_within(cell.epsg, box))
    assert len(set(found)) == len(found)
    area = 0
    for each in found:
        w, s, e, n = each.bounds
        width, height = min(e, box[2]) - max(w, box[0]), min(n, box[3]) - max(s, box[1])
        assert width > 0
        assert height > 0
        area += width * height
    assert area == size * size


@given(cells)
@settings(max_examples=10, deadline=None)
def test_pixels_are_full_mixtures_of_surfaces(cell):
    land = landscape(cell)
    for resolution, matrix in land.mixing.items():
        pixels = CELL_SIZE // resolution
        assert matrix.shape == (pixels * pixels, len(land.key))
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
        assert land.texture[resolution].shape == (pixels, pixels)


@given(cells, st.dates(date(2016, 1, 1), date(2029, 1, 1)), st.data())
@settings(max_examples=8, deadline=None)
def test_pictures_do_not_depend_on_what_else_was_asked(cell, day, data):
    lon, lat = cell.centre
    orbits = covering_orbits(*cell.corners)
    seen = acquisitions(lon, lat, orbits, day, day + timedelta(days=25))
    if not seen:
        return
    together = list(render(cell, seen))
    one = data.draw(st.integers(0, len(seen) - 1))
    (alone,) = render(cell, acquisitions_of([(seen[one].turn, seen[one].orbit)], lon, lat))
    assert alone.acquisition == seen[one]
    for resolution, bands in alone.bands.items():
        assert (bands == together[one].bands[resolution]).all()
