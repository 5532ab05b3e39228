"""Draw the life of a job from the table that the job manager goes by.

The diagram and the tables in ``docs/life-of-a-job.md`` are made from
`openeo_gfmap.manager.lifecycle`, between the marks in that page::

    python tools/draw_lifecycle.py docs/life-of-a-job.md

A test checks that page and code agree.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_args

from openeo_gfmap.manager import lifecycle as life
from openeo_gfmap.manager.lifecycle import Job, JobStatus

# States that share most of what can happen to them are drawn in a box.
BOXES = {
    "there": ("on the back-end", [s for s in life.TRANSITIONS if life.Seen in life.TRANSITIONS[s]]),
    "failed": ("failed", [s for s in life.TRANSITIONS if life.Retried in life.TRANSITIONS[s]]),
}

Edges = dict[tuple[str, str], list[str]]


def transitions() -> Iterator[tuple[JobStatus, str, JobStatus]]:
    """Iterate over state, event and next state; what `Seen` leads to is told word by word."""
    for state, events in life.TRANSITIONS.items():
        for event, target in events.items():
            if isinstance(target, JobStatus):
                yield state, event.__name__, target
            else:
                for word, remote in target.items():
                    yield state, f"{event.__name__} “{word}”", remote


def edges() -> Edges:
    """Return the labels of each arrow; what happens to all states of a box starts at the box."""
    by_event: dict[tuple[str, JobStatus], list[JobStatus]] = defaultdict(list)
    for state, event, target in transitions():
        by_event[event, target].append(state)
    drawn: Edges = defaultdict(list)
    for (event, target), states in by_event.items():
        left = list(states)
        for box, (_, members) in BOXES.items():
            if set(members) <= set(left):
                left = [state for state in left if state not in members]
                if target not in members:
                    drawn[box, name(target)].append(event)
        for state in left:
            if state is not target:
                drawn[name(state), name(target)].append(event)
    # Within the box, a job goes on as the back-end says; drawn in the usual order.
    _, there = BOXES["there"]
    for earlier, later in pairwise(there):
        drawn[name(earlier), name(later)].append("Seen")
    return drawn


def name(state: JobStatus) -> str:
    """Return a state's name as Mermaid takes it."""
    return state.value.replace("-", "_")


def diagram() -> str:
    """Return a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    direction TB", f"    [*] --> {name(Job(0).status)}"]
    for state in life.TRANSITIONS:
        if name(state) != state.value:
            lines.append(f'    state "{state.value}" as {name(state)}')
    for box, (title, members) in BOXES.items():
        inner = [f"        {name(state)}" for state in members]
        lines += [f'    state "{title}" as {box} {{', *inner, "    }"]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in edges().items()]
    ends = [state for state, events in life.TRANSITIONS.items() if not events]
    ends.append(JobStatus.FINISHED)
    lines += [f"    {name(state)} --> [*]" for state in ends]
    return "\n".join(["```mermaid", *lines, "```"])


def action(state: JobStatus, *, overdue: bool = False) -> type[object] | None:
    """Return what the planner does about a job in a state."""
    job = Job(0, state, backend="b", id="j", mark="m")
    limits = life.Limits({"b": 1}, overdue=frozenset([job.row] if overdue else []))
    return next((type(each) for each in life.plan([job], limits)), None)


def said(kind: type[object]) -> str:
    """Return the first sentence of a class's documentation, as a part of a sentence."""
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    # What follows is about fields: of interest to who reads the code.
    text = re.split(r"\. |\.$|; (?=`)", text)[0]
    return text[0].lower() + text[1:]


def states() -> str:
    """Return a table of the states and of what is done about a job in each."""
    lines = ["| state | in the tracker | what is done next |", "|-|-|-|"]
    for state in life.TRANSITIONS:
        todo = action(state)
        next_ = f"**{todo.__name__}**: {said(todo)}" if todo else "nothing"
        if (late := action(state, overdue=True)) is not todo and late is not None:
            next_ += f"; when it runs for too long, **{late.__name__}**: {said(late)}"
        lines.append(f"| `{state.value}` | `{state.shown}` | {next_} |")
    return "\n".join(lines)


def events() -> str:
    """Return a table of the events: what each means, and where it leads from where."""
    lines = ["| event | what happened | leads from … to … |", "|-|-|-|"]
    for event in get_args(life.Event):
        routes: dict[str, list[str]] = defaultdict(list)
        for state, table in life.TRANSITIONS.items():
            if event in table:
                target = table[event]
                where = "the state of that word" if not isinstance(target, JobStatus) else (
                    "itself" if target is state else f"`{target.value}`"
                )  # fmt: skip
                routes[where].append(f"`{state.value}`")
        told = "; ".join(f"{', '.join(sources)} → {where}" for where, sources in routes.items())
        lines.append(f"| {event.__name__} | {said(event)} | {told} |")
    words = ", ".join(f"“{word}” is `{state.value}`" for word, state in life.REMOTE.items())
    return "\n".join([*lines, "", f"The back-end's words: {words}. Any other changes nothing."])


PARTS = {"diagram": diagram, "states": states, "events": events}


def page_of(text: str) -> str:
    """Return a page with its drawn parts made anew."""
    for part, make in PARTS.items():
        begin, end = f"<!-- drawn: {part} -->\n", f"\n<!-- end: {part} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"the page has no place for {part!r}; put {begin!r}, {end!r} there")
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def main(pages: list[str]) -> None:
    """Draw anew what is drawn in each page."""
    for page in map(Path, pages):
        page.write_text(page_of(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main(sys.argv[1:])
