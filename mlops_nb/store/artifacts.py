"""Values by the sha256 of their bytes: written whole or not at all, checked on every read."""

import contextlib
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

from mlops_nb.config import Layout
from mlops_nb.errors import BadInput, DamagedArtifact, RecordingOff, Untrusted
from mlops_nb.hashing import sha256_hex
from mlops_nb.records import ArtifactRef, Fact, now_text
from mlops_nb.store import serializers
from mlops_nb.store.registry import Registry

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OLD_SECONDS = 3600.0  # a temporary file of a process that died, or a file that has to be marked as in use


class ArtifactStore:
    """The artifacts of one project: `artifacts/ab/<sha256>`."""

    def __init__(self, layout: Layout, registry: Registry) -> None:
        self.folder = layout.artifacts
        self._registry = registry
        self._whole: dict[str, tuple[int, int, int]] = {}  # digest -> (inode, size, mtime_ns) of a file once found whole
        self._cleaned = False

    def put(self, value: Any, *, name: str, made_by: str) -> ArtifactRef:
        """Store `value`; `made_by` names the run that made it. Raises NotStorable naming the variable, RecordingOff for a full disk."""
        dumped = serializers.dump(value, name=name)
        return self.put_bytes(dumped.data, kind=dumped.kind, type_name=dumped.type_name, made_by=made_by)

    def put_bytes(self, data: bytes, *, kind: str, type_name: str, made_by: str) -> ArtifactRef:
        """Store bytes that a serializer made. Raises RecordingOff where the disk does not take them."""
        ref = ArtifactRef(sha256_hex(data), kind, type_name, len(data))
        if not self.holds(ref.digest) or not self._used(ref.digest):
            try:
                self._write(ref.digest, data)
            except OSError as error:
                raise RecordingOff(
                    f"the artifact cannot be stored: {error.strerror}", where=str(self.folder), hint="make room or make the folder writable"
                ) from error
        row = {"digest": ref.digest, "kind": kind, "type_name": type_name, "size": ref.size, "created": now_text(), "made_by": made_by}
        self._registry.record([Fact("artifact", row)])
        return ref

    def digest(self, value: Any, *, name: str) -> str:
        """The digest that `put` would give; nothing is stored."""
        return sha256_hex(serializers.dump(value, name=name).data)

    def get(self, ref: ArtifactRef) -> Any:
        """The value. Raises DamagedArtifact where its bytes are missing or changed, Untrusted where loading could run foreign code."""
        data = self.read_bytes(ref.digest)
        if ref.kind == "pickle":
            self._check_ours(ref)
        return serializers.load(ref.kind, data)

    def read_bytes(self, digest: str) -> bytes:
        """The bytes, checked against `digest`. Raises DamagedArtifact."""
        path = self._path(digest)
        hint = "run the step that made it again: mlops-nb run makes what is missing or damaged anew"
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedArtifact(f"artifact {digest[:12]} is missing", where=str(path), hint=hint) from error
        if sha256_hex(data) != digest:
            self._whole.pop(digest, None)
            raise DamagedArtifact(f"artifact {digest[:12]} is damaged: its bytes do not match its digest", where=str(path), hint=hint)
        return data

    def holds(self, digest: str) -> bool:
        """Whether the bytes are there and match; a file found whole is not hashed again while its inode, size and time stay."""
        try:
            stamp = _stamp(self._path(digest))
            if self._whole.get(digest) != stamp:
                self.read_bytes(digest)
                self._whole[digest] = stamp
        except (OSError, DamagedArtifact):
            return False
        return True

    def _used(self, digest: str) -> bool:
        """Whether a file that is there already still is, now marked as in use: garbage collection lets young files be."""
        path = self._path(digest)
        try:
            if time.time() - path.stat().st_mtime > _OLD_SECONDS:
                os.utime(path)
                self._whole[digest] = _stamp(path)
        except FileNotFoundError:
            return False
        except OSError:  # in a read-only store nothing is collected either
            return True
        return True

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BadInput(f"not a digest: {digest!r:.80}")
        return self.folder / digest[:2] / digest

    def _write(self, digest: str, data: bytes) -> None:
        """Temporary file, fsync, rename, fsync of the folder: after a power cut the name stands for all the bytes or is not there."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clean()
        temporary = self.folder / f".{os.getpid()}-{uuid.uuid4().hex}.new"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        for folder in (path.parent, self.folder):
            _sync_folder(folder)

    def _clean(self) -> None:
        """Remove, once, what processes that died while writing have left."""
        if self._cleaned:
            return
        self._cleaned = True
        for left in self.folder.glob(".*.new"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                    left.unlink()

    def _check_ours(self, ref: ArtifactRef) -> None:
        known = self._registry.rows("select made_by from artifact where digest = ? and kind = 'pickle'", (ref.digest,))
        if not known or not known[0]["made_by"]:
            raise Untrusted(
                f"artifact {ref.digest[:12]} ({ref.type_name}) is a pickle that no run of this project is recorded to have made",
                hint="loading it could run foreign code; make it anew by running its step here",
            )


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
