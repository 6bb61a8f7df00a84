import subprocess
from importlib import metadata

import pytest

from mlops_nb.capture.environment import MAX_DIFF, census, lock_text, variable_digest, variables_read


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_repository(repository):
    found = census(repository)
    assert len(found.commit_id) == 40
    assert (found.dirty, found.diff, found.untracked) == (False, "", ())


def test_uncommitted_changes_and_new_files(repository):
    (repository / "a.py").write_text("x = 2\n")
    (repository / "new name.py").write_text("y = 1\n")
    found = census(repository)
    assert found.dirty
    assert "+x = 2" in found.diff
    assert found.untracked == ("new name.py",)


def test_a_huge_diff_is_cut(repository):
    (repository / "a.py").write_text("x = 1\n" * 600_000)
    assert len(census(repository).diff) == MAX_DIFF


def test_no_repository_and_no_commit(tmp_path):
    assert census(tmp_path).commit_id == ""
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("x")
    found = census(tmp_path)
    assert (found.commit_id, found.diff, found.untracked) == ("", "", ("a.py",))


def test_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = census(tmp_path)
    assert (found.commit_id, found.dirty) == ("", False)
    assert found.python.startswith("CPython 3.")


def test_the_lock_names_what_is_installed():
    lines = lock_text().splitlines()
    assert f"ipython=={metadata.version('ipython')}" in lines
    assert f"scikit-learn=={metadata.version('scikit-learn')}" in lines
    assert lock_text() == "".join(sorted(lock_text().splitlines(keepends=True)))
    named = {line.split("==")[0] for line in lines}
    assert len(named) == len(lines)


def test_the_lock_agrees_with_the_metadata_of_each_distribution():
    slow = {}
    for distribution in metadata.distributions():
        slow.setdefault(distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-"), distribution.version)
    assert dict(line.split("==") for line in lock_text().splitlines()) == slow


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("os.environ['A']", {"A"}),
        ("environ.get('A', 'b')", {"A"}),
        ("os.getenv('A')", {"A"}),
        ("getenv('A')", {"A"}),
        ("os.environ['A'] = '1'", set()),
        ("os.environ[name]", set()),
        ("d.get('A')", set()),
        ("x = 'environ'", set()),
        ("def (environ", set()),
    ],
)
def test_variables(source, expected):
    assert variables_read(source) == expected


def test_a_variables_digest_tells_values_apart():
    assert variable_digest("a") != variable_digest("b")
    assert variable_digest(None) == ""
    assert variable_digest("") != ""
