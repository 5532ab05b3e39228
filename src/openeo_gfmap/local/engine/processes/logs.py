"""Words to the job's log."""

from __future__ import annotations

from typing import Annotated, Any

from ..cube import Array
from ..features import Features
from ..meta import CubeMeta, Unknown
from ..plan import Call, PlanContext, Rule, Scope
from ..registry import AnyValue, Schema, Text, process

_LEVELS = {"error": "error", "warning": "warning", "info": "info", "debug": "debug"}
# Characters of a value that go into the log.
_MOST = 500

Anything = Annotated[
    Any, Schema([{"type": "object", "subtype": "datacube"}, {"description": "Any data type."}])
]


def _meta(call: Call, context: PlanContext) -> Any:
    level = call.args["level"]
    if level not in _LEVELS:
        raise call.invalid("level", f"is {level!r}; use one of {', '.join(_LEVELS)}")
    data = call.args["data"]
    if not isinstance(data, Unknown):
        context.env.log(level, _text(call.node.id, call.args, _described(data)))
    return data


def _text(node: str, args: Any, described: str) -> str:
    parts = [args.get("code"), args.get("message"), described]
    return f"Node {node!r}: " + " | ".join(str(p) for p in parts if p)


def _described(data: Any) -> str:
    if isinstance(data, CubeMeta):
        bands = "" if data.bands is None else f", bands {', '.join(map(str, data.bands))}"
        kind = "data cube" if "x" in data.dims else "values per feature"
        return (
            f"{kind} with the dimensions {', '.join(data.dims)}{bands}, pixels of "
            f"{data.grid.resolution:g} in {data.grid.crs}"
        )
    if isinstance(data, Features):
        return f"{len(data)} features in {data.crs}"
    if isinstance(data, Array):
        data = data.values.tolist()
    text = repr(data)
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


@process(plan=Rule(meta=_meta))
def inspect(
    data: Anything,
    message: Text = "",
    code: Text = "User",
    level: Text = "info",
    *,
    env: Any = None,
) -> AnyValue:
    """Write to the job's log what a node gives.

    A value is written out, of a cube its dimensions, bands and pixel grid, once for the job.
    Inside callbacks values are pixels, of which nothing is written.

    Parameters
    ----------
    data
        A cube or any value.
    message
        A text to go with it.
    code
        A word to find the entry by.
    level
        error, warning, info or debug.

    Returns
    -------
    AnyValue
        The data, unchanged.
    """
    if isinstance(env, Scope) and env.window is None and env.call is None and not _pixels(data):
        env.env.log(level, _text("callback", {"message": message, "code": code}, _described(data)))
    return data


def _pixels(data: Any) -> bool:
    return bool(getattr(data, "ndim", 0)) or isinstance(data, Array)
