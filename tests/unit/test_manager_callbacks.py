"""The user's callbacks, told apart by signature; the logger; the manager's own checks of input."""

# ruff: noqa: PLW0108 - the lambdas' signatures are what is tested

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pystac
import pytest

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import _log, set_log_level
from openeo_gfmap.manager.callbacks import PathGenerator, PostJobAction, StartJob
from openeo_gfmap.manager.job_manager import GFMAPJobManager

ARGUMENTS: dict[str, Any] = {
    "row": "row", "connection": "connection", "provider": "p", "connection_provider": "cp",
}  # fmt: skip


class Method:
    def start(self, row: Any, *, provider: Any) -> Any:
        return row, provider

    def path(self, root_folder: Path, geometry_index: int, row: Any) -> Path:
        return root_folder / f"{geometry_index}"


def test_start_job_gets_what_its_signature_takes() -> None:
    assert StartJob(lambda row: row)(**ARGUMENTS) == "row"
    assert StartJob(lambda connection, row: (connection, row))(**ARGUMENTS) == ("connection", "row")
    assert StartJob(lambda **kwargs: sorted(kwargs))(**ARGUMENTS) == sorted(ARGUMENTS)
    assert StartJob(lambda row, extra=3: (row, extra))(**ARGUMENTS) == ("row", 3)
    assert StartJob(Method().start)(**ARGUMENTS) == ("row", "p")

    def as_in_the_pipeline(
        row: Any, connection: Any, provider: Any = None, connection_provider: Any = None
    ) -> Any:
        return row, connection, provider, connection_provider

    assert StartJob(as_in_the_pipeline)(**ARGUMENTS) == ("row", "connection", "p", "cp")


def test_start_job_must_not_want_more() -> None:
    with pytest.raises(InputError, match="takes cube, which the manager does not have"):
        StartJob(lambda row, cube: None)
    with pytest.raises(InputError, match="must be a function"):
        StartJob(None)  # type: ignore[arg-type]


def call(generator: PathGenerator) -> Path:
    return generator(
        root_folder=Path("/r"), tmp_path=Path("/t.nc"), geometry_index=4, row="row", asset_id="a.nc"
    )


def joined(*parts: Any) -> Path:
    return Path("/".join(map(str, parts)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda root_folder, tmp_path, geometry_index, row: joined(
            root_folder, tmp_path, geometry_index, row), "/r//t.nc/4/row"),
        (lambda root_folder, geometry_index, row: joined(root_folder, geometry_index, row),
         "/r/4/row"),
        (lambda root_folder, geometry_index, row, asset_id: joined(
            root_folder, geometry_index, row, asset_id), "/r/4/row/a.nc"),
        (lambda root_folder, geometry_index, row, asset_id=None: joined(asset_id), "a.nc"),
        (lambda root, tmp, index, the_row: joined(root, tmp, index, the_row), "/r//t.nc/4/row"),
        (lambda folder, index, row, name: joined(folder, index, row, name), "/r/4/row/a.nc"),
        (lambda a, b, c: joined(a, b, c), "/r/4/row"),
        (functools.partial(Method().path), "/r/4"),
    ],
)  # fmt: skip
def test_both_forms_of_the_path_generator(function: Any, expected: str) -> None:
    assert call(PathGenerator(function)) == Path(expected)


def test_a_path_generator_of_no_known_form() -> None:
    with pytest.raises(InputError, match=r"takes \(a, b\); expected \(root_folder, tmp_path"):
        PathGenerator(lambda a, b: a)


def item() -> pystac.Item:
    properties = {"start_datetime": "2021-01-01T00:00:00Z", "end_datetime": "2021-02-01T00:00:00Z"}
    return pystac.Item("i", None, None, None, properties)


def test_the_post_job_action_with_and_without_parameters() -> None:
    row, seen = pd.Series({"a": 1}), []

    def with_default(items: Any, row: Any, parameters: Any = {}) -> Any:  # noqa: B006
        seen.append(parameters)
        return items

    def without(items: Any, row: Any) -> Any:
        return items

    items = [item()]
    assert PostJobAction(with_default, {"x": 1})(items, row) == items
    assert PostJobAction(without, {"x": 1})(items, row) == items
    assert seen == [{"x": 1}]


@pytest.mark.parametrize("returned", [None, 3, ["not an item"]])
def test_the_post_job_action_must_return_items(returned: Any) -> None:
    with pytest.raises(TypeError, match="end it with 'return items'"):
        PostJobAction(lambda items, row: returned, {})([], pd.Series())


def test_a_post_job_action_of_no_known_form() -> None:
    with pytest.raises(InputError, match=r"expected \(items, row\)"):
        PostJobAction(lambda items: items, {})


# ---------------------------------------------------------------------------------------- the rest


def test_the_logger_has_no_handler_of_ours() -> None:
    assert _log.name == "openeo_gfmap.manager"
    assert _log.handlers == []
    before = _log.level
    try:
        set_log_level("debug")
        assert _log.level == logging.DEBUG
        set_log_level(logging.WARNING)
        assert _log.level == logging.WARNING
    finally:
        _log.setLevel(before)


@pytest.fixture
def manager(tmp_path: Path) -> GFMAPJobManager:
    return GFMAPJobManager(tmp_path, Method().path)


def test_what_cannot_work_is_said_before_anything_runs(
    manager: GFMAPJobManager, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="add_backend first"):
        manager.run_jobs(pd.DataFrame({"a": [1]}), lambda row: None)
    with pytest.raises(InputError, match="call run_jobs before"):
        manager.create_stac()
    with pytest.raises(InputError, match="'cdse' is a str"):
        manager.add_backend("cdse", "https://openeo.example")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="parallel_jobs of 'cdse' is 0"):
        manager.add_backend("cdse", lambda: None, parallel_jobs=0)  # type: ignore[arg-type,return-value]
    with pytest.raises(InputError, match="'sentinel9' is not known; use one of sentinel2"):
        manager.setup_stac("sentinel9")
    with pytest.raises(InputError, match="n_threads is 0"):
        GFMAPJobManager(tmp_path, Method().path, n_threads=0)
    with pytest.raises(InputError, match="'eodc' was not added"):
        manager.connection("eodc")
