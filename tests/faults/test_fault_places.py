"""Places that cannot be written to are told of before a job is made, and paid for."""

from __future__ import annotations

import os

import pytest

from faults.world import World
from openeo_gfmap.errors import InputError


def test_an_output_folder_that_is_a_file(world: World) -> None:
    world.out.write_text("the user's")
    with pytest.raises(InputError, match=r"the output folder .*/out cannot be used: File exists"):
        world.run()
    assert world.out.read_text() == "the user's"
    assert not world.backend.jobs


def test_a_tracker_that_is_a_folder(world: World) -> None:
    world.tracker.mkdir()
    with pytest.raises(InputError, match=r"the tracker .*tracker.csv cannot be used: Is a dir"):
        world.run()
    assert not world.backend.jobs


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_somebody_elses(world: World) -> None:
    world.out.mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be used: Permission denied"):
        world.run()
    assert not world.backend.jobs


def test_a_folder_within_the_output_folder_may_be_a_link(world: World) -> None:
    elsewhere = world.out / "elsewhere"
    elsewhere.mkdir(parents=True)
    (world.out / "job_1").symlink_to(elsewhere)
    assert world.run() == {"finished": world.jobs}
    assert sorted(path.name for path in elsewhere.iterdir()) == ["patch_0.nc", "patch_1.nc"]
