from typing import Any

class _Locator:
    def get_source_stamp(self) -> object: ...

class _CacheImpl:
    filename_base: str
    locator: _Locator

class FunctionCache:
    cache_path: str
    _impl: _CacheImpl
    _cache_file: IndexDataCacheFile
    def __init__(self, py_func: object) -> None: ...

# Keys and what is kept for them are of kinds that Numba alone knows.
class IndexDataCacheFile:
    _index_name: str
    _version: str
    _source_stamp: object
    def __init__(self, cache_path: str, filename_base: str, source_stamp: object) -> None: ...
    def save(self, key: object, data: object) -> None: ...
    def load(self, key: object) -> Any: ...
    def _load_data(self, name: str) -> Any: ...
    def _save_data(self, name: str, data: object) -> None: ...
