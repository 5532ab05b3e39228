"""Rejected samples: for which of them asking again can bring something else."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.manager.ledger import Sample, SampleState
from openeo_gfmap.manager.quarantine import FOLDER, REASON
from openeo_gfmap.manager.register import FAILED
from openeo_gfmap.quality import QualityGates

__all__ = ["Again", "to_ask_again"]


@dataclass(frozen=True)
class Again:
    """What there is to ask for again.

    Attributes
    ----------
    rows
        Positions of the failed jobs that may bring something else.
    rejected
        How many rejected samples are in them.
    spared
        How many rejected samples are in the others: the same gates would reject them again.
    """

    rows: frozenset[int]
    rejected: int
    spared: int


def to_ask_again(run: RunFolder, gates: QualityGates | None, *, rejected: bool = False) -> Again:
    """Tell which failed jobs are worth another try.

    Those that lack nothing but samples which the same gates have rejected are not. A job is asked
    for as a whole: where it lacks another sample, too, rejected ones come along.

    Parameters
    ----------
    run : RunFolder
        The run.
    gates : QualityGates, optional
        Those that hold now; compared with those that rejected each file.
    rejected : bool
        Ask for rejected samples in any case.
    """
    now = None if gates is None else _plain(gates.to_dict())
    last = run.asked().get("gates")
    failed = {job.row for job in run.jobs() if job.status in FAILED}
    rows = set(failed)
    counts: defaultdict[int, int] = defaultdict(int)
    worth: set[int] = set()
    for sample in run.samples():
        if sample.row not in failed or sample.state is SampleState.RECEIVED:
            continue
        if sample.state is not SampleState.REJECTED:
            worth.add(sample.row)
            continue
        counts[sample.row] += 1
        if rejected or _gates_of(run.output_dir, sample, last) != now:
            worth.add(sample.row)
    spared = counts.keys() - worth
    rows -= spared
    return Again(
        frozenset(rows),
        sum(counts[row] for row in counts.keys() & rows),
        sum(counts[row] for row in spared),
    )


def _gates_of(output_dir: Path, sample: Sample, last: Any) -> Any:
    """Return the gates that rejected a sample; those of the last run where nothing tells them."""
    if sample.path is None or Path(sample.path).parts[0] != FOLDER:
        return last  # a post-job action left it out
    try:
        document = json.loads((output_dir / f"{sample.path}{REASON}").read_bytes())
    except (OSError, ValueError):
        return last
    return document.get("gates", last) if isinstance(document, dict) else last


def _plain(gates: dict[str, Any]) -> Any:
    """Return gates as they are after they were written and read."""
    return json.loads(json.dumps(gates, default=str))
