from typing import Any

class Signature:
    # Of kinds that whoever writes the function behind it knows.
    args: tuple[Any, ...]
    return_type: Any

class Context: ...
