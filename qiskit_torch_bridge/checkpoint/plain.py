# SPDX-License-Identifier: Apache-2.0
"""What may be in a checkpoint: tensors, numbers, text, and lists, tuples and mappings of these."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import shown
from ..exceptions import CheckpointError

LEAVES = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype)


DEEPEST = 100
"""Levels of lists and mappings; what writes and reads them calls itself for each."""


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """Return a value with NumPy's numbers as Python's, after checking that it can be saved.

    Only such values can be read back with ``torch.load(weights_only=True)``, which executes nothing
    that is in a file. Where nothing has to be converted, the same object is returned.

    Raises:
        CheckpointError: If there is something else in it, naming where.
    """
    if isinstance(value, Tensor) or type(value) in LEAVES:
        return value
    if depth > DEEPEST:
        raise CheckpointError(
            f"Expected what is saved to be nested at most {DEEPEST} deep; {where[:80]}... goes on. "
            "Nothing was written."
        )
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return value.item()
    if type(value) in (dict, OrderedDict):
        items = {}
        for key, item in value.items():
            if type(key) not in LEAVES and type(key) is not tuple:
                raise CheckpointError(
                    f"Expected the keys of {where} to be text or numbers; got {shown(key)}."
                )
            items[key] = plain(item, f"{where}[{shown(key)}]", depth + 1)
        same = all(items[key] is item for key, item in value.items())
        return value if same else type(value)(items)
    if type(value) in (list, tuple):
        parts = [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        same = all(a is b for a, b in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    remedy = "Leave it out, or convert it to one of these."
    if isinstance(value, np.ndarray):
        remedy = "Convert it with torch.from_numpy(...)."
    elif isinstance(value, tuple):
        remedy = "Convert it with tuple(...) or value._asdict()."
    raise CheckpointError(
        f"Expected {where} to consist of tensors, numbers, text, None, lists, tuples and dicts; "
        f"got {type(value).__module__}.{type(value).__qualname__}. {remedy} Nothing was written."
    )
