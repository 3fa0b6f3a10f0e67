# SPDX-License-Identifier: Apache-2.0
r"""A file of events that grows: one line of JSON each, on disk before the next thing happens.

Each line ends with a hash of itself and of the hash before, so that no line can be changed, left
out, repeated, moved or taken from another file unnoticed:

.. math:: h_k = H(h_{k-1} \parallel \mathrm{line}_k), \quad h_1 = H(\mathrm{line}_1).

The first line holds the random id of the run, so two files have no line in common.

Only at its end is a file different after a crash: the last line may be incomplete, and is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from ..arguments import require_path
from ..exceptions import JournalError

Place = tuple[int, str]
"""Where a line begins, and the hash before it."""

LENGTH = 32
"""Hexadecimal digits of a hash."""
BEGINNING = b'{"event":"journal",'
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
_OPEN: set[tuple[int, ...]] = set()  # files that are open in this process, whatever their names


class JournalFile:
    """An open file of events.

    Args:
        path: The file; made if it does not exist.
        first: The event that it begins with if it is made.

    Attributes:
        path: The file.
        is_new: Whether it was made.

    Raises:
        JournalError: If the file is open already, is no regular file, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], first: dict[str, Any]) -> None:
        self.path = require_path(path, "journal", error=JournalError)
        self._process, lock, descriptor, own = os.getpid(), None, None, None
        try:
            self.is_new = not os.path.exists(self.path)
            if not self.is_new:
                _require_regular(self.path, os.stat(self.path))
            self._name, real = os.path.abspath(self.path), os.path.realpath(self.path)
            os.stat(os.path.join(os.path.dirname(real), ""))  # which the lock would make
            lock = _lock(real, self.path)
            self.is_new = not os.path.exists(self.path)
            if self.is_new:
                _create(Path(real), _line(first, "")[0])
            flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path, flags)
            found = os.fstat(descriptor)
            _require_regular(self.path, found)
            key = self._process, found.st_dev, found.st_ino
            if key in _OPEN:  # by another name, or where there are no locks
                raise _open_already(self.path)
            own = key
            _OPEN.add(key)
            self._descriptor = descriptor
            self._closing = weakref.finalize(self, _close, descriptor, lock, own)
        except BaseException as error:
            _close(descriptor, lock, own)
            if not isinstance(error, (OSError, ValueError)) or isinstance(error, JournalError):
                raise
            why = getattr(error, "strerror", None) or error
            raise JournalError(
                f"Expected a journal to be a file that can be written; {self.path}: {why}. Name a "
                "file in a folder that exists."
            ) from error
        # How much of it is known to be whole, the hash of its last line, and whether more may have
        # been written. In one, so that an interrupt comes before or after all.
        self._last: tuple[int, str, bool] = 0, "", False

    def read(self) -> Iterator[tuple[int, Place, dict[str, Any]]]:
        """Yield the number, the place and the event of each line; drop the last if it is cut.

        Raises:
            JournalError: If the file is no journal, or a line is damaged; it is left as it is.
        """
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            start = file.read(len(BEGINNING))
            if start != BEGINNING[: len(start)]:
                raise JournalError(
                    f"{self.path} is no journal, or its first line is damaged; nothing was "
                    "changed. Name another file."
                )
            file.seek(0)
            end, head = 0, ""
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                event, digest = self._verified(number, line, head)
                yield number, (end, head), event
                end, head = end + len(line), digest
        if not end:
            raise JournalError(
                f"{self.path} is cut in its first line, so it does not say which jobs are its own; "
                "nothing was changed. Restore the file. If no job was submitted with it, delete it."
            )
        self._last = end, head, True  # what was cut is dropped
        self.check()

    def _verified(self, number: int, line: bytes, head: str) -> tuple[dict[str, Any], str]:
        """Return the event of a line and its hash, or raise if the line is damaged."""
        body = line[: -len(_end_of_line("0" * LENGTH))]
        digest = _hash(head, body)
        why = "it does not follow on the line before"
        try:
            event = json.loads(line)
            if line[len(body) :] == _end_of_line(digest):
                return event, digest
            if number == 1 and "hash" not in event:  # which the first version had not
                raise self.of_version(event["version"])
        except JournalError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            why = repr(error)
        raise self.damaged(number, why)

    def of_version(self, version: Any) -> JournalError:
        """Return the error for a file that another release wrote."""
        return JournalError(
            f"{self.path} is a journal of version {version}, which this release does not read. "
            "Finish its run with the release that wrote it, or name a new file."
        )

    def damaged(self, number: int, why: str) -> JournalError:
        """Return the error for a line that is not as it was written."""
        return JournalError(
            f"Line {number} of {self.path} is damaged ({why}). Nothing was changed. Restore the "
            "file, or start with a new one; jobs already paid for can be fetched by their ids."
        )

    def append(self, event: dict[str, Any]) -> Place:
        """Write an event down, and return where it is once it is on the disk.

        Raises:
            JournalError: If it cannot be written; what was there before is left, and nothing else.
        """
        self.check()
        end, head, _ = self._last
        line, digest = _line(event, head)
        self._last = end, head, True
        try:
            put(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next one tries again
                self._cut_back()
            raise JournalError(
                f"{self.path} cannot be written: {error.strerror}. What it knows is whole. Make "
                "room or repair the disk, and run the same program again with the same journal."
            ) from error
        self._last = end + len(line), digest, False
        return end, head

    def at(self, place: Place) -> dict[str, Any]:
        """Return the event at a place.

        Raises:
            JournalError: If it is not there any more.
        """
        where, head = place
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(where)
            line = file.readline()
        try:
            return self._verified(0, line, head)[0]
        except JournalError:
            raise self._changed("was changed by another program") from None

    def check(self) -> None:
        """Raise :class:`JournalError` unless the file is there, and as it was left."""
        if os.getpid() != self._process:
            raise JournalError(
                f"{self.path} is open in another process, which this one was forked from. Two "
                "processes would number their requests alike: give each a journal of its own, or "
                "evaluate in one of them only."
            )
        if not self._closing.alive:
            raise JournalError(f"{self.path} is closed. Open it again, and load the checkpoint.")
        try:
            here, there = os.fstat(self._descriptor), os.stat(self._name)
            if not os.path.samestat(here, there):
                raise self._changed("was replaced by another file")
            if self._last[2]:
                self._cut_back()  # what an interrupt or an error has left
            elif here.st_size != self._last[0]:
                raise self._changed("was changed by another program")
        except FileNotFoundError:
            raise self._changed("was deleted or moved") from None
        except OSError as error:
            raise JournalError(f"{self.path} cannot be reached: {error.strerror}.") from error

    def _cut_back(self) -> None:
        end, head, _ = self._last
        os.ftruncate(self._descriptor, end)
        self._last = end, head, False

    def _changed(self, what: str) -> JournalError:
        return JournalError(
            f"{self.path} {what} while it was open. Nothing was submitted since this was noticed. "
            "Put the file back as it was and load the last checkpoint: without it, jobs are paid "
            "for again. They are found at the service by the tag qiskit-torch-bridge."
        )

    def close(self) -> None:
        """Close the file."""
        self._closing()


def put(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; the system may take it in parts."""
    while data:
        data = data[os.write(descriptor, data) :]


def _line(event: dict[str, Any], head: str) -> tuple[bytes, str]:
    """Return an event as a line that follows on another, and its hash."""
    body = json.dumps(event, separators=(",", ":"))[:-1].encode()
    digest = _hash(head, body)
    return body + _end_of_line(digest), digest


def _end_of_line(digest: str) -> bytes:
    return b',"hash":"%s"}\n' % digest.encode()


def _hash(head: str, body: bytes) -> str:
    return hashlib.sha256(head.encode() + body).hexdigest()[:LENGTH]


def _require_regular(path: Path, found: os.stat_result) -> None:
    """Raise for folders, devices, pipes and sockets, which opening would change or wait for."""
    if stat.S_ISREG(found.st_mode):
        return
    kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
    raise JournalError(f"Expected a journal to be a file; {path} is {kind}. Name a file.")


def _create(path: Path, line: bytes) -> None:
    """Make a file with a first line in one step: a crash leaves none, or a whole one."""
    made = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made)  # of a process that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(made, flags, 0o666)
    try:
        put(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(made, path)  # where it replaces nothing
        os.unlink(made)
    except FileExistsError:
        os.unlink(made)
    except OSError:  # a file system without links
        os.rename(made, path)
    with contextlib.suppress(OSError):  # the name is durable, too, where the system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lock(file: str, path: Path) -> filelock.BaseFileLock | None:
    """Keep other processes from opening a file; the end of this one, however, opens it."""
    lock = filelock.FileLock(f"{file}.lock", thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise _open_already(path) from None
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return None
        raise
    return lock


def _open_already(path: Path) -> JournalError:
    return JournalError(
        f"{path} is open already, in this process or another. Give the Journal object to all that "
        "share it, or close() it first; two processes need a journal each."
    )


def _close(descriptor: int | None, lock: Any, key: tuple[int, ...] | None = None) -> None:
    if key is not None:
        _OPEN.discard(key)
    if descriptor is not None:
        os.close(descriptor)
    if lock is not None:
        lock.release()
