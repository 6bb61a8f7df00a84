"""The folder a slice runs in: what is copied, and what its processes may not touch."""

import os
import subprocess
import sys

import pytest

from mlops_nb.project.scratch import Scratch, modules
from mlops_nb.records import FileUse

ATTEMPTS = {
    "write": "open(root / 'mine.txt', 'w')",
    "append": "open(root / 'mine.txt', 'a')",
    "update": "open(root / 'mine.txt', 'r+')",
    "new file": "(root / 'new.txt').write_text('x')",
    "remove": "(root / 'mine.txt').unlink()",
    "rename": "(root / 'mine.txt').rename(folder / 'taken.txt')",
    "replace": "(folder / 'a').replace(root / 'mine.txt')",
    "make a folder": "(root / 'new').mkdir()",
    "remove a tree": "shutil.rmtree(root / 'data')",
    "change the mode": "(root / 'mine.txt').chmod(0o600)",
    "truncate": "os.truncate(root / 'mine.txt', 0)",
    "link": "os.link(root / 'data' / 'in.csv', root / 'linked')",
    "through a link": "(os.symlink(root, folder / 'way'), open(folder / 'way' / 'mine.txt', 'w'))",
    "a file outside": "open(outside, 'w')",
    "another process": "subprocess.run([sys.executable, '-c', f'open({str(root / \"mine.txt\")!r}, \"w\")'], check=True)",
}
ALLOWED = {
    "read": "assert (root / 'mine.txt').read_text() == 'mine'",
    "write inside": "(folder / 'work' / 'new.txt').write_text('x')",
    "write elsewhere": "(elsewhere / 'new.txt').write_text('x')",
    "list": "assert list(root.iterdir())",
}


@pytest.fixture
def scratch(tmp_path):
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "mine.txt").write_text("mine")
    (root / "data" / "in.csv").write_text("a\n1\n")
    made = Scratch(root, root / ".mlops_nb" / "verify" / "v1")
    made.prepare((), ())
    (made.folder / "a").write_text("a")
    (tmp_path / "outside.txt").write_text("mine")
    return made


def attempt(scratch, code):
    outside = scratch.root.parent / "outside.txt"
    program = (
        "import os, pathlib, shutil, subprocess, sys\n"
        f"root, folder, outside = pathlib.Path({str(scratch.root)!r}), pathlib.Path({str(scratch.folder)!r}), {str(outside)!r}\n"
        f"elsewhere = root.parent\n{code}"
    )
    environ = scratch.guarded(os.environ, [str(outside)])
    return subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("what", ATTEMPTS)
def test_the_users_files_are_out_of_reach(scratch, what):
    done = attempt(scratch, ATTEMPTS[what])
    assert done.returncode == 1
    assert "does not let a slice change" in done.stderr
    assert (scratch.root / "mine.txt").read_text() == (scratch.root.parent / "outside.txt").read_text() == "mine"
    assert sorted(path.name for path in scratch.root.iterdir()) == [".mlops_nb", "data", "mine.txt"]


@pytest.mark.parametrize("what", ALLOWED)
def test_the_rest_is_as_always(scratch, what):
    done = attempt(scratch, ALLOWED[what])
    assert done.returncode == 0, done.stderr


def test_inputs_are_copied_and_compared_with_what_was_read(tmp_path):
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    for name in ("same", "changed", "unknown"):
        (root / "data" / name).write_text(name)
    outside = tmp_path / "outside.csv"
    outside.write_text("there")
    first = Scratch(root, tmp_path / "one").prepare([FileUse("data/same", "read")], ())
    uses = [FileUse("data/same", "read", first[0].now), FileUse("data/changed", "read", "0" * 32), FileUse("data/unknown", "read")]
    uses += [FileUse("data/gone", "read", "0" * 32), FileUse(str(outside), "read", "0" * 32), FileUse("https://host/file", "read")]
    scratch = Scratch(root, tmp_path / "two")
    states = scratch.prepare(uses, [FileUse("made/deep/out.csv", "write")])
    assert [(state.path.rpartition("/")[2], state.state) for state in states] == [
        ("same", "same"),
        ("changed", "changed"),
        ("unknown", "unknown"),
        ("gone", "gone"),
        ("outside.csv", "changed"),
    ]
    assert sorted(path.name for path in (scratch.work / "data").iterdir()) == ["changed", "same", "unknown"]
    assert (scratch.work / "made" / "deep").is_dir()


def test_modules_are_those_of_the_project(tmp_path):
    for name in (
        "helpers.py",
        "src/pack/__init__.py",
        ".hidden/no.py",
        "env/pyvenv.cfg",
        "env/lib/no.py",
        "node_modules/no.py",
        "pyproject.toml",
        "data.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert sorted(str(path.relative_to(tmp_path)) for path in modules(tmp_path)) == ["helpers.py", "pyproject.toml", "src/pack/__init__.py"]


def test_paths_in_code_are_those_of_the_scratch_folder(tmp_path):
    scratch = Scratch(tmp_path / "p", tmp_path / "s")
    assert scratch.in_here(f"open('{tmp_path}/p/a.csv'), '{tmp_path}/p', '{tmp_path}/pp', '{tmp_path}/p.csv'") == (
        f"open('{tmp_path}/s/work/a.csv'), '{tmp_path}/s/work', '{tmp_path}/pp', '{tmp_path}/p.csv'"
    )
