"""How a job's limits become settings of the engine."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from openeo_gfmap.local.engine.reader import Reader
from openeo_gfmap.local.joblog import JobLog
from openeo_gfmap.local.worker import Request, environment

GIB = 1024**3


@pytest.mark.parametrize(
    ("memory", "workers", "arrays", "blocks"),
    [(GIB, 1, GIB // 4, GIB // 4), (GIB, 2, GIB // 8, GIB // 8), (16 * GIB, 2, 2 * GIB, GIB // 2)],
)
def test_arrays_and_blocks_of_all_processes_take_half_of_the_memory(
    tmp_path: Path, memory: int, workers: int, arrays: int, blocks: int
) -> None:
    folder = str(tmp_path)
    request = Request(
        {}, folder, folder, folder,
        max_file=GIB, memory=2 * memory, share=memory, workers=workers,
        udf_seconds=60, udf_cpu_seconds=60, udf_memory=GIB,
    )  # fmt: skip
    env = environment(request, tmp_path, JobLog(tmp_path / "log.jsonl", "info"))
    assert env.memory == arrays
    assert pickle.loads(pickle.dumps(env)).open_reader.keywords == {"cache_bytes": blocks}
    assert isinstance(env.open_reader(), Reader)
    assert workers * (arrays + blocks) <= memory // 2
