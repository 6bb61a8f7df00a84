"""Sessions in a shell that is used again for the next one."""

from mlops_nb.capture.watch import Watcher


def play(shell, folder, cells):
    """Run pairs of cell id and source; the session's history."""
    for name in shell.user_ns.keys() - {"__name__", "__builtin__", "__builtins__"}:  # as `shell.reset`, which collects all garbage each time
        del shell.user_ns[name]
    shell.user_ns_hidden.clear()
    shell.init_user_ns()
    shell.execution_count = 1
    watcher = Watcher(shell, lambda *_: None, notebook="", session_id="s", layout_root=folder)
    watcher.start()
    for cell_id, source in cells:
        assert shell.run_cell(source, store_history=True, cell_id=cell_id).success
    watcher.stop()
    return watcher.history
