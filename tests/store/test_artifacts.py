import hashlib
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_nb.config import Layout
from mlops_nb.errors import BadInput, DamagedArtifact, NotStorable, RecordingOff, Untrusted
from mlops_nb.hashing import sha256_hex
from mlops_nb.records import ArtifactRef
from mlops_nb.store.artifacts import ArtifactStore
from mlops_nb.store.registry import Registry


@pytest.fixture
def store(layout: Layout, registry: Registry) -> ArtifactStore:
    return ArtifactStore(layout, registry)


def test_a_value_is_stored_under_the_hash_of_its_bytes_and_recorded(store: ArtifactStore, registry: Registry, layout: Layout) -> None:
    ref = store.put(np.arange(3), name="x", made_by="run-1")
    path = layout.artifacts / ref.digest[:2] / ref.digest
    assert hashlib.sha256(path.read_bytes()).hexdigest() == ref.digest == store.digest(np.arange(3), name="x")
    assert (ref.kind, ref.type_name, ref.size) == ("npy", "numpy.ndarray", path.stat().st_size)
    assert store.get(ref).tolist() == [0, 1, 2]
    (row,) = registry.rows("select digest, kind, type_name, size, made_by from artifact")
    assert row == {"digest": ref.digest, "kind": "npy", "type_name": "numpy.ndarray", "size": ref.size, "made_by": "run-1"}


def test_a_whole_artifact_is_not_written_again_and_a_damaged_one_is(store: ArtifactStore, layout: Layout) -> None:
    ref = store.put({"a": 1}, name="x", made_by="r")
    path = layout.artifacts / ref.digest[:2] / ref.digest
    inode = path.stat().st_ino
    store.put({"a": 1}, name="x", made_by="r")
    assert path.stat().st_ino == inode
    path.chmod(0o644)
    path.write_bytes(b"changed")
    assert not store.holds(ref.digest)
    store.put({"a": 1}, name="x", made_by="r")
    assert store.holds(ref.digest)
    assert store.get(ref) == {"a": 1}


def test_damage_of_the_same_size_and_a_missing_file_are_told(store: ArtifactStore, layout: Layout) -> None:
    ref = store.put([1, 2, 3], name="x", made_by="r")
    path = layout.artifacts / ref.digest[:2] / ref.digest
    path.chmod(0o644)
    path.write_bytes(b"[1,2,4]")
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10))
    with pytest.raises(DamagedArtifact, match=f"(?s){ref.digest[:12]} is damaged.*mlops-nb run"):
        store.get(ref)
    assert not store.holds(ref.digest)
    path.unlink()
    with pytest.raises(DamagedArtifact, match=rf"{ref.digest[:12]} is missing"):
        store.read_bytes(ref.digest)
    assert not store.holds(ref.digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63])
def test_what_is_no_digest_is_no_path(store: ArtifactStore, digest: str) -> None:
    with pytest.raises(BadInput, match="not a digest"):
        store.read_bytes(digest)


class Canary:
    fired: list[str] = []  # noqa: RUF012 (what unpickling would do)

    def __reduce__(self):
        return (Canary.fired.append, ("fired",))


def test_a_pickle_is_loaded_only_where_a_run_of_this_project_made_it(store: ArtifactStore, layout: Layout) -> None:
    data = pickle.dumps(Canary())
    digest = sha256_hex(data)
    path = layout.artifacts / digest[:2] / digest
    path.parent.mkdir(parents=True)
    path.write_bytes(data)  # put there by someone else
    with pytest.raises(Untrusted, match="could run foreign code"):
        store.get(ArtifactRef(digest, "pickle", "Canary", len(data)))
    assert Canary.fired == []

    ref = store.put({1, frozenset({object})}, name="ours", made_by="run-1")
    assert ref.kind == "pickle"
    assert store.get(ref) == {1, frozenset({object})}


def test_a_pickle_passed_off_as_something_else_is_not_run(store: ArtifactStore) -> None:
    data = pickle.dumps(Canary())
    for kind in ("json", "npy", "parquet", "skops"):
        ref = store.put_bytes(data, kind=kind, type_name="x", made_by="r")
        with pytest.raises(DamagedArtifact):
            store.get(ref)
    assert Canary.fired == []


def test_a_kind_of_a_newer_version_says_so(store: ArtifactStore) -> None:
    ref = store.put_bytes(b"x", kind="hologram", type_name="x", made_by="r")
    with pytest.raises(BadInput, match=r"(?s)no serializer named 'hologram'.*upgrade"):
        store.get(ref)


class Rude:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self):
        raise self.error("not me")


class Evasive:
    def __getattribute__(self, name: str):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: lambda: 1, r"'x' \(function\)"),
        (lambda: (number for number in ()), r"'x' \(generator\)"),
        (lambda: os, r"'x' \(module\)"),
        (lambda: Rude(KeyError), r"Rude\).*its own code raised KeyError"),
        (lambda: [Rude(ZeroDivisionError)], r"'x' \(list\).*ZeroDivisionError"),
        (Evasive, r"Evasive\)"),
        (lambda: pd.DataFrame({"a": [Rude(OSError)]}), r"'x' \(pandas.*DataFrame\).*OSError"),
        (lambda: np.array([lambda: 1], dtype=object), r"'x' \(numpy.ndarray\)"),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_type(store: ArtifactStore, layout: Layout, make, says: str) -> None:
    with pytest.raises(NotStorable, match=says):
        store.put(make(), name="x", made_by="r")
    assert not layout.artifacts.exists()


def test_an_open_file_and_a_notebooks_function_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(NotStorable, match="TextIOWrapper"):
        store.put(file, name="log", made_by="r")
    scope: dict[str, object] = {"__name__": "__main__"}
    exec("def f(): pass\nclass C: pass", scope)
    for name in "fC":
        with pytest.raises(NotStorable, match="carried as code"):
            store.put(scope[name], name=name, made_by="r")


def test_a_disk_that_takes_nothing_is_told_and_leaves_no_half_file(store: ArtifactStore, layout: Layout) -> None:
    layout.home.mkdir(exist_ok=True)
    layout.artifacts.write_text("a file where a folder is wanted")
    with pytest.raises(RecordingOff, match=r"(?s)cannot be stored.*make room"):
        store.put([1], name="x", made_by="r")


def test_left_over_temporary_files_are_removed_and_young_ones_left(store: ArtifactStore, layout: Layout) -> None:
    layout.artifacts.mkdir(parents=True)
    old, young = layout.artifacts / ".1-old.new", layout.artifacts / ".2-young.new"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    store.put([1], name="x", made_by="r")
    assert [path.name for path in layout.artifacts.glob(".*.new")] == [young.name]
