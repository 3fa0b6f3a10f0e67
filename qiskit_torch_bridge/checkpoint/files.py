# SPDX-License-Identifier: Apache-2.0
"""A file that is either whole or recognised as damaged, and replaced in one step.

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
import struct
import time
from pathlib import Path

from ..exceptions import CheckpointError

MAGIC = b"QTBCKPT\0"
VERSION = 1
HEADER = struct.Struct("<8sIQ32s")
FORGOTTEN = 3600.0
"""Seconds after which a temporary file is taken to be left over from a process that was killed."""


def packed(payload: bytes, version: int = VERSION) -> bytes:
    """Return the header for a payload."""
    return HEADER.pack(MAGIC, version, len(payload), _digest(version, payload))


def unpacked(content: bytes, path: Path) -> bytes:
    """Return the payload, after checking every byte.

    Raises:
        CheckpointError: If it is no checkpoint, damaged, or of a newer version.
    """
    remedy = (
        "Restore it from a copy, or delete it and start from the checkpoint before or from the "
        "beginning. Nothing was loaded."
    )
    if content[: len(MAGIC)] != MAGIC[: len(content)] or not content:
        raise CheckpointError(
            f"Expected a checkpoint in {path}; got a file that does not begin like one "
            f"({len(content)} bytes). If it was written by save_checkpoint, it is damaged. {remedy}"
        )
    if len(content) < HEADER.size:
        raise CheckpointError(
            f"The checkpoint {path} is damaged: it ends after {len(content)} bytes, inside its "
            f"header. {remedy}"
        )
    _, version, length, digest = HEADER.unpack_from(content)
    payload = content[HEADER.size :]
    if len(payload) != length:
        raise CheckpointError(
            f"The checkpoint {path} is damaged: expected {length} bytes after its header; got "
            f"{len(payload)}. {remedy}"
        )
    if _digest(version, payload) != digest:
        raise CheckpointError(
            f"The checkpoint {path} is damaged: its checksum does not fit its content. {remedy}"
        )
    if version != VERSION:
        raise CheckpointError(
            f"The checkpoint {path} has format {version}; this release reads format {VERSION}. "
            "Upgrade qiskit-torch-bridge to the release that wrote it. Nothing was loaded."
        )
    return payload


def read(path: Path) -> bytes:
    """Return the payload of a file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"Cannot read the checkpoint {path}: {error.strerror or error}. Check the path; to "
            "begin without a checkpoint, call load_checkpoint only if the file exists."
        ) from error
    return unpacked(content, path)


def write(path: Path, payload: bytes) -> None:
    """Put a payload in place of a file: after a crash there is the old file or the new one, whole.

    Raises:
        CheckpointError: If the system refuses; the old file is then as it was.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    # Not from Python's or NumPy's generators, whose states are being saved.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        _remove_leftovers(target)
        try:
            with open(temporary, "xb") as file:
                file.write(packed(payload))
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


def _digest(version: int, payload: bytes) -> bytes:
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
