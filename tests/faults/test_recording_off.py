"""Where nothing can be recorded the user's cells still run, and a visible status says that recording is off."""

import time
from pathlib import Path

LIMIT = 64 << 10


def test_a_home_that_cannot_be_made_leaves_cells_alone_and_says_so(start_kernel, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a regular file where a folder is wanted")
    kernel = start_kernel(MLOPS_NB_HOME=str(blocked / "home"))
    loaded = kernel.run("%load_ext mlops_nb", "c0")
    assert loaded.status == "ok"
    assert loaded.stderr.count("recording is off") == 1
    ran = kernel.run("x = 20 + 1\nx * 2", "c1")
    assert (ran.status, ran.text, ran.stderr) == ("ok", "42", "")
    assert ran.deltas[-1]["recording"]["on"] is False
    assert "off" in kernel.run("print(get_ipython().run_line_magic('mlops', 'status').text())", "c2").stdout


def test_a_full_disk_leaves_cells_alone_and_says_so_once(start_kernel) -> None:
    kernel = start_kernel()
    assert kernel.run("%load_ext mlops_nb", "c0").status == "ok"
    assert kernel.run("import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN);", "c1").stderr == ""
    kernel.run(f"resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, resource.RLIM_INFINITY))", "c2")
    warnings = ""
    for number in range(40):
        ran = kernel.run(f"text_{number} = '{'x' * 4000}'\n{number} + 1", f"d{number}")
        assert (ran.status, ran.text) == ("ok", str(number + 1))
        warnings += ran.stderr
        if warnings:
            break
    assert warnings.count("recording is off") == 1
    kernel.run("resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))", "e0")
    deadline = time.monotonic() + 30
    while not kernel.run("y = 1", "e1").deltas[-1]["recording"]["on"]:
        assert time.monotonic() < deadline, "recording does not come back once there is room again"
        time.sleep(0.2)


def test_a_library_s_warning_that_python_shows_once_is_shown_once(start_kernel, tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text("import warnings\ndef use(): warnings.warn('careful')")
    kernel = start_kernel()
    assert kernel.run("%load_ext mlops_nb", "c0").status == "ok"
    kernel.run("import library", "c1")
    assert ["careful" in kernel.run(f"library.use()\n{number} + 1", f"c{number}").stderr for number in range(2, 5)] == [True, False, False]
