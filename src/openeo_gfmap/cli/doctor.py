"""`gfmap doctor`: is everything there that a run needs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

import typer

from openeo_gfmap.cli.arguments import backend_names
from openeo_gfmap.cli.out import Exit, Json, Quiet, Verbose, speaking

__all__ = ["Finding", "doctor", "free_space"]

_PACKAGES: Final = (
    "openeo-gfmap",
    "openeo",
    "geopandas",
    "numpy",
    "pandas",
    "xarray",
    "h5py",
    "pystac",
)
_EXTRAS: Final = {
    "local": ("starlette", "rasterio", "isal"),
    "report": ("matplotlib", "jinja2"),
    "distributed": ("distributed", "obstore"),
    "inference": ("onnxruntime",),
}
_ROOM: Final = 5e9  # bytes; less is soon full
_SECONDS: Final = 5  # for a back-end to answer
#: Suffix of the variables of each back-end.
_SUFFIXES: Final = {
    "cdse": "CDSE", "cdse-staging": "CDSE_STAGING", "terrascope": "VITO", "eodc": "EODC",
    "fed": "FED",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what
        Such as "back-end cdse".
    state
        "ok", "note" (all right unless you need it) or "bad".
    found
        How it stands.
    advice
        What to do about it; empty for nothing.
    """

    what: str
    state: str
    found: str
    advice: str = ""


def doctor(
    *,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            "-b",
            help="Only these; by default all.",
            autocompletion=backend_names,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder that results shall go to.")
    ] = Path(),
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at versions, disk, back-ends and log-ins; say what to do.

    Ends with 1 when something is wrong that every run needs, or a back-end that was named does not
    answer.

    Example: gfmap doctor --backend cdse
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        with out.working("Asking the back-ends"):
            found = [*_versions(), *_room(output), *_backends(backend)]
        marks = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}
        for each in found:
            mark, style = marks[each.state]
            out.say(f"{mark}  {each.what}: {each.found}", style=None if mark == "ok  " else style)
            if each.advice:
                out.say(f"      {each.advice}")
        is_bad = any(each.state == "bad" for each in found)
        out.document({"ok": not is_bad, "findings": [asdict(each) for each in found]})
        out.end(Exit.INCOMPLETE if is_bad else Exit.OK)


def _versions() -> Iterator[Finding]:
    version = sys.version.split()[0]
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = (
        "" if supported else "openeo-gfmap is tested with Python 3.11 to 3.13; use one of them."
    )
    yield Finding("Python", "ok" if supported else "note", version, advice)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    yield Finding("packages", "ok", versions)
    for extra, packages in _EXTRAS.items():
        absent = [name for name in packages if not _is_there(name)]
        if absent:
            advice = f'For it: pip install "openeo-gfmap[{extra}]"'
            yield Finding(f"extra {extra}", "note", f"without {', '.join(absent)}", advice)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _is_there(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def free_space(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def _room(output: Path) -> Iterator[Finding]:
    from openeo_gfmap.launcher import state_folder  # noqa: PLC0415

    for what, folder in (
        ("output folder", output),
        ("state of the local back-end", state_folder()),
    ):
        place, free = _existing(folder), free_space(folder)
        text = f"{folder.absolute()}, {free / 1e9:,.1f} GB free"
        if not os.access(place, os.W_OK):
            yield Finding(what, "bad", text, f"You may not write to {place}: name another folder.")
        elif free < _ROOM:
            yield Finding(what, "note", text, "That is little: make room, or name another folder.")
        else:
            yield Finding(what, "ok", text)


def _backends(chosen: list[str] | None) -> Iterator[Finding]:
    from openeo_gfmap.backend import Backend  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    known = [each.value for each in Backend]
    for name in chosen or ():
        if name not in known:
            raise InputError(f"back-end {name!r} is not known; there are {', '.join(known)}.")
    names = chosen or known
    with ThreadPoolExecutor(len(names)) as pool:
        for found in pool.map(lambda name: list(_backend(name, needed=bool(chosen))), names):
            yield from found


def _backend(name: str, *, needed: bool) -> Iterator[Finding]:
    what = f"back-end {name}"
    if name == "local":
        yield _local(what)
        return
    suffix = _SUFFIXES[name]
    url = _address(suffix)
    yield _reachable(what, url, needed=needed)
    yield _credentials(f"log-in at {name}", suffix, url)


def _local(what: str) -> Finding:
    from openeo_gfmap.launcher import running_server, state_folder  # noqa: PLC0415

    if any(not _is_there(package) for package in _EXTRAS["local"]):
        return Finding(what, "note", "not installed", 'For it: pip install "openeo-gfmap[local]"')
    server = running_server(state_folder())
    return Finding(
        what, "ok", f"runs at {server.url}" if server else "starts by itself when it is used"
    )


def _address(suffix: str) -> str:
    """Return where a back-end is, without the password that the variable may hold."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    from openeo_gfmap.backend import ADDRESSES  # noqa: PLC0415

    parts = urlsplit(os.environ.get(f"OPENEO_GFMAP_URL_{suffix}") or ADDRESSES[suffix])
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _reachable(what: str, url: str, *, needed: bool) -> Finding:
    import requests  # noqa: PLC0415

    if url == "local":
        return Finding(what, "ok", "is the embedded back-end, by its variable")
    state = "bad" if needed else "note"
    try:
        answer = requests.get(url, timeout=_SECONDS)
        version = answer.json().get("api_version")
    except requests.RequestException as error:
        reason = type(error).__name__
        advice = "Check the network, a proxy (HTTPS_PROXY), and whether the service is down."
        return Finding(what, state, f"{url} does not answer ({reason})", advice)
    except (ValueError, AttributeError):
        return Finding(what, state, f"{url} answers, but not as openEO", "Check the address.")
    if version is None:
        return Finding(what, state, f"{url} answers with {answer.status_code}", "Try again later.")
    return Finding(what, "ok", f"{url}, openEO {version}")


def _credentials(what: str, suffix: str, url: str) -> Finding:
    if url == "local":
        return Finding(what, "ok", "none needed")
    if os.environ.get("OPENEO_AUTH_METHOD") == "client_credentials":
        names = [f"OPENEO_AUTH_CLIENT_{part}_{suffix}" for part in ("ID", "SECRET")]
        unset = [name for name in names if not os.environ.get(name)]
        if not unset:
            return Finding(what, "ok", "client credentials are set")
        return Finding(
            what, "note", f"{', '.join(unset)} is not set", "Set it, or log in yourself."
        )
    if _has_refresh_token():
        return Finding(what, "ok", "logged in before; the client remembers")
    return Finding(
        what, "note", "not logged in yet",
        "The first connection prints an address to open in a browser.",
    )  # fmt: skip


def _has_refresh_token() -> bool:
    """Tell whether the openEO client remembers anybody; it keeps them by issuer, not address."""
    from openeo.rest.auth.config import RefreshTokenStore  # noqa: PLC0415

    path = RefreshTokenStore().path
    return path.is_file() and path.stat().st_size > len("{}")
