"""The other side of :mod:`udf_child`: starts it, talks with it, ends it when it takes too long."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ..errors import OpenEOError
from .udf_limits import UdfLimits
from .udf_messages import Call, Channel, Failure, Hello, PlainArray, Record, shared_memory

__all__ = ["UdfProcess"]

# Imports, on a machine that is busy with other things.
_START_SECONDS = 120.0
# How long a process that has closed its side may take to be gone.
_END_SECONDS = 5.0

_MB = 1024**2


class UdfProcess:
    """A process that runs UDFs, one call after the other. For use by one thread.

    Parameters
    ----------
    limits
        What it may use. They are the system's own limits on the process; processes that a UDF
        starts in turn have their own.
    log
        Takes level and message of what UDFs log.
    """

    def __init__(self, limits: UdfLimits, log: Callable[[str, str], None]):
        self._limits = limits
        self._log = log
        self._scratch = tempfile.TemporaryDirectory(prefix="gfmap-udf-", ignore_cleanup_errors=True)
        ours, theirs = socket.socketpair()
        calls, answers = shared_memory(), shared_memory()
        life, self._life = os.pipe()
        given = (theirs.fileno(), calls, answers, life)
        self._channel = Channel(Connection(ours.detach()), calls, answers)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable,
                    "-P",  # its folder is no place for modules: a UDF may write into it
                    "-m",
                    "openeo_gfmap.local.engine.udf_child",
                    *map(str, (*given, limits.memory)),
                ],
                stdin=subprocess.DEVNULL,
                cwd=self._scratch.name,
                env={**os.environ, "TMPDIR": self._scratch.name},
                pass_fds=given,
            )
        except OSError:
            self._channel.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)
        self._ready = False

    def call(self, call: Call) -> PlainArray:
        """Run a UDF.

        Raises
        ------
        OpenEOError
            ``UdfError``, ``UdfDependencyMissing``, ``MemoryLimitExceeded``, ``TimeLimitExceeded``.
            After the last one, and when the process ended by itself, it is of no more use.
        """
        try:
            if not self._ready:
                self._answer(time.monotonic() + _START_SECONDS, (Hello,))
                self._ready = True
            self._channel.send(call)
            answer = self._answer(time.monotonic() + self._limits.seconds, (PlainArray, Failure))
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, Failure):
            if answer.code == "MemoryLimitExceeded":
                raise self._too_large()
            raise OpenEOError(answer.code, answer.message)
        result: PlainArray = answer
        return result

    @property
    def usable(self) -> bool:
        """Whether it can take another call."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        self._process.wait()
        self._channel.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        self._scratch.cleanup()

    def _answer(self, deadline: float, wanted: tuple[type, ...]) -> Any:
        """Wait for a message other than a log record."""
        while True:
            if not self._channel.poll(max(0.0, deadline - time.monotonic())):
                self._process.kill()
                self._process.wait()
                raise self._too_long()
            message = self._channel.receive()
            if isinstance(message, wanted):
                return message
            if isinstance(message, Record):
                self._log(message.level, message.message)

    def _ended(self) -> OpenEOError:
        """Tell why the process is gone."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if status == -signal.SIGXCPU:
            return OpenEOError(
                "TimeLimitExceeded",
                f"A call of the UDF used more CPU time than its limit of "
                f"{self._limits.cpu_seconds:g} s and was ended. Do less in it, or raise the "
                "server's setting udf_cpu_seconds.",
            )
        how = (
            f"was ended by signal {-status} ({signal.Signals(-status).name})"
            if status < 0
            else f"ended itself with exit status {status}"
        )
        hint = " Most likely it needed too much memory." if status == -signal.SIGKILL else ""
        return OpenEOError("UdfError", f"The UDF's process {how}.{hint}")

    def _too_long(self) -> OpenEOError:
        if not self._ready:
            return OpenEOError(
                "UdfError",
                f"The process for the UDF was not ready after {_START_SECONDS:g} s.",
                status=500,
            )
        return OpenEOError(
            "TimeLimitExceeded",
            f"A call of the UDF took longer than its limit of {self._limits.seconds:g} s and was "
            "ended. Do less in it, or raise the server's setting udf_seconds.",
        )

    def _too_large(self) -> OpenEOError:
        return OpenEOError(
            "MemoryLimitExceeded",
            f"The UDF needs more memory than its limit of {self._limits.memory / _MB:.0f} MB. Let "
            "it work on less at a time, or raise the limit: the server's setting udf_memory, or "
            "job option executor-memory.",
            status=500,
        )
