# SPDX-License-Identifier: Apache-2.0
"""Every class, function, method and setter that the reference documents, found by reading it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from documented import DOCS

PACKAGE = "qiskit_torch_bridge"
PROTOCOLS = ("__call__", "__enter__", "__exit__")
"""Methods that are called by other names, and documented by none."""
DIRECTIVE = re.compile(r"\.\. (module|currentmodule|automodule|autoclass|autofunction):: ([\w.]+)")
OPTION = re.compile(r"   :([\w-]+):(.*)")


class Public(NamedTuple):
    """Something that users call.

    Attributes:
        name: As they write it, without the name of the package: ``jobs.Budget.check``.
        function: What takes the arguments; of a method, the function in its class.
        owner: The class of a method; ``None`` for functions and classes.
    """

    name: str
    function: Callable[..., Any]
    owner: type | None = None

    def parameters(self) -> list[inspect.Parameter]:
        """Return the parameters that have a name of their own."""
        try:
            listed = list(inspect.signature(self.function).parameters.values())
        except ValueError:  # exceptions that keep Python's own constructor
            return []
        loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [p for p in listed if p.kind not in loose and p.name not in ("self", "cls")]


def public_callables() -> list[Public]:
    """Return all that the pages in docs/reference document, each function once."""
    found: dict[int, Public] = {}
    for name, thing, members in _documented():
        if isinstance(thing, type):
            found.setdefault(id(thing), Public(name, thing))
            for method in _methods(name, thing, members):
                found.setdefault(id(method.function), method)
        elif callable(thing):
            found.setdefault(id(thing), Public(name, thing))
    return sorted(found.values())


def _documented() -> Iterator[tuple[str, Any, set[str] | None]]:
    """Yield name, object and documented members (``None`` for all of them)."""
    for page in sorted((DOCS / "reference").glob("*.rst")):
        for kind, path, options in _directives(page.read_text()):
            members = _listed(options.get("members", ""))
            if kind == "automodule":
                module = importlib.import_module(path)
                own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == path]
                hidden = _listed(options.get("exclude-members", ""))
                for name in getattr(module, "__all__", own) if "members" in options else ():
                    if name not in hidden:
                        yield _short(f"{path}.{name}"), getattr(module, name), None
            else:
                home, _, name = path.rpartition(".")
                thing = getattr(importlib.import_module(home), name)
                everything = "members" in options and not members
                yield _short(path), thing, None if everything else members


def _directives(text: str) -> list[tuple[str, str, dict[str, str]]]:
    found: list[tuple[str, str, dict[str, str]]] = []
    module = ""
    for line in text.splitlines():
        if directive := DIRECTIVE.match(line):
            kind, path = directive.groups()
            if kind.endswith("module"):
                module = path
            if not kind.endswith("module") and not path.startswith(PACKAGE):
                path = f"{module}.{path}"
            found.append((kind, path, {}))
        elif found and (option := OPTION.match(line)):
            found[-1][2][option[1]] = option[2].strip()
    return [entry for entry in found if entry[0] not in ("module", "currentmodule")]


def _listed(option: str) -> set[str]:
    return set(option.replace(",", " ").split())


def _short(path: str) -> str:
    return path.removeprefix(f"{PACKAGE}.")


def _methods(name: str, owner: type, members: set[str] | None) -> Iterator[Public]:
    for method in dir(owner):
        hidden = method.startswith("_") or (members is not None and method not in members)
        if hidden and method not in PROTOCOLS:
            continue
        found = inspect.getattr_static(owner, method)
        function = getattr(found, "__func__", found)
        if isinstance(found, property):
            function = found.fset
        if inspect.isfunction(function) and function.__module__.startswith(PACKAGE):
            yield Public(f"{name}.{method}", function, owner)
