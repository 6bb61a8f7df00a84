"""Digests, one way for each purpose: sha256 for what is stored, xxh3-128 for what is only compared."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

CHUNK = 1 << 20
MAX_DATABASES = 64  # whose descriptors stay open
_databases: dict[tuple[int, int], int] = {}  # (device, inode) -> descriptor


def sha256_hex(data: bytes) -> str:
    """The address of stored bytes.

    >>> sha256_hex(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def quick_hex(data: bytes | bytearray | memoryview) -> str:
    """xxh3-128: fast, for telling equal from different; never for trust."""
    return xxhash.xxh3_128_hexdigest(data)


def text_digest(*parts: str) -> str:
    """sha256 of several texts; ("ab", "c") and ("a", "bc") differ."""
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        joined.update(len(data).to_bytes(8, "big") + data)
    return joined.hexdigest()


def json_digest(value: Mapping[str, Any]) -> str:
    """sha256 of a JSON value, whatever the order of its keys.

    >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    True
    """
    return sha256_hex(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def source_crc(source: str) -> int:
    """zlib.crc32 of a cell's source; the panel computes the same to see an edited cell."""
    return zlib.crc32(source.encode("utf-8", "surrogatepass"))


def file_hex(path: str | os.PathLike[str]) -> str:
    """`quick_hex` of a file's bytes; raises OSError where it cannot be read."""
    state = xxhash.xxh3_128()
    with _descriptor(path) as descriptor:
        place = 0
        while chunk := os.pread(descriptor, CHUNK, place):
            state.update(chunk)
            place += len(chunk)
    return state.hexdigest()


@contextmanager
def _descriptor(path: str | os.PathLike[str]) -> Iterator[int]:
    """A file to read from. A database's stays open: to close any descriptor of a file drops every lock this process holds on it.

    POSIX has it so (fcntl, advisory record locking), and the user's connections to SQLite and DuckDB lock their files in that way.
    """
    found = Path(path).stat()
    descriptor = _databases.pop((found.st_dev, found.st_ino), None)
    if descriptor is None:  # one that is empty may be a database whose first transaction is under way
        descriptor = os.open(path if found.st_size else os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    is_database = False
    try:
        is_database = _is_database(os.pread(descriptor, 16, 0))
        if is_database:
            _keep(descriptor)
        yield descriptor
    finally:
        if not is_database:
            os.close(descriptor)


def _is_database(head: bytes) -> bool:
    return head == b"SQLite format 3\0" or head[8:12] == b"DUCK"


def _keep(descriptor: int) -> None:
    """Keep a database's descriptor open, the latest of all; the first to go, beyond `MAX_DATABASES`, is the one longest not asked for."""
    found = os.fstat(descriptor)
    _databases[found.st_dev, found.st_ino] = descriptor
    while len(_databases) > MAX_DATABASES:
        os.close(_databases.pop(next(iter(_databases))))


class FileHasher:
    """xxh3-128 of files, remembered by (inode, size, mtime_ns) so that an unchanged file is hashed once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def digest(self, path: str | os.PathLike[str]) -> str:
        """The file's digest; raises OSError where it cannot be read."""
        name = os.fspath(path)
        stat = Path(name).stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(name)
        if known and known[0] == stamp:
            return known[1]
        self._known[name] = (stamp, file_hex(name))
        return self._known[name][1]
