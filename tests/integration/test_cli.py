"""The command as its users run it: real processes, the real embedded back-end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import typer
from typer.testing import CliRunner

from openeo_gfmap.account import RunFolder
from openeo_gfmap.backend import Backend
from openeo_gfmap.cli import app
from openeo_gfmap.cli.arguments import backend_names
from openeo_gfmap.stac.tree import write_collection
from support.service import ServerProcess

GFMAP = str(Path(sys.executable).with_name("gfmap"))
FIELDS = Path(__file__).parents[2] / "examples" / "data" / "demo_fields.gpkg"
SMALL = [
    "--set", "recipe.size=16", "--set", "recipe.period.before=5", "--set", "recipe.period.after=5",
    "--set", "recipe.distance_to_cloud=false", "--set", "backend.poll_sleep=0.2",
]  # fmt: skip
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    server = ServerProcess(tmp_path_factory.mktemp("home")).start()
    yield server.home
    server.stop()


class Shell:
    """Runs the command in a folder, as somebody with a server of their own."""

    def __init__(self, folder: Path, home: Path):
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if "GFMAP" not in k},
            "OPENEO_GFMAP_HOME": str(home),
            "COLUMNS": "80",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [GFMAP, *words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, status: int = 0) -> str:
        with self.start(*words) as process:
            output, errors = process.communicate(timeout=240)
        assert process.returncode == status, output + errors
        self.errors = errors
        return output

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", status=status))


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Shell:
    fields = gpd.read_file(FIELDS)
    fields[fields.sample_id.str.startswith("flanders")].to_file(tmp_path / "fields.gpkg")
    return Shell(tmp_path, home)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example_and_the_common_options(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert f"Example: gfmap {command}" in result.output
    for option in ("--json", "--quiet", "--verbose"):
        assert option in result.output


def test_what_each_command_does_fits_80_columns() -> None:
    lines = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output.splitlines()
    told = [line for line in lines if line.strip().split(" ")[0] in COMMANDS]
    assert len(told) == len(COMMANDS)
    assert not [line for line in told if "..." in line]


def test_help_loads_no_client_and_no_data_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from openeo_gfmap.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"openeo", "geopandas", "pandas", "numpy", "pystac", "h5py", "matplotlib", "requests"}
    assert not heavy & set(loaded)


def test_from_a_file_of_fields_to_a_verified_folder(shell: Shell) -> None:
    said = shell.run("init", "fields.gpkg")
    assert "column croptype_label" in said
    assert "is there already" in _error(shell, "init", "fields.gpkg")
    # Columns that cannot be used as they are guessed can be named.
    words = ["init", "twice.gpkg", "--to", "twice.toml"]
    fields = gpd.read_file(shell.folder / "fields.gpkg")
    fields.assign(code=range(len(fields)), sample_id="x").to_file(shell.folder / "twice.gpkg")
    assert "gfmap init twice.gpkg --set samples.sample_id=COLUMN" in _error(shell, *words)
    assert "column code" in shell.run(*words, "--set", "samples.sample_id=code")
    assert "did you mean 'samples.ref_id'?" in _error(
        shell, *words, "--force", "--set", "samples.refid=code"
    )
    planned = shell.json("plan", *SMALL)
    assert planned["samples"] == 4
    assert planned["there"] is None
    result = shell.json("run", *SMALL)
    assert (result["expected"], result["received"], result["missing"]) == (4, 4, 0)
    # The same again does nothing; with a history, time is known. The folder says what it needs.
    before = (shell.folder / "patches" / "job_tracker.csv").read_text()
    assert "4 of 4 samples received" in shell.run("run", *SMALL)
    assert (shell.folder / "patches" / "job_tracker.csv").read_text() == before
    planned = shell.json("plan", *SMALL)
    assert planned["there"] == 4 and planned["seconds"] > 0
    longer = shell.json("plan", *SMALL, "--set", "recipe.period.after=15")  # 20 days, not 10
    assert longer["seconds"] == pytest.approx(2 * planned["seconds"])
    status = shell.json("status")
    assert status["jobs"] == {"finished": 1} and status["running"] is None
    assert "4 of 4" in shell.run("logs", "0")
    _look_for_logs_elsewhere(shell)
    assert shell.json("verify")["good"] == 12
    images = shell.json("preview", "--pages", "1")["images"]
    assert (shell.folder / images[0]).stat().st_size > 10_000
    (page,) = shell.json("preview", "--sample", "flanders_013")["images"]
    assert Path(page).name == "sample_flanders_013.png"
    # What is lost is found, and fetched again.
    found = (shell.folder / "patches").rglob("*flanders_013*.nc")
    patch = next(path for path in found if "LABEL" not in path.name)
    patch.unlink()
    found = shell.json("verify", status=1)
    assert [Path(path).name for path in found["lost"]] == [patch.name]
    settings = (shell.folder / "patches" / "gfmap.toml").read_text()
    shell.run("retry", "patches", "--refetch")
    assert shell.json("verify")["ok"]
    # What has another content only is found by its checksum; what was asked for once holds once.
    patch.write_bytes(bytes(reversed(patch.read_bytes())))
    assert shell.json("verify", status=1)["changed"]
    shell.run("retry", "patches", "--checksums")
    assert shell.json("verify")["ok"]
    assert (shell.folder / "patches" / "gfmap.toml").read_text() == settings


def _look_for_logs_elsewhere(shell: Shell) -> None:
    """Ask another back-end for the log of a job, which it does not know."""
    job, home = shell.json("logs", "0")["id"], shell.environment["OPENEO_GFMAP_HOME"]
    other = ServerProcess(shell.folder / "other").start()
    shell.environment["OPENEO_GFMAP_HOME"] = str(other.home)
    gone = _error(shell, "logs", "0", status=3)
    assert f"back-end 'local' at {other.known['url']}" in gone
    assert f"has no job {job}, which ran there for row 0" in gone
    assert f"keeps its jobs in OPENEO_GFMAP_HOME, which is {other.home} now" in gone
    other.stop()
    # One that was saved needs no back-end.
    saved = shell.folder / "patches" / "provenance" / f"title_{job}_0.log"
    saved.write_text("What was saved.\n")
    assert shell.run("logs", job) == "What was saved.\n"
    saved.unlink()
    shell.environment["OPENEO_GFMAP_HOME"] = home


def _error(shell: Shell, *words: str, status: int = 2) -> str:
    shell.run(*words, status=status)
    assert "Traceback" not in shell.errors
    return shell.errors


def test_wrong_input_ends_with_2_and_one_line(shell: Shell) -> None:
    assert "there is no gfmap.toml here" in _error(shell, "run")
    assert "name the output folder" in _error(shell, "status")
    assert "holds no tracker" in _error(shell, "status", ".")
    assert "[samples] path: there is no file " in _error(shell, "plan", "--samples", "none.gpkg")
    assert "has to read the windows" in _error(
        shell, "plan", "--samples", "fields.gpkg", "--backend", "cdse"
    )
    assert "is no SECTION.KEY=VALUE" in _error(
        shell, "plan", "--samples", "fields.gpkg", "--set", "size"
    )
    assert "neither .gpkg nor .parquet" in _error(shell, "split", "fields.gpkg", "--to", "jobs.csv")
    document = shell.json("status", ".", status=2)
    assert document["status"] == 2 and "holds no tracker" in document["error"]


def test_a_run_that_is_refused_leaves_the_settings_of_the_folder(shell: Shell) -> None:
    shell.run("run", "--samples", "fields.gpkg", *SMALL)
    settings = shell.folder / "patches" / "gfmap.toml"
    before = settings.read_text()
    fields = gpd.read_file(shell.folder / "fields.gpkg")
    fields[fields.extract > 0].head(1).to_file(shell.folder / "other.gpkg")
    refused = _error(shell, "run", "--samples", "other.gpkg", *SMALL)
    assert "[output] folder: row 0 of the table is not the row of that label" in refused
    assert "what was run is in the gfmap.toml there" in refused
    assert settings.read_text() == before
    (shell.folder / "file").touch()
    assert "the output folder" in _error(
        shell, "run", "--samples", "fields.gpkg", *SMALL, "-o", "file"
    )
    (shell.folder / "new" / "job_tracker.csv").mkdir(parents=True)
    _error(shell, "run", "--samples", "fields.gpkg", *SMALL, "-o", "new")
    assert not (shell.folder / "new" / "gfmap.toml").exists()


def test_settings_that_somebody_has_written_are_never_replaced(shell: Shell) -> None:
    shell.run("init", "fields.gpkg")
    written = (shell.folder / "gfmap.toml").read_text()
    shell.run("run", *SMALL, "--output", ".")
    assert (shell.folder / "gfmap.toml").read_text() == written
    assert shell.json("status", ".")["samples"]["received"] == 4


def on_a_terminal(shell: Shell, *words: str, **environment: str) -> str:
    """Return what a command shows on a terminal of 80 columns."""
    script = shlex.join([GFMAP, *words])
    done = subprocess.run(
        ["script", "-qec", f"stty cols 80; {script}", os.devnull], check=False,
        cwd=shell.folder, env={**shell.environment, "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(shutil.which("script") is None, reason="needs the command script")
def test_colours_are_for_terminals_that_want_them(shell: Shell) -> None:
    red = "\x1b[31m"
    assert red in on_a_terminal(shell, "status", "nowhere")
    assert "\x1b[" not in on_a_terminal(shell, "status", "nowhere", NO_COLOR="1")
    assert "\x1b[" not in _error(shell, "status", "nowhere")
    words = ["init", "fields.gpkg", "--force"]
    assert "Reading fields.gpkg" in on_a_terminal(shell, *words)
    assert "Reading" not in shell.run(*words) + shell.errors
    assert "Reading" not in on_a_terminal(shell, *words, "--quiet")


def test_quiet_says_nothing_and_verbose_says_where_errors_are_from(shell: Shell) -> None:
    assert shell.run("split", "fields.gpkg", "--quiet") + shell.errors == ""
    shell.run("plan", "--samples", "none.gpkg", "--verbose", status=2)
    assert "Traceback" in shell.errors and "there is no file" in shell.errors


def test_shells_complete_commands_options_and_back_ends(shell: Shell) -> None:
    assert set(backend_names()) == {each.value for each in Backend}
    shell.environment |= {"_GFMAP_COMPLETE": "complete_bash"}

    def completed(line: str) -> list[str]:
        shell.environment |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return shell.run().split()

    assert completed("gfmap re") == ["retry", "report"]
    assert completed("gfmap mer") == ["merge"]
    assert completed("gfmap merge all --on-clash re") == ["rename"]
    assert completed("gfmap run --para") == ["--parallel-jobs"]
    assert completed("gfmap run --backend cdse") == ["cdse", "cdse-staging"]


def test_rejected_samples_end_with_1_and_are_told(shell: Shell) -> None:
    words = ["run", "--samples", "fields.gpkg", *SMALL, "--set", "gates.min_dates=50"]
    result = shell.json(*words, status=1)
    assert (result["received"], result["rejected"]) == (0, 4)
    status = shell.json("status", "patches", status=1)
    assert "expected 50 or more" in status["reasons"][0]["reason"]
    assert status["errors"][0]["advice"]
    # The same gates would reject them again: they are only asked for when somebody insists.
    files = {path: path.stat().st_mtime_ns for path in shell.folder.rglob("quarantine/**/*.nc")}
    text = shell.run("retry", "patches", status=1)
    assert "Not asked for again: 4 samples" in text and "--rejected asks for them" in text
    assert "gfmap retry" in text.partition("Under other gates: ")[2]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    insisted = shell.json("retry", "patches", "--rejected", status=1)
    assert (insisted["rejected"], insisted["not_asked_again"]) == (4, 0)
    assert all(path.stat().st_mtime_ns > before for path, before in files.items())
    # Under other gates they pass, which hold from then on.
    text = shell.run("retry", "patches", "--set", "gates.min_dates=0")
    assert "Rejected samples that are asked for again: 4" in text
    assert shell.json("retry", "patches")["received"] == 4
    assert not any(path.exists() for path in files)


def a_collection(folder: Path, *names: str, checksum: str = "00") -> None:
    """Write a collection with an item for each name, all of one file."""
    items = [
        {
            "type": "Feature", "stac_version": "1.1.0", "stac_extensions": [], "links": [],
            "id": name, "bbox": [3.1, 50.6, 3.2, 50.7],
            "geometry": {"type": "Point", "coordinates": [3.15, 50.65]},
            "properties": {"datetime": "2021-05-01T00:00:00Z", "sample_id": name},
            "assets": {"data": {"href": f"{name}.nc", "file:checksum": "1220" + checksum * 32}},
        }
        for name in names
    ]  # fmt: skip
    write_collection(
        folder / "stac", enumerate(items), count=len(items), output_dir=folder,
        identifier=folder.name, description=f"Of {folder.name}.",
    )  # fmt: skip


def test_merging(shell: Shell) -> None:
    a_collection(shell.folder / "belgium", "a", "b")
    a_collection(shell.folder / "austria", "c", "d")
    a_collection(shell.folder / "again", "b", checksum="11")
    words = ["merge", "belgium", "austria"]
    assert "4 items of 2 collections are in all/collection.json" in shell.run(*words, "-o", "all")
    collection = json.loads((shell.folder / "all" / "collection.json").read_text())
    assert (collection["id"], collection["description"]) == ("belgium", "Of belgium.")
    # One by one, into what is there; the same id of other files is refused, or gets a name.
    clash = _error(shell, "merge", "all", "again", "-o", "all")
    assert "1 ids stand for different files in the collections: b. Say --on-clash rename" in clash
    merged = shell.json(
        "merge", "all", "again", "-o", "all", "--on-clash", "rename", "--id", "fields"
    )
    assert (merged["items"], merged["sources"]) == (5, ["all", "again"])
    collection = json.loads((shell.folder / merged["collection"]).read_text())
    assert collection["id"] == "fields"
    assert "belgium alone is nothing to merge" in _error(shell, "merge", "belgium", "-o", "x")
    assert "nowhere is no STAC collection" in _error(shell, "merge", "nowhere", "all", "-o", "x")
    (shell.folder / "austria" / "job_tracker.csv.sqlite").touch()
    for folder in ("austria", "austria/stac"):
        assert "austria holds a run, which writes its own" in _error(shell, *words, "-o", folder)
    assert not (shell.folder / "x").exists()


def test_splitting(shell: Shell) -> None:
    split = shell.json("split", "fields.gpkg", "--max-points", "10", "--to", "jobs.parquet")
    jobs = gpd.read_parquet(shell.folder / "jobs.parquet")
    assert jobs.job.nunique() == split["jobs"] >= 4
    assert sum(split["sizes"]) == len(jobs)
    assert "in 1 jobs" in shell.run("split", "fields.gpkg", "--by", "s2sphere", "--resolution", "3")


def test_doctor_tells_what_is_there_and_never_a_secret(shell: Shell) -> None:
    found = shell.json("doctor", "--backend", "local")
    assert found["ok"]
    by_name = {each["what"]: each["found"] for each in found["findings"]}
    assert sys.version.split()[0] == by_name["Python"]
    assert "openeo-gfmap" in by_name["packages"] and "GB free" in by_name["output folder"]
    assert "runs at http://127.0.0.1" in by_name["back-end local"]
    shell.environment |= {
        "OPENEO_GFMAP_URL_CDSE": "http://me:geheim@127.0.0.1:1/openeo",
        "OPENEO_AUTH_METHOD": "client_credentials",
        "OPENEO_AUTH_CLIENT_ID_CDSE": "an-id",
        "OPENEO_AUTH_CLIENT_SECRET_CDSE": "geheim",
    }
    text = shell.run("doctor", "--backend", "cdse", status=1)
    assert "http://127.0.0.1:1/openeo does not answer" in text
    assert "client credentials are set" in text
    assert "geheim" not in text + shell.errors
    assert "back-end 'moon' is not known" in _error(shell, "doctor", "--backend", "moon")


def _until(shell: Shell, states: set[str]) -> None:
    for _ in range(300):
        time.sleep(0.1)
        try:
            with RunFolder(shell.folder / "patches") as run:
                if states & {job.status.value for job in run.jobs()}:
                    return
        except Exception:  # not begun
            continue
    raise AssertionError(f"no job ever was {states}")


def test_what_a_killed_run_left_behind_is_cancelled(shell: Shell) -> None:
    # Scenes of five years are made on the way: the job runs for longer than this test.
    words = ["run", "--samples", "fields.gpkg", *SMALL, "--set", "recipe.period.before=1800"]
    process = shell.start(*words)
    _until(shell, {"queued", "running"})
    # While it goes on it can be looked at, but not steered.
    assert str(process.pid) in shell.json("status", "patches", status=1)["running"]
    assert "is run by process" in _error(shell, "cancel", "patches", status=3)
    process.kill()
    process.communicate()
    (shell.folder / "fields.gpkg").unlink()  # the folder is enough
    assert len(shell.json("cancel", "patches")["cancelled"]) == 1
    assert "canceled: cancelled by the user, with `gfmap cancel`" in shell.errors
    status = shell.json("status", "patches", status=1)
    assert status["jobs"] == {"canceled": 1} and status["samples"]["missing"] == 4
    assert status["reasons"] == [
        {"reason": "cancelled by the user, with `gfmap cancel`", "samples": 4}
    ]
    (error,) = status["errors"]
    assert error["kind"] == "canceled" and "a retry makes it anew" in error["advice"]
    assert shell.json("cancel", "patches") == {"cancelled": [], "left": 0}


def test_ctrl_c_ends_with_130_and_how_to_go_on(shell: Shell) -> None:
    words = ["run", "--samples", "fields.gpkg", *SMALL, "--set", "recipe.period.before=200"]
    process = shell.start(*words)
    _until(shell, {"queued", "running"})
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Run the same again to resume." in errors
    assert "Traceback" not in errors
    assert shell.json(*words)["received"] == 4
