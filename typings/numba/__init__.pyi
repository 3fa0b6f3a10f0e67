from typing import Any

from . import types as types

# Numba types what it compiles from the arguments of calls: its functions are Any here.
def njit(*arguments: Any, **options: Any) -> Any: ...
