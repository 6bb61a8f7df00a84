"""What capture puts around libraries and under the interpreter changes nothing that a user could see."""

import asyncio
import inspect
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from pathlib import Path

import pytest

from mlops_nb.capture import audit, bypasses, files, touched
from mlops_nb.hashing import FileHasher
from mlops_nb.unseen import unseen


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    files.stop()


@pytest.fixture
def seen(here):
    """Run a function as if a cell did; answers with what it touched."""

    def run(work):
        files.install()
        files.start()
        try:
            work()
        finally:
            log = files.stop()
        return {f"{use.mode} {use.path}" for use in files.hashed(files.uses(log, files.Places(here, here / ".mlops_nb")), FileHasher())}

    return run


def script(body, *arguments):
    """Run Python in a process of its own; its output."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(body), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wrapped():
    """Each wrapped name that is imported: (module, owner, name, what stands there)."""
    for module, table in bypasses._BYPASSES.items():
        for bypass in table:
            owner = vars(sys.modules[module]).get(bypass.owner) if module in sys.modules and bypass.owner else sys.modules.get(module)
            found = vars(owner).get(bypass.method) if owner and bypass.method else None
            if found is not None:
                yield module, owner, bypass.method, found.__func__ if isinstance(found, staticmethod) else found


@pytest.fixture
def libraries():
    import fsspec.spec
    import httpx
    import pandas as pd
    import pyarrow.csv
    import pyarrow.dataset
    import pyarrow.feather
    import pyarrow.json
    import pyarrow.orc
    import pyarrow.parquet
    import requests

    files.install()
    return pd, pyarrow, requests, httpx, fsspec


@pytest.mark.usefixtures("libraries")
def test_every_row_of_the_table_for_an_installed_library_is_in_place():
    rows = list(wrapped())
    assert len(rows) > 30
    assert [(module, name) for module, _, name, found in rows if "_mlops_nb" not in found.__dict__] == []
    modules = {module for module, *_ in rows}
    assert {
        "pyarrow.lib",
        "pyarrow._csv",
        "pyarrow.parquet.core",
        "pandas.io.parquet",
        "requests.sessions",
        "httpx._client",
        "fsspec.spec",
    } <= modules


@pytest.mark.usefixtures("libraries")
def test_wrappers_keep_names_documentation_and_signatures():
    for module, _, name, found in wrapped():
        original = found.__wrapped__
        assert found.__name__ == getattr(original, "__name__", name), module
        assert found.__doc__ == original.__doc__
        assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(original)
        try:
            expected = inspect.signature(original)
        except ValueError:
            continue
        assert inspect.signature(found) == expected, (module, name)


def test_results_are_the_librarys_own(libraries, seen):
    _, pa, *_ = libraries
    table = pa.table({"a": [1, 2]})
    results = []

    def work():
        pa.csv.write_csv(table, "a.csv")
        results.append(pa.csv.read_csv("a.csv"))

    assert seen(work) == {"write a.csv"}
    assert results[0].equals(table)


@pytest.mark.parametrize("recording", [True, False])
def test_errors_are_the_librarys_own(libraries, recording):
    _, pa, *_ = libraries
    reader, original = pa.csv.read_csv, pa.csv.read_csv.__wrapped__
    wrong = [((), {}), (("missing.csv",), {}), ((1,), {}), (("a",), {"nonsense": 1}), (([1, None],), {}), ((object(),), {})]
    if recording:
        files.start()
    for args, kwargs in wrong:
        raised = []
        for call in (original, reader):
            with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever the library raises)
                call(*args, **kwargs)
            raised.append((caught.type, str(caught.value).partition(" object at 0x")[0]))
        assert raised[0] == raised[1]
    files.stop()


def test_a_traceback_has_one_more_frame_which_asks_to_be_hidden(libraries):
    _, pa, *_ = libraries
    with pytest.raises(FileNotFoundError) as caught:
        pa.csv.read_csv("missing.csv")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if "mlops_nb/capture" in frame.f_code.co_filename]
    assert [frame.f_locals.get("__tracebackhide__") for frame in frames] == [True]


def test_a_warning_that_looks_for_its_caller_does_not_stop_at_the_wrapper(here, monkeypatch):
    (here / "some_library.py").write_text(
        "import sys, warnings\n"
        "def read(path):\n"
        "    level, frame = 1, sys._getframe()\n"
        "    while frame.f_code.co_filename == __file__: level, frame = level + 1, frame.f_back\n"
        "    warnings.warn('look', UserWarning, stacklevel=level)\n"
    )
    monkeypatch.syspath_prepend(here)
    row = bypasses._Bypass("", "read", bypasses._named("read", 0, "path"))
    monkeypatch.setattr(bypasses, "_BYPASSES", {"some_library": (row,)})
    files.install()
    import some_library

    assert "_mlops_nb" in some_library.read.__dict__
    with pytest.warns(UserWarning, match="look") as caught:
        some_library.read("a")
    assert caught[0].filename == __file__


def test_nothing_is_noted_while_the_switch_is_off(libraries):
    pd, pa, *_ = libraries
    files.install()
    files.start()
    files.stop()
    pd.DataFrame({"a": [1]}).to_parquet("a.parquet")
    pa.csv.write_csv(pa.table({"a": [1]}), "a.csv")
    subprocess.run(["true", "a.csv"], check=True)
    assert not touched.recording()
    assert files.stop() == touched.Log()


def test_a_users_patch_of_a_wrapped_function_survives(libraries, seen, monkeypatch):
    _, pa, *_ = libraries
    monkeypatch.setattr(pa.csv, "read_csv", lambda path: f"mine: {path}")
    files.install()
    assert seen(lambda: None) == set()
    assert pa.csv.read_csv("x") == "mine: x" or "_mlops_nb" in pa.csv.read_csv.__dict__
    assert pa.csv.read_csv("x") == "mine: x"


@pytest.mark.usefixtures("libraries")
def test_a_second_install_wraps_nothing_twice():
    before = [found for *_, found in wrapped()]
    files.install()
    after = [found for *_, found in wrapped()]
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert not any(hasattr(found.__wrapped__, "_mlops_nb") for found in after)


def test_all_can_be_put_back(libraries):
    _, pa, *_ = libraries
    originals = [(owner, name, found.__wrapped__) for _, owner, name, found in wrapped()]
    bypasses.uninstall()
    try:
        for owner, name, original in originals:
            stands = vars(owner)[name]
            assert (stands.__func__ if isinstance(stands, staticmethod) else stands) is original
        with pa.OSFile(__file__) as file:
            assert type(file) is pa.OSFile
    finally:
        files.install()
    assert len(list(wrapped())) == len(originals)


def test_wrapped_functions_are_pickled_by_name(libraries):
    _, pa, requests, *_ = libraries
    for value in (pa.csv.read_csv, pa.memory_map, pa.OSFile, requests.Session.request):
        assert pickle.loads(pickle.dumps(value)) is value


def test_one_object_stays_one_object(libraries):
    _, pa, *_ = libraries
    assert pa.OSFile is pa.lib.OSFile
    assert pa.memory_map is pa.lib.memory_map
    assert pa.csv.read_csv is sys.modules["pyarrow._csv"].read_csv


def test_a_class_of_c_makes_and_knows_its_own_instances(libraries, seen):
    _, pa, *_ = libraries
    Path("a.txt").write_text("hello")
    made = []
    assert seen(lambda: made.extend([pa.OSFile("a.txt"), pa.input_stream("a.txt")])) == {"read a.txt"}
    assert all(isinstance(file, pa.OSFile) for file in made)
    assert type(made[0]).__mro__[1] is pa.NativeFile
    assert issubclass(type(made[0]), pa.OSFile)
    assert not isinstance(pa.BufferReader(b""), pa.OSFile)

    class Mine(pa.OSFile):
        def shout(self):
            return self.read().upper()

    mine = Mine("a.txt")
    assert mine.shout() == b"HELLO"
    assert (isinstance(mine, Mine), isinstance(made[0], Mine), issubclass(Mine, pa.OSFile)) == (True, False, True)


def test_an_awaited_method_stays_one(libraries):
    _, _, _, httpx, _ = libraries
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))

    async def get():
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.get("https://example.org/a.csv")).text

    assert asyncio.run(get()) == "hello"


def test_duckdb_still_finds_the_variables_of_its_caller(seen):
    duckdb = pytest.importorskip("duckdb")
    import pandas as pd

    def work():
        mine = pd.DataFrame({"a": [7]})
        con = duckdb.connect()
        assert con.execute("select a from mine").fetchall() == [(7,)]
        assert con.sql("select a from mine").fetchall() == [(7,)]
        assert duckdb.sql("select a from mine").fetchall() == [(7,)]
        assert len(mine) == 1

    assert seen(work) == set()
    files.stop()
    work()


def test_duckdb_finds_global_variables():
    pytest.importorskip("duckdb")
    out = script("""
        from mlops_nb.capture import files
        files.install(); files.start()
        import duckdb, pandas as pd
        frame = pd.DataFrame({"a": [7]})
        print(duckdb.sql("select a from frame").fetchall(), duckdb.connect().execute("select a from frame").fetchall())
        def inside(): return duckdb.sql("select a from frame").fetchall()
        print(inside(), sorted(name for name in globals() if "mlops" in name))
    """)
    assert out.splitlines() == ["[(7,)] [(7,)]", "[(7,)] []"]


LATE = """
    import os, sys
    os.chdir(sys.argv[1])
    import {library}
    from mlops_nb.capture import files
    from pathlib import Path
    files.install(); files.start()
    {work}
    root = Path.cwd()
    print(*sorted(f"{{use.mode}} {{use.path}}" for use, _ in files.uses(files.stop(), files.Places(root, root / ".mlops_nb"))))
"""


@pytest.mark.parametrize(
    ("library", "work", "expected"),
    [
        ("polars as pl", "pl.DataFrame({'a': [1]}).write_csv('a.csv')", "write a.csv"),
        ("polars as pl", "pl.DataFrame({'a': [1]}).write_json('a.json')", "write a.json"),
        ("duckdb", "duckdb.sql(\"copy (select 1) to 'a.csv'\")", "write a.csv"),
        ("pyarrow.csv, pyarrow as pa", "pa.csv.write_csv(pa.table({'a': [1]}), 'a.csv')", "write a.csv"),
        ("pandas as pd, pyarrow.parquet", "pd.DataFrame({'a': [1]}).to_parquet('a.parquet')", "write a.parquet"),
        ("pyarrow.feather, pyarrow as pa", "pa.feather.write_feather(pa.table({'a': [1]}), 'a')", "write a"),
    ],
)
def test_a_library_imported_before_capture_is_seen_too(here, library, work, expected):
    pytest.importorskip(library.partition(" ")[0].partition(".")[0].strip(","))
    assert script(LATE.format(library=library, work=work), str(here)) == expected


def test_importing_costs_no_more_than_before():
    body = """
        import sys, time
        {install}
        start = time.process_time()
        import pyarrow.dataset, pyarrow.csv, pyarrow.parquet, pyarrow.feather, requests, httpx
        print(time.process_time() - start)
    """
    plain, ours = ([float(script(body.format(install=install))) for _ in range(3)] for install in ("", INSTALL))
    assert min(ours) < min(plain) * 1.2 + 0.05


INSTALL = "from mlops_nb.capture import files; files.install()"


def test_installing_imports_no_library():
    body = f"import sys; {INSTALL}; print(*sorted(sys.modules.keys() & {{'pandas', 'numpy', 'pyarrow', 'polars', 'duckdb', 'requests', 'IPython'}}))"
    assert script(body) == ""


# --- faults and bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, OSError, SystemExit, RecursionError, MemoryError, GeneratorExit])
def test_a_fault_inside_never_reaches_the_user_and_comes_out_at_the_end(libraries, monkeypatch, error):
    _, pa, *_ = libraries

    def fail(*_, **__):
        raise error("injected")

    for name in ("note_open", "note_named", "note_guess", "note_move", "note_removal"):
        monkeypatch.setattr(touched, name, fail)
    files.start()
    Path("a.txt").write_text("x")
    Path("a.txt").rename("b.txt")
    pa.csv.write_csv(pa.table({"a": [1]}), "a.csv")
    assert subprocess.run(["cat", "b.txt"], capture_output=True, check=True).stdout == b"x"
    Path("b.txt").unlink()
    with pytest.raises(error, match="injected"):
        files.stop()
    assert files.stop() == touched.Log()


def test_what_is_asked_of_users_objects_is_only_their_type(libraries, seen):
    class Trap:
        def __fspath__(self):
            return touch("fspath")

        def __str__(self):
            return touch("str")

        def __getattr__(self, name):
            return touch(name)

        def __eq__(self, other):
            return touch("eq")

        __hash__ = None

    class Named(str):
        __slots__ = ()

        def __contains__(self, part):
            return touch("contains")

    touches = []

    def touch(name):
        touches.append(name)
        return "x"

    _, pa, *_ = libraries

    def work():
        for trap in (Trap(), [Trap(), {"a": Trap()}]):
            before = len(touches)
            with pytest.raises(Exception):  # noqa: B017, PT011 (whatever the library raises)
                pa.csv.read_csv.__wrapped__(trap)
            theirs = touches[before:]
            del touches[before:]
            with pytest.raises(Exception):  # noqa: B017, PT011
                pa.csv.read_csv(trap)
            assert touches[before:] == theirs
            del touches[before:]
        touched.note_named(Named("a"), "read")

    assert seen(work) == set()
    assert touches == []


def test_many_files_are_bounded(here, monkeypatch):
    monkeypatch.setattr(touched, "MAX_FILES", 50)
    files.install()
    files.start()
    for number in range(80):
        Path(f"f{number}").write_text("x")
    assert len(files.uses(files.stop(), files.Places(here, here / ".mlops_nb"))) == 50


def test_a_long_command_is_bounded(seen):
    for number in range(200):
        Path(f"f{number}").write_text("x")
    assert len(seen(lambda: subprocess.run(["true", *(f"f{number}" for number in range(200))], check=True))) == 64


def test_files_opened_by_ourselves_are_unseen(seen):
    def work():
        with unseen():
            Path("ours.txt").write_text("x")
        Path("theirs.txt").write_text("x")

    assert seen(work) == {"write theirs.txt"}


def test_our_threads_hide_their_own_files_and_nobody_elses(seen):
    """As when the notebook is read, or a big file is hashed, while the next cell runs."""
    inside, cell_begins, cell_ends = threading.Event(), threading.Event(), threading.Event()

    def ours():
        with unseen():
            inside.set()
            cell_begins.wait(10)
            Path("ours.txt").write_text("x")
        cell_ends.set()

    def cell():
        cell_begins.set()
        Path("theirs.txt").write_text("x")
        assert cell_ends.wait(10)
        Path("theirs too.txt").write_text("x")

    thread = threading.Thread(target=ours)
    thread.start()
    assert inside.wait(10)
    found = seen(cell)
    thread.join()
    assert found == {"write theirs.txt", "write theirs too.txt"}


def test_a_symlink_is_the_file_it_points_to(seen):
    Path("a.txt").write_text("x")
    Path("link.txt").symlink_to("a.txt")
    assert seen(lambda: Path("link.txt").read_text()) == {"read a.txt"}


def test_handlers_get_their_events_only_while_recording():
    got = []
    audit.subscribe("mlops_nb.test", got.append)
    sys.audit("mlops_nb.test", 1)
    audit.start()
    sys.audit("mlops_nb.test", 2)
    audit.subscribe("mlops_nb.test2", got.append)
    sys.audit("mlops_nb.test2", 3)
    audit.stop()
    sys.audit("mlops_nb.test", 4)
    assert got == [(2,), (3,)]


def test_an_interrupt_inside_a_handler_is_the_users():
    def interrupted(_):
        raise KeyboardInterrupt

    audit.subscribe("mlops_nb.interrupt", interrupted)
    audit.start()
    with pytest.raises(KeyboardInterrupt):
        sys.audit("mlops_nb.interrupt")
    audit.stop()
