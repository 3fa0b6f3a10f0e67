# SPDX-License-Identifier: Apache-2.0
"""A file that is either whole or recognised as damaged, and replaced in one step.

Only regular files are read and replaced, and new names written: a device is not a checkpoint, and
whoever names one has made a mistake.

It begins with a header of fixed size, the same in all versions of the format:

=====  ===================================================================
bytes  content
=====  ===================================================================
8      ``QTBCKPT`` and a zero
4      the version of the format, little endian, as are all numbers
8      the number of bytes that follow the header
32     SHA-256 of version, number of bytes, and these bytes
=====  ===================================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import struct
import time
from pathlib import Path
from typing import NoReturn

from .. import memory
from ..exceptions import CheckpointError

MAGIC = b"QTBCKPT\0"
VERSION = 2
HEADER = struct.Struct("<8sIQ32s")
FORGOTTEN = 3600.0
"""Seconds after which a temporary file counts as left over from a process that was killed."""


def make_header(payload: bytes, version: int = VERSION) -> bytes:
    """Return the header for a payload."""
    return HEADER.pack(MAGIC, version, len(payload), _compute_digest(version, payload))


def unwrap(content: bytes, path: Path) -> bytes:
    """Return the payload, after checking every byte.

    Raises:
        CheckpointError: If it is no checkpoint, damaged, or of a newer version.
    """
    remedy = (
        "Restore it from a copy, or delete it and start from the checkpoint before or from the "
        "beginning. Nothing was loaded."
    )

    def refuse(damage: str) -> NoReturn:
        raise CheckpointError(f"The checkpoint {path} is damaged: {damage}. {remedy}")

    if content[: len(MAGIC)] != MAGIC[: len(content)] or not content:
        raise CheckpointError(
            f"Expected a checkpoint in {path}; got a file that does not begin like one "
            f"({len(content)} bytes). If it was written by save_checkpoint, it is damaged. {remedy}"
        )
    if len(content) < HEADER.size:
        refuse(f"it ends after {len(content)} bytes, inside its header")
    _, version, length, digest = HEADER.unpack_from(content)
    payload = content[HEADER.size :]
    if len(payload) != length:
        refuse(f"expected {length} bytes after its header; got {len(payload)}")
    if _compute_digest(version, payload) != digest:
        refuse("its checksum does not fit its content")
    if version != VERSION:
        advice = "Upgrade qiskit-torch-bridge to the release that wrote it."
        if version < VERSION:
            advice = (
                "Load it with the release that wrote it. If you trust the file, its weights can be "
                "used here as well: "
                f"torch.load(io.BytesIO(open(path, 'rb').read()[{HEADER.size}:]), "
                "weights_only=True)['model'], without the keys that end in '_extra_state'."
            )
        raise CheckpointError(
            f"The checkpoint {path} has format {version}; this release reads format {VERSION}. "
            f"{advice} Nothing was loaded."
        )
    return payload


def read(path: Path) -> bytes:
    """Return the payload of a file."""
    try:
        _check_regular(path)
        size, free = os.stat(path).st_size, memory.available()
        if size > free:
            raise CheckpointError(
                f"The checkpoint {path} has {size >> 20} MiB, and {free >> 20} MiB of memory are "
                "free. Nothing was loaded."
            )
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"Cannot read the checkpoint {path}: {error.strerror or error}. Check the path; to "
            "begin without a checkpoint, call load_checkpoint only if the file exists."
        ) from error
    return unwrap(content, path)


def write(path: Path, payload: bytes) -> None:
    """Put a payload in place of a file: after a crash there is the old file or the new one, whole.

    Raises:
        CheckpointError: If the path is that of something other than a file, or the system
            refuses; what was there is unchanged.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    # Not from Python's or NumPy's generators, whose states are being saved.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        _check_regular(path)
        _remove_leftovers(target)
        try:
            with open(temporary, "xb") as file:
                file.write(make_header(payload))
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write the checkpoint {path}: {error.strerror or error}. A checkpoint that was "
            "there before is unchanged. Check that the folder exists, can be written and has "
            f"{len(payload) >> 20} MiB left."
        ) from error


def _check_regular(path: Path) -> None:
    """Raise :class:`CheckpointError` if there is something that is no file, behind links, too.

    Raises:
        OSError: If it cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "a folder",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
            stat.S_IFIFO: "a pipe",
            stat.S_IFSOCK: "a socket",
        }
        raise CheckpointError(
            f"Expected the path of a file, or of one to be written; {path} is "
            f"{kinds.get(stat.S_IFMT(mode), 'something else')}. It was left as it is. Name a file, "
            "such as 'run.ckpt' in that folder."
        )


def _compute_digest(version: int, payload: bytes) -> bytes:
    digest = hashlib.sha256(struct.pack("<IQ", version, len(payload)))
    digest.update(payload)
    return digest.digest()


def _remove_leftovers(target: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    prefix = f".{target.name}."
    with os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                with contextlib.suppress(OSError):  # another process may remove it, too
                    if time.time() - entry.stat().st_mtime > FORGOTTEN:
                        os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the system has that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
