"""The process that UDFs run in: what it may use, what it tells, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.engine import udf
from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.udf import UdfSession, run_udf
from openeo_gfmap.local.engine.udf_limits import UdfLimits
from openeo_gfmap.local.engine.udf_source import check_needs, with_udfs
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCollection, FakeReader
from support.graphs import Graph, callback, load, run, utm_box
from support.service import wait_for

GRID = GeoBox((4, 6), Affine(10, 0, 600000, 0, -10, 5700000), "EPSG:32631")
HEAD = "import logging, os, sys, time\nimport numpy as np\ndef apply_datacube(cube, context):\n"


def cube(value: float = 1) -> Cube:
    labels = {"t": np.array(["2023-04-02"], "datetime64[ns]"), "bands": np.array(["B02"])}
    data = np.full((1, 1, 4, 6), value, "float32")
    return Cube(data, ("t", "bands", "y", "x"), labels, GRID, None)


def call(body: str, **context: object) -> float:
    made = run_udf(HEAD + "".join(f"    {line}\n" for line in body.splitlines()), "Python",
                   cube(), context)  # fmt: skip
    return float(made.data.flat[0])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


class Log(list[tuple[str, str]]):
    def __call__(self, level: str, message: str) -> None:
        self.append((level, message))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def limited(log: Log) -> Iterator[UdfSession]:
    session = udf.use(UdfLimits(seconds=120, cpu_seconds=1, memory=700 * 2**20), log)
    yield session
    session.close()


class TestLimits:
    def test_time(self, log: Log) -> None:
        session = udf.use(UdfLimits(seconds=5), log)
        pid = int(call("a = cube.get_array(); a[:] = os.getpid(); return cube"))
        with pytest.raises(OpenEOError, match="longer than its limit of 5 s") as caught:
            call("time.sleep(60)")
        assert caught.value.code == "TimeLimitExceeded" and "udf_seconds" in caught.value.message
        assert is_gone(pid)
        assert call("return cube") == 1  # in a new one
        session.close()

    def test_cpu_time_of_each_call(self, limited: UdfSession) -> None:
        busy = "end = time.process_time() + {}\nwhile time.process_time() < end: pass\nreturn cube"
        for _ in range(3):  # each call has its own second
            assert call(busy.format(0.6)) == 1
        with pytest.raises(OpenEOError, match="more CPU time than its limit of 1 s") as caught:
            call(busy.format(30))
        assert caught.value.code == "TimeLimitExceeded"

    def test_memory(self, limited: UdfSession) -> None:
        with pytest.raises(OpenEOError, match="limit of 700 MB") as caught:
            call("big = np.ones(2**30, dtype='uint8'); return cube")
        assert caught.value.code == "MemoryLimitExceeded"
        assert call("return cube") == 1, "the process has survived it"

    def test_a_scratch_folder_of_its_own(self, limited: UdfSession) -> None:
        body = (
            "import tempfile\nlogging.warning('%s', os.getcwd())\n"
            "assert tempfile.gettempdir() == os.getcwd()\n"
            "kept = os.path.exists('x'); open('x', 'w').close()\n"
            "a = cube.get_array(); a[:] = kept; return cube"
        )
        assert [call(body), call(body)] == [0, 1]
        (folder, again) = (Path(message) for _, message in limited.log)  # type: ignore[attr-defined]
        assert folder == again != Path.cwd() and folder.exists()
        limited.close()
        assert not folder.exists()


class TestIsolation:
    def test_nothing_it_does_to_its_process_is_seen_here(self) -> None:
        call("os.environ['UDF_WAS_HERE'] = '1'; os.chdir('/'); np.mean = None; return cube")
        assert "UDF_WAS_HERE" not in os.environ and Path.cwd() != Path("/")
        assert np.mean([1, 3]) == 2

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ("os._exit(3)", "ended itself with exit status 3"),
            ("os.kill(os.getpid(), 9)", r"ended by signal 9 \(SIGKILL\). Most likely .* memory"),
            ("os.kill(os.getpid(), 11)", r"ended by signal 11 \(SIGSEGV\)"),
        ],
    )
    def test_its_death_is_an_error_of_the_udf(self, body: str, told: str) -> None:
        with pytest.raises(OpenEOError, match=told) as caught:
            call(body)
        assert caught.value.code == "UdfError"
        assert call("return cube") == 1

    def test_it_ends_with_the_process_that_started_it(self, tmp_path: Path) -> None:
        note = tmp_path / "pid"
        body = f"open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
        code = (
            "import sys; sys.path[:0] = sys.argv[1:]\n"
            "from integration.test_udf_process import call\n"
            f"call({body!r})"
        )
        tests = str(Path(__file__).parents[1])
        parent = subprocess.Popen([sys.executable, "-c", code, tests])
        try:
            wait_for(lambda: note.exists() and note.read_text())
        finally:
            parent.send_signal(signal.SIGKILL)
            parent.wait()
        wait_for(lambda: is_gone(int(note.read_text())), 5)

    def test_results_are_ones_own(self) -> None:
        """Memory is shared on the way: no call may see or change what another one got."""
        double = HEAD + "    a = cube.get_array(); KEPT.append(a); a *= 2; return cube\nKEPT = []\n"
        first, second = (run_udf(double, "Python", cube(v), {}) for v in (3, 50))
        assert (first.data == 6).all() and (second.data == 100).all()
        first.data[:] = 0
        kept = double.replace("a *= 2", "a[:] = KEPT[0]")
        assert (run_udf(kept, "Python", cube(7), {}).data == 7).all()
        assert (second.data == 100).all()


class TestMessages:
    def test_the_way_to_an_error(self) -> None:
        code = (
            "def apply_datacube(cube, context):\n    return outer(cube)\n"
            "def outer(cube):\n    return inner(cube, 0)\n"
            "def inner(cube, by):\n    return 1 / by\n"
        )
        with pytest.raises(OpenEOError) as caught:
            run_udf(code, "Python", cube())
        assert caught.value.message.splitlines() == [
            "The UDF failed at line 6 in `return 1 / by`: ZeroDivisionError: division by zero",
            "  called from line 4 in outer: return inner(cube, 0)",
            "  called from line 2 in apply_datacube: return outer(cube)",
        ]

    def test_log_records(self, limited: UdfSession, log: Log) -> None:
        call("logging.getLogger('a.b').info('one %d', 1); logging.debug('no'); return cube")
        call("logging.error('two'); logging.warning('three'); return cube")
        assert log == [("info", "one 1"), ("error", "two"), ("warning", "three")]

    def test_a_flood_of_records(self, limited: UdfSession, log: Log) -> None:
        call("for i in range(5000): logging.warning('%d', i)\nreturn cube")
        assert len(log) == 201 and "more than 200" in log[-1][1]
        call("logging.warning('again'); return cube")
        assert log[-1] == ("warning", "again")

    def test_without_a_job_they_go_to_this_process(self, caplog: pytest.LogCaptureFixture) -> None:
        udf.use(UdfLimits(), UdfSession().log)
        with caplog.at_level(logging.INFO):
            call("logging.warning('here'); return cube")
        assert "here" in caplog.text


def header(*lines: str) -> str:
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", ""]) + HEAD


class TestDependencies:
    def test_what_is_there(self) -> None:
        needs = ("dependencies = [", '  "numpy>=1.26",', '  "Scikit_Image",', "]")
        check_needs(header('requires-python = ">=3.11"', *needs))
        check_needs("# /// other\n# x\n# ///\n" + HEAD)
        check_needs(header("dependencies = [\"no-such>=1; python_version < '3'\"]"))

    @pytest.mark.parametrize(
        ("lines", "told"),
        [
            (['dependencies = ["no-such-a>=2", "numpy>=99", "no-such-b"]'],
             r"needs no-such-a>=2 \(not installed\); numpy>=99 \(installed is .*\); no-such-b \("),
            (['requires-python = ">=3.99"'], r"needs Python >=3.99 \(this is 3\."),
        ],
    )  # fmt: skip
    def test_all_that_is_missing_is_named(self, lines: list[str], told: str) -> None:
        with pytest.raises(OpenEOError, match=told) as caught:
            check_needs(header(*lines))
        assert caught.value.code == "UdfDependencyMissing"

    @pytest.mark.parametrize(
        ("lines", "told"),
        [
            (["dependencies = numpy"], "not TOML"),
            (['dependencies = "numpy"'], "write a list"),
            (['dependencies = ["=="]'], "dependency '=='"),
            (['requires-python = "new"'], "requires-python is 'new'"),
        ],
    )
    def test_headers_that_cannot_be_read(self, lines: list[str], told: str) -> None:
        with pytest.raises(OpenEOError, match=told) as caught:
            check_needs(header(*lines))
        assert caught.value.code == "UdfError"
        with pytest.raises(OpenEOError, match="several blocks"):
            check_needs(header("x = 1") + header("x = 1"))

    def test_it_is_told_before_anything_is_read(self, tmp_path: Path) -> None:
        reader = FakeReader(FakeCollection())
        file = tmp_path / "mine.py"
        file.write_text(header('dependencies = ["no-such"]'))
        for code in (file.read_text(), str(file)):
            g = Graph()
            process = callback("run_udf", data={"from_parameter": "data"}, udf=code,
                               runtime="Python")  # fmt: skip
            place = utm_box(500000, 5600000, 120, 80)
            ref = g.apply_dimension(data=load(g, ["B02"], place), process=process, dimension="t")
            with pytest.raises(OpenEOError, match=r"no-such \(not installed\)") as caught:
                run(g.result(ref), tmp_path / "out", reader=reader)
            assert caught.value.code == "UdfDependencyMissing"
            assert caught.value.node == ref["from_node"]
        assert not reader.reads

    def test_files_are_put_into_the_graph(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text(HEAD)
        node = {"process_id": "run_udf", "arguments": {"udf": str(file), "runtime": "Python"}}
        graph = {
            "a": {"process_id": "apply", "arguments": {"process": {"process_graph": {"u": node}}}}
        }
        found = with_udfs(graph, Path)
        assert found["a"]["arguments"]["process"]["process_graph"]["u"]["arguments"]["udf"] == HEAD
        assert node["arguments"]["udf"] == str(file)
        assert with_udfs(graph, None) == graph
