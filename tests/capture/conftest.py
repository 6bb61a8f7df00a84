"""Fixtures that the tests of file capture share."""

import gc

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher


@pytest.fixture
def watched_shell(tmp_path, monkeypatch):
    """(shell, its watcher, the runs delivered), in a folder that is a project."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    runs = []
    watcher = Watcher(shell, lambda run, _: runs.append(run), notebook="", session_id="s", layout_root=tmp_path)
    watcher.start()
    yield shell, watcher, runs
    watcher.stop()
    InteractiveShell.clear_instance()
    gc.collect()  # what cells left open is closed while its warnings are still this test's


@pytest.fixture
def touch(watched_shell):
    """Run cells; answers with the last one's run."""
    shell, watcher, runs = watched_shell

    def run(*sources):
        for source in sources:
            assert shell.run_cell(source, store_history=True).success
        assert len(watcher.history.runs) == len(sources)
        assert watcher.failures == 0
        return runs[-1]

    return run
