# SPDX-License-Identifier: Apache-2.0
"""Compiled functions on disk, which many processes write and read at once; imports Numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile


class OneFileEach(IndexDataCacheFile):
    """Keeps each signature of a function in a file of its own, which tells what it is for.

    Numba numbers the files and keeps the numbers in an index. Two processes that compile two
    signatures at the same time choose the same number, and whoever reads the index later gets the
    code of one signature for the other: wrong numbers, or a crash, in this process and all that
    follow. Here the name follows from the signature, nothing is chosen, files are replaced as a
    whole, and what a file holds is compared with what is looked for.
    """

    def save(self, key: object, data: object) -> None:
        """Write what was compiled for a key: the signature, the processor, and the function."""
        self._save_data(self._name(key), (key, data))

    def load(self, key: object) -> Any:
        """Return what was compiled for a key; None if that was not yet, or cannot be read."""
        try:
            found, data = self._load_data(self._name(key))
        except Exception:  # whatever a damaged file raises, compiling replaces it
            return None
        return data if found == key else None

    def _name(self, key: object) -> str:
        told = (self._version, self._source_stamp, key)
        digest = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
        return self._index_name.removesuffix(".nbi") + f".{digest}.nbc"


_Function = TypeVar("_Function", bound=Callable[..., Any])


def name_apart(*kind: object) -> Callable[[_Function], _Function]:
    """Return a decorator that gives functions of one definition, but several kinds, their names.

    Numba numbers functions of one name in the order in which a process compiles them. Code from
    disk keeps the numbers of the process that left it there, and of functions with the same name,
    number and types a linker takes any: they are the same to it. Where ``mix`` stands for several
    functions, a kernel from one process would call the wrong one in another. So whatever encloses
    different values must have different names, before it is compiled.
    """

    def decorate(function: _Function) -> _Function:
        function.__qualname__ += "".join(f"_{each}" for each in kind)
        return function

    return decorate


def compile_on_call(**options: object) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator: ``numba.njit`` without the interpreter's lock, kept on disk as above.

    Args:
        options: Further ones of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Any = njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        cache = compiled._cache
        if isinstance(cache, FunctionCache):
            cache._cache_file = OneFileEach(
                cache_path=cache.cache_path,
                filename_base=cache._impl.filename_base,
                source_stamp=cache._impl.locator.get_source_stamp(),
            )
        return compiled

    return decorate
