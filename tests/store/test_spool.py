import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.store import spool
from mlops_nb.store.spool import Spool, SpoolFile, sealed, unsealed


def make(folder: Path) -> Spool:
    return Spool(folder, batch=3, prepare=lambda: folder.mkdir(exist_ok=True))


def drain(made: Spool) -> list[bytes]:
    found = []
    while batch := made.take():
        found += batch.lines
        made.committed(batch)
    return found


@given(st.binary().filter(lambda data: b"\n" not in data))
def test_a_line_gives_its_record_back(record: bytes) -> None:
    assert unsealed(sealed(record).rstrip(b"\n") if not record.endswith(b"\n") else sealed(record)[:-1]) == record


@given(st.binary(min_size=1, max_size=50).filter(lambda data: b"\n" not in data), st.data())
def test_a_changed_or_torn_line_is_noticed(record: bytes, data) -> None:
    line = sealed(record)[:-1]
    place = data.draw(st.integers(0, len(line) - 1))
    changed = line[:place] + bytes([line[place] ^ data.draw(st.integers(1, 255))]) + line[place + 1 :]
    assert unsealed(changed) is None
    assert unsealed(line[:place]) is None


def test_records_come_out_in_order_whatever_their_size(tmp_path: Path) -> None:
    made = make(tmp_path / "s")
    lines = [sealed(b"x" * size) for size in (1, 10, 300_000, 0, 5, 70_000, 2)]
    for line in lines:
        made.append(line)
    assert drain(made) == lines
    assert made.take() is None
    made.close()
    assert list((tmp_path / "s").iterdir()) == []


def test_positions_tell_what_is_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 100)
    made = make(tmp_path / "s")
    assert made.done(made.position())
    for number in range(20):
        made.append(sealed(b"%d" % number))
        position = made.position()
        assert not made.done(position)
        if number % 3 == 0:
            drain(made)
            assert made.done(position)
            assert made.done(made.position())
    made.close()


def test_what_an_interrupted_write_left_is_cut_off_and_a_whole_line_kept(tmp_path: Path) -> None:
    made = make(tmp_path / "s")
    made.append(sealed(b"one"))
    (path,) = (tmp_path / "s").iterdir()
    with path.open("ab") as file:
        file.write(sealed(b"half")[:-5])
    made.append(sealed(b"two"))
    with path.open("ab") as file:
        file.write(sealed(b"interrupted after the write"))
    made.append(sealed(b"three"))
    assert [unsealed(line[:-1]) for line in drain(made)] == [b"one", b"two", b"interrupted after the write", b"three"]
    made.close()


def test_a_short_write_is_undone(tmp_path: Path, monkeypatch) -> None:
    made = make(tmp_path / "s")
    made.append(sealed(b"one"))
    real = os.write
    monkeypatch.setattr(spool.os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    with pytest.raises(OSError, match="No space left") as caught:
        made.append(sealed(b"two"))
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert made.acknowledged == 1
    made.append(sealed(b"three"))
    assert [unsealed(line[:-1]) for line in drain(made)] == [b"one", b"three"]
    made.close()


def test_a_file_with_records_stays_for_the_next_process(tmp_path: Path) -> None:
    made = make(tmp_path / "s")
    made.append(sealed(b"one"))
    other = make(tmp_path / "s")
    assert other.left_overs() == []
    made.close()
    (left,) = other.left_overs()
    file = SpoolFile.left_over(left)
    assert file is not None
    assert file.lines(10) == [sealed(b"one")]
    assert SpoolFile.left_over(left) is None, "another process is taking it in"
    file.close(unlink=True)
    assert SpoolFile.left_over(left) is None


def test_what_is_set_aside_is_given_back_byte_for_byte(tmp_path: Path) -> None:
    refused = [("damaged", b"\xff\x00 no record\n"), ("refused", sealed(b"fine"))]
    spool.set_aside(tmp_path / "1-a.refused", refused[:1])
    spool.set_aside(tmp_path / "1-a.refused", refused[1:])
    spool.release_refused(tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".spool"
    assert path.read_bytes() == b"".join(line for _, line in refused)
