"""The disk below the registry: what kind it is, the project home's folders, and the gate that one writer at a time passes."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops_nb.config import HOME_VARIABLE, Layout
from mlops_nb.errors import RegistryError

MOUNTS = Path("/proc/self/mountinfo")
# file systems whose locks or shared memory do not hold between processes; SQLite's WAL needs both
REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "9p",
        "virtiofs",
        "fuse",
        "ncpfs",
        "coda",
        "pvfs2",
    }
)
OWN_AS_ROOT = frozenset({"9p", "virtiofs"})  # a sandbox's or virtual machine's own root
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.ntfs-3g"})  # one machine's own disk behind a FUSE driver


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its type (`ext4`, `nfs4`; '' where it cannot be told) and where it is mounted."""

    kind: str = ""
    point: Path = Path("/")

    @property
    def is_remote(self) -> bool:
        """Whether SQLite must not be used on it.

        >>> Mount("nfs4").is_remote, Mount("fuse.sshfs").is_remote, Mount("ext4").is_remote
        (True, True, False)
        """
        if self.kind in OWN_AS_ROOT and self.point == Path("/"):
            return False
        return self.kind in REMOTE or (self.kind.startswith("fuse.") and self.kind not in LOCAL_FUSE)


def mount_of(path: Path, mounts: str | None = None) -> Mount:
    """The file system that holds `path`; `mounts` is the text of /proc/self/mountinfo."""
    if mounts is None:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace") if MOUNTS.exists() else ""
    found, longest = Mount(), -1
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].replace("\\040", " "))
        if len(point.parts) >= longest and path.is_relative_to(point):  # a later mount covers an earlier one
            found, longest = Mount(right.split(" ")[0], point), len(point.parts)
    return found


def prepare(layout: Layout) -> None:
    """Make the project home with its folders. Raises RegistryError on a network disk, OSError where nothing can be written."""
    mount = mount_of(layout.home)
    if mount.is_remote:
        raise RegistryError(
            f"the project home is on a network or FUSE disk ({mount.kind}), where SQLite loses data",
            where=str(layout.home),
            hint=f"set {HOME_VARIABLE} to a folder on a local disk",
        )
    layout.registry.parent.mkdir(parents=True, exist_ok=True)
    layout.spool.mkdir(exist_ok=True)
    if layout.spool.stat().st_mode & 0o077:
        layout.spool.chmod(0o700)
    for folder in (layout.spool, layout.registry.parent):
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "this folder cannot be written", str(folder))
    ignore = layout.home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


class Gate:
    """flock(2) on one file: who holds it may write. Never fcntl.lockf, whose locks vanish when any descriptor of the file is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the gate and hold it."""
        self._pass()
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # close alone would leave it held by a child forked meanwhile
            self.forget()

    def forget(self) -> None:
        """Close the file without unlocking it: in a forked child, the parent's gate is not ours to open."""
        descriptor, self._descriptor = self._descriptor, -1  # first, for a fork may come while it is being closed
        if descriptor >= 0:
            os.close(descriptor)

    def _pass(self) -> None:
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                if self._is_current():
                    return
            except BaseException:
                self.forget()
                raise
            self.forget()

    def _is_current(self) -> bool:
        """Whether the file locked is still the one others will open."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            return False
