"""Files that do not pass the quality gates, kept apart with the reason.

A file goes to ``quarantine/<its path>``, and the reason to ``<name>.reason.json`` beside it. The
reason is written first: where a file is, its reason is, too. After a kill in between the job's
files are fetched, inspected and put away again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeo_gfmap.files import whole
from openeo_gfmap.manager import results
from openeo_gfmap.quality import Finding, QualityGates, inspect

if TYPE_CHECKING:
    from openeo_gfmap.stac.items import CubeFile

__all__ = ["FOLDER", "REASON", "Quarantine"]

FOLDER: Final = "quarantine"
REASON: Final = ".reason.json"


@dataclass(frozen=True)
class Quarantine:
    """The gates of a run, and the place for what does not pass them.

    Attributes
    ----------
    output_dir
        Output folder of the run.
    gates
        What a file must be; None lets all files pass.
    """

    output_dir: Path
    gates: QualityGates | None

    def inspect(
        self, path: Path, cube: CubeFile | None, *, start: Any, end: Any
    ) -> tuple[Finding, ...]:
        """Return what is wrong with a file of a period, as the user's row says it, if it does."""
        if self.gates is None:
            return ()
        try:
            return inspect(path, cube, self.gates, start=_day(start), end=_day(end))
        except (OSError, KeyError, RuntimeError) as error:  # what h5py raises on a bad file
            return (Finding("opens", f"does not open: {error}"),)

    def put(self, source: Path, path: str, findings: Sequence[Finding], **facts: Any) -> str:
        """Put a file away; return where it is, relative to the output folder.

        Parameters
        ----------
        source : Path
            The file.
        path : str
            Where it would have gone, relative to the output folder.
        findings : sequence of Finding
            Why not.
        facts
            What else stands in the reason.
        """
        # What an earlier attempt left there is as old as the file that it had.
        (self.output_dir / path).unlink(missing_ok=True)
        target = self.output_dir / FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        reason = target.with_name(target.name + REASON)
        document = {
            "path": path,
            **facts,
            "findings": [asdict(finding) for finding in findings],
            "gates": None if self.gates is None else self.gates.to_dict(),
        }
        with whole(reason) as part:
            part.write_text(json.dumps(document, indent=1), "utf-8")
            results.sync(part)
        results.move(source, target)
        results.sync(target.parent)
        return f"{FOLDER}/{path}"

    def clear(self, path: str) -> None:
        """Remove what is there of an earlier file that has passed now."""
        target = self.output_dir / FOLDER / path
        target.unlink(missing_ok=True)
        target.with_name(target.name + REASON).unlink(missing_ok=True)


def _day(value: Any) -> str | None:
    """Return a date of the user's row as ISO text; None when it is none."""
    try:
        return date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError:
        return None
