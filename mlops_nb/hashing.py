"""Digests, one way for each purpose: sha256 for what is stored, xxh3-128 for what is only compared."""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

CHUNK = 1 << 20


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
        state = xxhash.xxh3_128()
        with Path(name).open("rb") as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
        self._known[name] = (stamp, state.hexdigest())
        return self._known[name][1]
