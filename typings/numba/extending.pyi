from collections.abc import Callable
from typing import Any, TypeVar
from typing import overload as _overload

from llvmlite import ir

from .types import Type

_Class = TypeVar("_Class", bound=type)

# An intrinsic is called with values, and written as a function of their types.
@_overload
def intrinsic(func: Callable[..., Any], /) -> Callable[..., Any]: ...
@_overload
def intrinsic(*, prefer_literal: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def overload(func: object, **options: Any) -> Callable[[Callable[..., Any]], object]: ...
def register_model(fe_type_class: type[Type]) -> Callable[[_Class], _Class]: ...

class models:
    class PrimitiveModel:
        def __init__(self, dmm: object, fe_type: Type, be_type: ir.Type) -> None: ...
