"""What users install: the wheel, the source distribution, and an environment that has only them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import pytest
import requests

from openeo_gfmap.launcher import running_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIELDS = ROOT / "examples" / "data" / "demo_fields.gpkg"
#: One of each kind that is not Python's own, or is read as a text.
DATA = (
    "py.typed",
    "data/demo_fields.gpkg",
    "data/s2_squares.bin",
    "local/page/static/index.html",
    "local/page/static/app.js",
    "local/page/static/style.css",
    "local/page/static/icon.svg",
    "report/html/page.html.j2",
    "report/html/report.css",
    "report/html/report.js",
    "report/html/land.json",
    "preprocessing/udf_rank.py",
    "preprocessing/udf_score.py",
    "preprocessing/udf_cloud_percentage.py",
    "preprocessing/udf_distance_to_cloud.py",
)


def package_files() -> dict[str, bytes]:
    """Return the files of the package by their names in a wheel, without what Python makes."""
    package = ROOT / "src" / "openeo_gfmap"
    return {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def build(kind: str, source: Path, target: Path) -> Path:
    """Build with the back-end that pyproject.toml names, as it is here: nothing is fetched."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.iterdir()
    return built


def wheel_files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def check_no_machine(files: dict[str, bytes]) -> None:
    here = [str(ROOT).encode(), sys.prefix.encode()]
    assert [name for name, content in files.items() if any(path in content for path in here)] == []


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    files = wheel_files(wheel)
    about = {name: content for name, content in files.items() if ".dist-info/" in name}
    assert {name.partition("/")[2] for name in about} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip
    assert {name: content for name, content in files.items() if name not in about} == (
        package_files()
    )
    for name in DATA:
        assert len(files[f"openeo_gfmap/{name}"]) > 0 or name == "py.typed"
    check_no_machine(files)
    metadata = next(text.decode() for name, text in about.items() if name.endswith("METADATA"))
    assert "Requires-Python: <3.14,>=3.11" in metadata
    assert "# openeo-gfmap" in metadata  # the README


def test_the_source_distribution_makes_the_same_wheel(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (each for each in tmp_path.iterdir())
    files = {
        path.relative_to(unpacked).as_posix(): path.read_bytes()
        for path in unpacked.rglob("*")
        if path.is_file()
    }
    assert set(files) == {
        *(f"src/{name}" for name in package_files()),
        "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "PKG-INFO",
        ".gitignore",
    }  # fmt: skip
    check_no_machine(files)
    again = build("wheel", unpacked, tmp_path / "again")
    assert wheel_files(again) == wheel_files(wheel)


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """A new environment with the wheel; what it needs is borrowed from the one that tests run in.

    The package itself is not: what is installed here in place is named by a .pth file there, which
    is not looked at.
    """
    place = tmp_path / "environment"
    venv.create(place, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    yield place
    server = running_server(tmp_path / "home")
    if server is not None:
        os.kill(server.pid, signal.SIGTERM)


def test_what_is_installed_works(installed: Path, tmp_path: Path) -> None:
    """From fields to patches, a report and a picture, with nothing of the repository."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    environment["OPENEO_GFMAP_HOME"] = str(tmp_path / "home")

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    gfmap = str(installed / "bin" / "gfmap")
    where = "import openeo_gfmap.local.engine as e; print(e.__file__)"
    assert str(installed) in run(str(installed / "bin" / "python"), "-c", where)
    assert run(gfmap, "--version").split()[-1].startswith("0.")
    assert "Extract 16 patches" in run(gfmap, "demo", "--help")

    fields = gpd.read_file(FIELDS)
    fields[fields.sample_id == "flanders_013"].to_file(tmp_path / "fields.gpkg")
    run(gfmap, "init", "fields.gpkg")
    few = ["--set", "recipe.period.before=4", "--set", "recipe.period.after=4"]
    run(gfmap, "run", *few)
    (collection,) = tmp_path.glob("*/stac/collection.json")
    out = collection.parents[1]
    assert len(list(out.rglob("*flanders_013*.nc"))) >= 1
    assert len(list(collection.parent.glob("items/*.json"))) == 1
    run(gfmap, "report", str(out))
    assert "flanders_013" in (out / "report.html").read_text(encoding="utf-8")
    run(gfmap, "preview", str(out))
    assert list(out.rglob("contact_sheet_1.png"))
    server = running_server(tmp_path / "home")
    assert server is not None
    page = requests.get(server.url, headers={"Accept": "text/html"}, timeout=10)
    assert "<script" in page.text and page.headers["Content-Type"].startswith("text/html")
