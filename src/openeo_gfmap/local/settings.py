"""What the server can be told: command line over environment over defaults."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import OpenEOError
from .stac_source import SIMULATED, is_url

__all__ = ["GIB", "Settings", "StateFolder", "parse_size", "parse_source"]

GIB = 1024**3

#: Prefix of the environment variables: ``OPENEO_GFMAP_PARALLEL_JOBS=4``.
PREFIX = "OPENEO_GFMAP_"

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024 * GIB}


def _default_memory() -> int:
    """Three quarters of the machine: one job may need it, and idle ones need next to nothing."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every platform tells
        return 8 * GIB
    return max(installed * 3 // 4, GIB)


@dataclass(frozen=True)
class StateFolder:
    """Where one server keeps everything: its lock, jobs, results, files and archive."""

    root: Path

    @property
    def server_file(self) -> Path:
        """Address, password and process of the running server; mode 0600."""
        return self.root / "server.json"

    @property
    def identity_file(self) -> Path:
        """Password and last port, kept so that a restart does not cut off clients; mode 0600."""
        return self.root / "identity.json"

    @property
    def lock_file(self) -> Path:
        """Held by the running server."""
        return self.root / "server.lock"

    @property
    def database(self) -> Path:
        """The jobs."""
        return self.root / "jobs.sqlite"

    @property
    def jobs(self) -> Path:
        """One folder per batch job."""
        return self.root / "jobs"

    @property
    def sync(self) -> Path:
        """One short-lived folder per synchronous request."""
        return self.root / "sync"

    @property
    def files(self) -> Path:
        """The user's file workspace."""
        return self.root / "files"

    @property
    def uploads(self) -> Path:
        """Files that are still arriving."""
        return self.root / "uploads"

    @property
    def archive(self) -> Path:
        """The simulated Sentinel-2 archive."""
        return self.root / "archive"

    def create(self) -> None:
        """Make the folders; only this user may look into them."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.jobs, self.sync, self.files, self.uploads, self.archive):
            folder.mkdir(exist_ok=True)


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Attributes
    ----------
    home
        State folder of the package; the server uses ``local/`` in it.
    host
        Loopback address to listen on; anything else is refused, because whoever can reach the
        server can run Python code (UDFs) on this machine.
    port
        TCP port; 0 takes the last one if it is free, else any.
    idle_seconds
        The server ends after so many seconds without request and job; 0 keeps it running.
    sources
        Collection id -> folder of STAC items or URL of a STAC API. A collection without an entry
        reads the simulated archive.
    parallel_jobs
        Batch jobs that run at the same time.
    job_memory
        Most memory, in bytes, that one job's processes may use together.
    job_seconds
        Longest run time of a batch job.
    sync_seconds
        Longest run time of a synchronous request.
    max_document
        Largest JSON document taken, in bytes.
    max_file
        Largest file taken into the workspace, in bytes.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 0
    idle_seconds: float = 0
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    parallel_jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    job_memory: int = field(default_factory=_default_memory)
    job_seconds: float = 24 * 3600
    sync_seconds: float = 30 * 60
    max_document: int = 64 * 1024**2
    max_file: int = 16 * GIB

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, or that would open the machine to others."""
        if not _is_loopback(self.host):
            raise _invalid(
                "host", self.host, "a loopback address such as 127.0.0.1. To use the server from "
                "elsewhere, tunnel to it: ssh -L 8080:127.0.0.1:PORT MACHINE"
            )  # fmt: skip
        if not 0 <= self.port <= 65535:
            raise _invalid("port", self.port, "0 to 65535, 0 for any free port")
        if self.parallel_jobs < 1:
            raise _invalid("parallel_jobs", self.parallel_jobs, "at least 1")
        for name in ("job_memory", "job_seconds", "sync_seconds", "max_document", "max_file"):
            if not getattr(self, name) > 0:
                raise _invalid(name, getattr(self, name), "a number above 0")
        if not self.idle_seconds >= 0:
            raise _invalid("idle_seconds", self.idle_seconds, "0 (never) or more")

    def check_sources(self) -> None:
        """Refuse folders that are not there, before the first request meets them.

        Raises
        ------
        OpenEOError
            ``SettingInvalid``, naming the collection and where it was looked for.
        """
        for name, place in self.sources.items():
            if not (place == SIMULATED or is_url(place) or Path(place).exists()):
                raise _invalid(
                    f"source of {name}", place, "a folder or file of STAC items that exists "
                    f"(looked in {Path(place).absolute()}), the address of a STAC "
                    f"API, or {SIMULATED}"
                )  # fmt: skip

    @property
    def folder(self) -> StateFolder:
        """The server's own folder inside ``home``."""
        return StateFolder(self.home.expanduser().absolute() / "local")

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain JSON types, for ``server.json`` and the log."""
        described = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**described, "home": str(self.home), "sources": dict(self.sources)}

    @staticmethod
    def read_from(environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that settings are read from, as they stand."""
        names = (PREFIX + name.upper() for name in _PARSERS)
        return {name: environment[name] for name in names if environment.get(name)}

    @classmethod
    def load(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """Build settings from what was given (None counts as not given) and the environment.

        Parameters
        ----------
        environment
            Usually ``os.environ``; variables are the setting's name in upper case after
            ``OPENEO_GFMAP_``. ``SOURCES`` holds ``ID=URL_OR_FOLDER`` entries, one per line.
        **given
            Settings by name, already in their own type.

        Raises
        ------
        OpenEOError
            ``SettingInvalid``, naming the setting, the value and what was expected.
        """
        values = {name: value for name, value in given.items() if value is not None}
        for name, parse in _PARSERS.items():
            text = environment.get(PREFIX + name.upper())
            if name not in values and text:
                try:
                    values[name] = parse(text)
                except ValueError as error:
                    raise _invalid(PREFIX + name.upper(), text, str(error)) from None
        if "home" not in values:
            raise _invalid("home", None, f"a state folder: give --home or set {PREFIX}HOME")
        return cls(**values)


def parse_size(text: str) -> int:
    """Return a number of bytes: ``"5G"``, ``"512m"``, ``"1073741824"``, ``"1.5 GiB"``."""
    number = text.strip().upper().removesuffix("B").removesuffix("I").rstrip()
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        raise ValueError(f"{text!r} is no size; write for example 5G or 512M") from None


def parse_source(text: str) -> tuple[str, str]:
    """Split ``ID=URL_OR_FOLDER``."""
    name, equals, address = text.strip().partition("=")
    if not (name and equals and address):
        raise ValueError(f"{text!r} is no source; write ID=URL_OR_FOLDER")
    return name, address


def _parse_sources(text: str) -> Mapping[str, str]:
    return dict(parse_source(line) for line in text.splitlines() if line.strip())


_PARSERS: Mapping[str, Any] = {
    "home": Path,
    "host": str,
    "port": int,
    "idle_seconds": float,
    "sources": _parse_sources,
    "parallel_jobs": int,
    "job_memory": parse_size,
    "job_seconds": float,
    "sync_seconds": float,
    "max_document": parse_size,
    "max_file": parse_size,
}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(name: str, value: object, expected: str) -> OpenEOError:
    return OpenEOError("SettingInvalid", f"Setting {name} is {value!r}; expected {expected}.")
