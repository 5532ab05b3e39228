"""How something shown in a notebook keeps itself up to date."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from openeo_gfmap.manager import _log

__all__ = ["show_live"]

_PERIOD: Final = 1.0  # seconds between two looks


def show_live(
    html: Callable[[], str], text: Callable[[], str], wait: Callable[[float], bool]
) -> None:
    """Show something in the notebook, and anew whenever it has changed, until it is over.

    Returns at once: a thread does the rest.

    Parameters
    ----------
    html, text : callable
        Give what to show now, where HTML is shown and where not.
    wait : callable
        Waits for the end, at most so many seconds; returns whether it is over.

    Raises
    ------
    NotImplementedError
        When no notebook is there to show it; IPython takes the `repr` then.
    """
    shell = _shell()
    if shell is None:
        raise NotImplementedError
    from IPython.display import display  # noqa: PLC0415

    def now() -> dict[str, str]:
        return {"text/html": html(), "text/plain": text()}

    shown = now()
    handle = display(  # type: ignore[no-untyped-call]
        shown, raw=True, display_id=True
    )

    def follow(shown: dict[str, str]) -> None:
        over = False
        try:
            while not over:
                over = wait(_PERIOD)
                if (new := now()) != shown:
                    handle.update(new, raw=True)
                    shown = new
        except Exception:  # noqa: BLE001 - the notebook is gone; the run is not to suffer
            _log.debug("The notebook does not show the run any longer.", exc_info=True)

    threading.Thread(target=follow, args=(shown,), name="gfmap-notebook", daemon=True).start()


def _shell() -> Any:
    """Return the shell of a notebook's kernel; None anywhere else."""
    import sys  # noqa: PLC0415

    ipython = sys.modules.get("IPython")  # whoever runs in it has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None
