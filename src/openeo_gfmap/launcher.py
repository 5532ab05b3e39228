"""Start the embedded back-end when none serves a state folder, else find the one that does.

The two sides share no code: the server is a child process (``python -m openeo_gfmap.local``) that
writes address and password into ``local/server.json`` in the state folder, for this user only.

File locks make several processes that ask at the same time get the same server. They come from
``fcntl``: Linux and macOS, and on Windows the Subsystem for Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from openeo_gfmap.errors import BackendUnavailable

__all__ = ["ServerInfo", "ensure_local_server", "running_server", "state_folder"]

#: A server started from here ends by itself after so long without request and job.
IDLE_SECONDS = 15 * 60

# How long a server may take to come up: its imports, on a slow disk, while the machine is busy.
_START_SECONDS = 90.0
_LOG_TAIL = 3000

# The servers this process has started, kept so that they are waited for when they end.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ServerInfo:
    """A running server.

    Attributes
    ----------
    url
        Address for ``openeo.connect``.
    user, password
        For ``authenticate_basic``.
    pid
        Its process.
    version
        Version of the package it runs.
    settings
        What it was started with.
    environment
        The variables that it read, as they stood.
    """

    url: str
    user: str
    password: str = field(repr=False)
    pid: int
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def state_folder() -> Path:
    """Return the default state folder: ``OPENEO_GFMAP_HOME``, else the platform's user data."""
    chosen = os.environ.get("OPENEO_GFMAP_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "openeo-gfmap"


def running_server(home: Path | None = None) -> ServerInfo | None:
    """Return the server of a state folder if one runs and answers, else None."""
    try:
        info = _read((home or state_folder()) / "local" / "server.json")
    except (OSError, ValueError, TypeError, KeyError):
        # No server, or one killed half-way through an update of an older package.
        return None
    return info if _answers(info) else None


def ensure_local_server(
    home: Path | None = None, idle_seconds: float | None = None, **settings: Any
) -> ServerInfo:
    """Return the server of a state folder, started if need be.

    Parameters
    ----------
    home
        State folder; :func:`state_folder` by default.
    idle_seconds
        A server that is started here ends after so long without use; 15 minutes by default,
        0 for never. No matter for one that runs already.
    **settings
        Other options of ``python -m openeo_gfmap.local`` for a server that is started here:
        ``port``, ``parallel_jobs``, ``job_memory``, ``job_seconds``, ``sync_seconds``, and
        ``sources``, a mapping of collection id to folder or URL. A server that runs already must
        have been started with the same values.

    Returns
    -------
    ServerInfo
        Address and credentials.

    Raises
    ------
    BackendUnavailable
        When the server does not come up (the message holds the end of its log), or runs with
        other settings than asked for.
    """
    home = (home or state_folder()).expanduser().absolute()
    wanted = {name: value for name, value in settings.items() if value is not None}
    info = running_server(home)
    if info is None or info.version != version("openeo_gfmap"):
        info = _start_one(home, IDLE_SECONDS if idle_seconds is None else idle_seconds, wanted)
    _check_settings(info, home, wanted)
    _check_environment(info, home, given=wanted)
    return info


def _start_one(home: Path, idle_seconds: float, settings: Mapping[str, Any]) -> ServerInfo:
    state = home / "local"
    state.mkdir(parents=True, exist_ok=True)
    with _locked(state / "launch.lock"):
        # Whoever held the lock before may have started it.
        info = running_server(home)
        if info is not None and info.version == version("openeo_gfmap"):
            return info
        if info is not None:
            # The package was upgraded under a running server. Its jobs go on with the new one,
            # which also keeps address and password.
            _end(info)
        log = state / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable,
                    "-m",
                    "openeo_gfmap.local",
                    *_arguments(home, idle_seconds, settings),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=state,
                # Outlives this process, and is not hit by a Ctrl-C meant for it.
                start_new_session=True,
            )
        _started.append(process)
        return _wait_for(process, home, log)


def _arguments(home: Path, idle_seconds: float, settings: Mapping[str, Any]) -> Iterator[str]:
    yield from ("--home", str(home), "--idle-seconds", str(idle_seconds))
    for name, value in settings.items():
        if name == "sources":
            for collection, address in value.items():
                yield from ("--source", f"{collection}={address}")
        else:
            yield from (f"--{name.replace('_', '-')}", str(value))


def _wait_for(process: subprocess.Popen[bytes], home: Path, log: Path) -> ServerInfo:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        info = running_server(home)
        if info is not None:
            return info
        status = process.poll()
        if status is not None:
            raise BackendUnavailable(
                f"The local back-end ended at once with exit status {status}. The end of its log, "
                f"{log}:\n{_tail(log)}"
            )
        time.sleep(0.05)
    raise BackendUnavailable(
        f"The local back-end (process {process.pid}) did not answer within {_START_SECONDS:.0f} s. "
        f"The end of its log, {log}:\n{_tail(log)}"
    )


def _check_settings(info: ServerInfo, home: Path, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        actual = info.settings.get(name)
        same = dict(actual) == dict(value) if isinstance(actual, dict) else actual == value
        if name in info.settings and not same and not (name == "port" and not value):
            raise BackendUnavailable(
                f"The local back-end of {home} runs with {name} = {actual!r}, and {value!r} was "
                f"asked for. Stop it (process {info.pid}), or give another state folder: "
                "home=… or the environment variable OPENEO_GFMAP_HOME."
            )


def _check_environment(info: ServerInfo, home: Path, *, given: Mapping[str, Any]) -> None:
    """Refuse a server that was started before a variable got its present value.

    Else a user who has just set OPENEO_GFMAP_SOURCES would go on getting other scenes.
    """
    for name in info.settings:
        variable = f"OPENEO_GFMAP_{name.upper()}"
        text = os.environ.get(variable)
        if not text or name in _NOT_COMPARED or name in given:
            continue
        if text != info.environment.get(variable) and not _means(text, info.settings[name]):
            raise BackendUnavailable(
                f"{variable} is {text!r}, but the local back-end of {home} runs with "
                f"{info.settings[name]!r}. Stop it (process {info.pid}) so that a new one reads "
                "the variable, or give another state folder by OPENEO_GFMAP_HOME."
            )


# These say where and how long a server runs, not what it answers.
_NOT_COMPARED = frozenset({"home", "host", "port", "idle_seconds"})


def _means(text: str, value: object) -> bool:
    """Tell whether the text of a variable says what a setting is."""
    if isinstance(value, Mapping):
        entries = (line.strip().partition("=") for line in text.splitlines() if line.strip())
        return {name: address for name, _, address in entries} == dict(value)
    try:
        return float(text) == value
    except ValueError:
        return text == value


def _end(info: ServerInfo) -> None:
    """Ask a server that has just answered to end, and wait until it does not answer any more."""
    import signal  # noqa: PLC0415 - hardly ever needed

    with contextlib.suppress(ProcessLookupError):
        os.kill(info.pid, signal.SIGTERM)
    deadline = time.monotonic() + _START_SECONDS
    while _answers(info) and time.monotonic() < deadline:
        time.sleep(0.05)


def _read(path: Path) -> ServerInfo:
    known = json.loads(path.read_bytes())
    # A server of an older package may know fewer of them.
    return ServerInfo(**{k: known[k] for k in ServerInfo.__dataclass_fields__ if k in known})


def _answers(info: ServerInfo) -> bool:
    """Tell whether a server is at this address and takes this password: no other one does."""
    import requests  # noqa: PLC0415 - heavy, and openeo has it loaded by then

    with requests.Session() as session:
        # Neither proxies nor .netrc have any business on the way to this machine itself.
        session.trust_env = False
        try:
            answer = session.get(
                f"{info.url}/openeo/1.2/credentials/basic",
                auth=(info.user, info.password),
                timeout=10,
            )
        except requests.RequestException:
            return False
        return answer.status_code == 200


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        raise BackendUnavailable(
            "The local back-end needs Linux or macOS; on Windows, run it in the Windows "
            "Subsystem for Linux."
        ) from None
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        return _last_text(file, log.stat().st_size)


def _last_text(file: IO[bytes], size: int) -> str:
    file.seek(max(0, size - _LOG_TAIL))
    return file.read().decode("utf-8", "replace").strip()
