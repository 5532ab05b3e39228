"""What the server can be told: command line over environment over ``config.toml`` over defaults."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import OpenEOError
from .object_store import check_address, is_address
from .stac_source import SIMULATED, is_url

__all__ = ["CONFIG_FILE", "GIB", "Settings", "StateFolder", "cpus", "parse_size", "parse_source"]

GIB = 1024**3

#: Prefix of the environment variables: ``OPENEO_GFMAP_PARALLEL_JOBS=4``.
PREFIX = "OPENEO_GFMAP_"

#: File in the state folder (``home``) with settings by name.
CONFIG_FILE = "config.toml"

_ABOVE_ZERO = (
    "memory", "job_memory", "job_seconds", "sync_seconds", "udf_seconds", "udf_cpu_seconds",
    "max_document", "max_file",
)  # fmt: skip

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024 * GIB}


def _default_memory() -> int:
    """Three quarters of the machine."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every platform tells
        return 8 * GIB
    return max(installed * 3 // 4, GIB)


def _default_jobs() -> int:
    """Return a job per CPU, as long as each can have 2 GiB."""
    return max(1, min(cpus(), _default_memory() // (2 * GIB)))


def cpus() -> int:
    """Return the CPUs that this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    public_url
        Address that clients use where a reverse proxy stands before the server, such as
        ``https://eo.example.org``; empty where there is none.
    idle_seconds
        The server ends after so many seconds without request and job; 0 keeps it running.
    sources
        Collection id -> folder of STAC items or URL of a STAC API. A collection without an entry
        reads the simulated archive.
    parallel_jobs
        Most batch jobs that run at the same time; by default one per CPU, fewer where memory does
        not give each 2 GiB.
    user_jobs
        Most batch jobs of one user that run at the same time; 0 for no limit.
    user_header
        Name of the request header in which a reverse proxy says who the user is; empty where
        there is none, and all jobs are of one user.
    memory
        Memory in bytes for all jobs together: no job starts while less than one job's share of it
        is free.
    job_memory
        Most memory, in bytes, that one job's processes may use together.
    job_seconds
        Longest run time of a batch job.
    sync_seconds
        Longest run time of a synchronous request.
    udf_seconds, udf_cpu_seconds
        Longest time of one call of a UDF, on one window; and the CPU time it may use.
    udf_memory
        Most memory, in bytes, of a process that runs UDFs; 0 for that of the job.
    scheduler
        Address of a Dask scheduler whose workers evaluate the windows of batch jobs; empty for
        this machine.
    result_store
        Where result files of batch jobs are put: a folder that server and workers share under one
        path, or an address in an object store (``s3://bucket/path``); empty for the job's folder.
    max_document
        Largest JSON document taken, in bytes.
    max_file
        Largest file taken into the workspace, in bytes.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 0
    public_url: str = ""
    idle_seconds: float = 0
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    parallel_jobs: int = field(default_factory=_default_jobs)
    user_jobs: int = 0
    user_header: str = ""
    memory: int = field(default_factory=_default_memory)
    job_memory: int = field(default_factory=_default_memory)
    job_seconds: float = 24 * 3600
    sync_seconds: float = 30 * 60
    udf_seconds: float = 10 * 60
    udf_cpu_seconds: float = 10 * 60
    udf_memory: int = 0
    scheduler: str = ""
    result_store: str = ""
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
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise _invalid(name, getattr(self, name), "a number above 0")
        for name, zero in (
            ("idle_seconds", "never"), ("user_jobs", "no limit"), ("udf_memory", "as the job")
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise _invalid(name, getattr(self, name), f"0 ({zero}) or more")
        if self.public_url and not re.fullmatch(r"https?://[^/?#]+", self.public_url):
            expected = "an address such as https://eo.example.org, without a path"
            raise _invalid("public_url", self.public_url, expected)
        if self.scheduler and "://" not in self.scheduler:
            raise _invalid("scheduler", self.scheduler, "an address such as tcp://10.0.0.1:8786")
        if is_address(self.result_store):
            try:
                check_address(self.result_store)
            except ValueError as error:
                raise _invalid("result_store", self.result_store, str(error)) from None

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
    def job_share(self) -> int:
        """Bytes of memory that each of the jobs at work can have."""
        return min(self.job_memory, self.memory // self.parallel_jobs)

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
        """Build settings: what was given goes before the environment, that before the file.

        Parameters
        ----------
        environment
            Usually ``os.environ``; variables are the setting's name in upper case after
            ``OPENEO_GFMAP_``. ``SOURCES`` holds ``ID=URL_OR_FOLDER`` entries, one per line.
        **given
            Settings by name, already in their own type; None counts as not given.

        Raises
        ------
        OpenEOError
            ``SettingInvalid``, naming the setting, the value and what was expected.
        """
        values = {name: value for name, value in given.items() if value is not None}
        for name, parse in _PARSERS.items():
            text = environment.get(PREFIX + name.upper())
            if name not in values and text:
                values[name] = _parsed(parse, text, PREFIX + name.upper())
        if "home" not in values:
            raise _invalid("home", None, f"a state folder: give --home or set {PREFIX}HOME")
        return cls(**{**_from_file(values["home"] / CONFIG_FILE), **values})


def _from_file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OpenEOError("SettingInvalid", f"{path} is no TOML file: {error}.") from None
    values = {}
    for name, value in document.items():
        if name not in _PARSERS or name == "home":
            raise OpenEOError(
                "SettingInvalid",
                f"{path}: there is no setting {name!r}; there are "
                f"{', '.join(sorted(_PARSERS.keys() - {'home'}))}.",
            )
        if isinstance(value, dict):
            value = "\n".join(f"{key}={place}" for key, place in value.items())  # noqa: PLW2901
        values[name] = _parsed(_PARSERS[name], str(value), f"{name} in {path}")
    return values


def _parsed(parse: Any, text: str, name: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise _invalid(name, text, str(error)) from None


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
    "public_url": str,
    "idle_seconds": float,
    "sources": _parse_sources,
    "parallel_jobs": int,
    "user_jobs": int,
    "user_header": str,
    "memory": parse_size,
    "job_memory": parse_size,
    "job_seconds": float,
    "sync_seconds": float,
    "udf_seconds": float,
    "udf_cpu_seconds": float,
    "udf_memory": parse_size,
    "scheduler": str,
    "result_store": str,
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
