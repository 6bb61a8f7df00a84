"""Kernels from a fork server: like those that are started, alone in their process, and none is left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from mlops_nb.pipeline import forking
from mlops_nb.pipeline.forking import ForkServer, close_all, forked
from mlops_nb.pipeline.preloading import modules_of
from mlops_nb.pipeline.run import KernelSetup, execute_notebook

MODULES = ("numpy", "pandas")
COMMAND = (sys.executable, *forking.LAUNCHER)


@pytest.fixture(autouse=True)
def servers():
    yield
    close_all()
    forking._unfit.clear()


@pytest.fixture
def printed(tmp_path, write_notebook):
    """What cells print in a kernel: `printed(*cells, modules=None)` starts it, with modules it is forked."""

    def run(*cells, modules=MODULES, environ=None, parameters=None):
        source, target = write_notebook(*cells), tmp_path / "executed.ipynb"
        kernel = KernelSetup({**os.environ, **(environ or {})}, tmp_path, modules=modules)
        ended = execute_notebook(source, target, kernel=kernel, parameters=parameters)
        assert ended.error == ""
        outputs = [output for cell in json.loads(target.read_text())["cells"] for output in cell["outputs"]]
        return [output.get("text") or sorted(output["data"]) for output in outputs]

    return run


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


LOOKS_ALIKE = {
    "arguments": "import sys; print([argument.split('/')[-1] for argument in sys.argv if 'parent_handle' not in argument])",
    "import path": "import sys; print(sys.path)",
    "main module": "import __main__; print(__main__ is get_ipython().user_module, __name__, '__file__' in globals())",
    "folder": "import os; print(os.getcwd())",
    "environment": "import os, sklearn.ensemble; print(sorted(name for name in os.environ if name not in ('JPY_PARENT_PID',)))",
    "signals": "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM))",
    "standard streams": "import sys, os; print(type(sys.stdout), os.read(0, 1))",
    "session": "import os; print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())",
    "hash seed": "print(hash('x'))",
    "exit handlers": "import atexit; print(atexit._ncallbacks() < 50)",
    "a plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "a frame": "import pandas as pd\npd.DataFrame({'a': [1]})",
    "threads": "import numpy as np\nfrom concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(4) as pool:\n    print(sum(pool.map(lambda n: float((np.ones((300, 300)) @ np.ones((300, 300)))[0, 0]), range(8))))",
    "processes": "from multiprocessing import get_context\nwith get_context('fork').Pool(2) as pool:\n    print(pool.map(abs, [-1, 2]))",
    "a shell": "!echo hello",
    "processes of joblib": "from joblib import Parallel, delayed\nprint(Parallel(n_jobs=2)(delayed(abs)(n) for n in (-1, -2)))",
    "async": "import asyncio\nawait asyncio.sleep(0.01)\nprint('slept')",
    "forest": "from sklearn.ensemble import RandomForestClassifier\nfrom sklearn.datasets import make_classification\n"
    "X, y = make_classification(300, random_state=0)\nprint(RandomForestClassifier(20, random_state=0, n_jobs=2).fit(X, y).predict_proba(X).sum())",
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Each of LOOKS_ALIKE in a started and in a forked kernel, as outputs."""
    folder = tmp_path_factory.mktemp("both")
    cells = [
        {"cell_type": "code", "execution_count": None, "id": str(n), "metadata": {}, "outputs": [], "source": s}
        for n, s in enumerate(LOOKS_ALIKE.values())
    ]
    (folder / "all.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    found = []
    for modules in (None, (*MODULES, "sklearn.ensemble")):
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        ended = execute_notebook(folder / "all.ipynb", folder / "out.ipynb", kernel=KernelSetup(environ, folder, modules=modules))
        assert ended.error == "", ended
        executed = json.loads((folder / "out.ipynb").read_text())["cells"]
        found.append(
            {name: [out.get("text") or sorted(out["data"]) for out in cell["outputs"]] for name, cell in zip(LOOKS_ALIKE, executed, strict=True)}
        )
    close_all()
    return found


@pytest.mark.parametrize("name", LOOKS_ALIKE)
def test_a_forked_kernel_looks_like_a_started_one(name, both):
    started, forked_one = both
    assert forked_one[name] == started[name] != []


def test_it_has_its_modules_before_the_first_cell(printed):
    asked = "import sys; print('pandas' in sys.modules, 'mlops_nb.magics' in sys.modules)"
    assert printed(asked) == ["True True\n"]
    assert printed(asked, modules=None) == ["False False\n"]


def test_kernels_of_a_server_draw_each_their_own_numbers(printed):
    draws = "import random, numpy as np, uuid, secrets; print(random.random(), np.random.rand(), np.random.default_rng().random(), uuid.uuid4())"
    found = [text for _ in range(3) for text in printed(draws)]
    numbers = [word for text in found for word in text.split()]
    assert len(numbers) == len(set(numbers)) == 12


def test_a_kernel_leaves_nothing_to_the_next(printed):
    printed("import json, os\njson.left = 1\nos.environ['LEFT'] = '1'\nimport sys\nsys.path.append('/left')\nx = 1")
    assert printed("import json, os, sys\nprint(hasattr(json, 'left'), 'LEFT' in os.environ, '/left' in sys.path, 'x' in globals())") == [
        "False False False False\n"
    ]


def test_a_changed_file_of_the_users_is_read_anew(printed, tmp_path):
    for value in (1, 2):
        (tmp_path / "own.py").write_text(f"VALUE = {value}\n" + "#" * value)
        assert modules_of(["import own, json"], [tmp_path]) == ("json",)
        assert printed("import own; print(own.VALUE)") == [f"{value}\n"]


def test_another_environment_is_another_server(printed):
    assert [printed("import os; print(os.environ.get('CITY'))", environ={"CITY": city}) for city in ("Ulm", "Bonn", "Ulm")] == [
        ["Ulm\n"],
        ["Bonn\n"],
        ["Ulm\n"],
    ]
    assert len(forking._servers) == 2
    printed("1", environ={"CITY": "Ulm", "MLOPS_NB_RUN": ""})
    assert len(forking._servers) == 2


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(100,), daemon=True).start()", "threads"),
        ("import matplotlib.pyplot", "draws"),
    ],
)
def test_a_module_that_does_not_bear_a_fork_is_left_out(tmp_path, source, reason):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "unfit_one.py").write_text(source)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    process = forked([*COMMAND, "-f", str(tmp_path / "k.json")], environ=environ, cwd=tmp_path, modules=["json", "unfit_one", "numpy"])
    assert process is not None
    (server,) = forking._servers.values()
    assert server.modules == ("json", "numpy")
    assert forking._unfit == {"unfit_one"}
    refusing = ForkServer(environ, tmp_path, ["unfit_one"])
    assert wait_until(lambda: refusing.refused)
    assert reason in refusing.refused["unfit_one"]
    refusing.close()


def test_a_kernel_runs_on_when_a_later_module_does_not_bear_a_fork(tmp_path):
    """The server imports for the steps to come while a kernel of the first one runs."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "slow_one.py").write_text("import time\ntime.sleep(1)")
    (tmp_path / "lib" / "unfit_one.py").write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(100,), daemon=True).start()")
    server = ForkServer({**os.environ, "PYTHONPATH": str(tmp_path / "lib")}, tmp_path, ["json", "slow_one", "unfit_one"])
    try:
        process = server.fork(["-f", str(tmp_path / "k.json")], ["json"], environ=dict(os.environ), cwd=tmp_path)
        assert process is not None
        assert wait_until(lambda: server.refused)
        assert server.fork(["-f", str(tmp_path / "l.json")], ["json"], environ=dict(os.environ), cwd=tmp_path) is None
        time.sleep(0.5)
        assert process.poll() is None
        assert is_running(process.pid)
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    finally:
        server.close()


def test_a_module_that_cannot_be_imported_is_for_the_step_to_say(printed):
    assert printed("try:\n    import no_such_module\nexcept ImportError as error:\n    print(error)", modules=("no_such_module",)) == [
        "No module named 'no_such_module'\n"
    ]


def test_a_server_that_was_killed_is_replaced(printed):
    printed("1")
    (server,) = forking._servers.values()
    os.kill(server.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.alive)
    assert printed("print('well')") == ["well\n"]


def test_many_kernels_leave_no_process_and_no_file(printed, monkeypatch):
    folder = tempfile.mkdtemp(prefix="k")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    pids = [int(printed("import os; print(os.getpid())")[0]) for _ in range(8)]
    assert len(set(pids)) == 8
    (server,) = forking._servers.values()
    assert wait_until(lambda: server.idle)
    close_all()
    assert not any(is_running(pid) for pid in (*pids, server.process.pid))
    Path(folder).rmdir()  # which fails where something is left in it


def test_a_folder_too_deep_for_a_socket_is_no_hindrance(printed, tmp_path, monkeypatch):
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert printed("print('well')") == ["well\n"]
    assert [*deep.iterdir()] == []


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_ends_takes_its_kernels_along(tmp_path, write_notebook, signum):
    source = write_notebook("import os, pathlib, time\npathlib.Path('pids').write_text(f'{os.getpid()} {os.getppid()}')\ntime.sleep(100)")
    driver = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from mlops_nb.pipeline.run import KernelSetup, execute_notebook
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
        execute_notebook(Path({str(source)!r}), Path("out.ipynb"), kernel=KernelSetup(dict(os.environ), Path.cwd(), modules=("numpy",)))
        """
    )
    with subprocess.Popen([sys.executable, "-c", driver], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        assert wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
        pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        assert all(map(is_running, pids))
        process.send_signal(signum)
        process.wait(20)
    assert wait_until(lambda: not any(map(is_running, pids)))


def test_a_child_of_the_driver_keeps_no_server_alive(tmp_path):
    """Such as a pool of processes in the notebook that ran the pipeline."""
    driver = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from mlops_nb.pipeline.forking import forked, LAUNCHER, _servers
        forked([sys.executable, *LAUNCHER, "-f", "k.json"], environ=dict(os.environ), cwd=Path.cwd(), modules=())
        (server,) = _servers.values()
        if os.fork() == 0:
            time.sleep(100)
        Path("server").write_text(str(server.process.pid))
        os._exit(0)
        """
    )
    with subprocess.Popen([sys.executable, "-c", driver], cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        process.wait(30)
    try:
        server = int((tmp_path / "server").read_text())
        assert wait_until(lambda: not is_running(server))
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_papermill_itself_may_use_such_kernels(tmp_path, write_notebook):
    source = write_notebook("import sys; print('numpy' in sys.modules)")
    subprocess.run([sys.executable, "-m", "papermill", str(source), "out.ipynb", "-k", "mlops-nb"], cwd=tmp_path, check=True, capture_output=True)
    assert json.loads((tmp_path / "out.ipynb").read_text())["cells"][0]["outputs"][0]["text"] == ["True\n"]


def test_requests_from_many_threads_get_each_their_kernel(tmp_path):
    server = ForkServer(dict(os.environ), tmp_path, ["numpy"])
    try:
        from concurrent.futures import ThreadPoolExecutor

        def one(number):
            process = server.fork(["-f", str(tmp_path / f"{number}.json")], ["numpy"], environ=dict(os.environ), cwd=tmp_path)
            time.sleep(random.random() / 10)
            process.kill()
            return process.pid, process.wait(20)

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(one, range(24)))
        assert len({pid for pid, _ in found}) == 24
        assert {code for _, code in found} == {-signal.SIGKILL}
    finally:
        server.close()
