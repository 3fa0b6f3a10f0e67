# SPDX-License-Identifier: Apache-2.0
"""Worker processes, one per candidate, of which never more than one is running.

A process that is not asked anything is stopped (SIGSTOP), so that no thread pool of it, however it
waits for work, takes time from the one whose turn it is. Needs a POSIX system.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import environments

WORKER = Path(__file__).parent / "worker.py"
START = 300.0  # seconds that a package may take to be imported


class NotRun(Exception):
    """Says why a candidate has no figures: it took too long, failed or is not installed."""


class Process:
    """A worker in one environment.

    Args:
        python: The interpreter of the environment.
        log: Where its standard error goes.
        variables: Its environment variables.
    """

    def __init__(self, python: Path, log: Path, variables: dict[str, str]) -> None:
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                [python, WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # so that signals reach the processes that it starts, too
                env=variables,
            )

    def ask(self, limit: float, **request: Any) -> dict[str, Any]:
        """Return the answer to a request; end the process if it takes more than ``limit`` s."""
        self._signal(signal.SIGCONT)
        assert self._popen.stdin is not None and self._popen.stdout is not None
        try:
            self._popen.stdin.write(json.dumps(request).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise NotRun(self._end()) from None
        if not select.select([self._popen.stdout], [], [], limit)[0]:
            self.close()
            raise NotRun(f"> {limit:.0f} s")
        line = self._popen.stdout.readline()
        if not line:
            raise NotRun(self._end())
        self._signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NotRun(answer["error"].splitlines()[0])
        return answer

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._popen.poll() is None

    def close(self) -> None:
        """End it and all that it started."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _end(self) -> str:
        self.close()
        return f"the process ended with status {self._popen.returncode}"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)


class Pool:
    """One process per name, started when it is first asked, and again after it was ended.

    Args:
        folder: Where the environments are.
        log: The file for standard error of all processes.
        cores: How many cores each process may use, from those of this process; default: all.
    """

    def __init__(self, folder: Path, log: Path, cores: int | None = None) -> None:
        self.folder, self.log = folder, log
        available = sorted(os.sched_getaffinity(0))
        self.cores = len(available[:cores])
        os.sched_setaffinity(0, available[:cores])  # the processes inherit it
        self._processes: dict[str, Process] = {}

    def ask(self, name: str, environment: str, limit: float, **request: Any) -> dict[str, Any]:
        """Return the answer of the process ``name``, which runs in ``environment``."""
        process = self._processes.get(name)
        if process is None or not process.alive:
            self._processes[name] = process = self.start(environment)
        return process.ask(limit, **request)

    def start(self, environment: str, variables: dict[str, str] | None = None) -> Process:
        """Return a new process, which the caller closes."""
        python = environments.python_of(environment, self.folder)
        if python is None:
            raise NotRun(f"no environment '{environment}'")
        inherited = dict(os.environ)
        if environment != "main":
            inherited.pop("PYTHONPATH", None)  # what this environment imports from elsewhere
        # For packages that do not look at how many cores they may use.
        threads = {"OMP_NUM_THREADS": str(self.cores)}
        return Process(python, self.log, inherited | threads | (variables or {}))

    def forget(self) -> None:
        """Have every process drop its candidates."""
        for process in self._processes.values():
            if process.alive:
                with contextlib.suppress(NotRun):
                    process.ask(START, do="forget")

    def close(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
