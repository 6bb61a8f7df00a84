"""The names in shell commands and queries, and addresses without what is secret in them."""

import pytest

from mlops_nb.capture.processes import MAX_WORDS, named_files, note_command
from mlops_nb.capture.touched import public_url, start, stop


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat a.csv", {"a.csv": "both"}),
        ("cat 'with space.csv' \"and another.csv\"", {"with space.csv": "both", "and another.csv": "both"}),
        ("sort<a>b", {"a": "read", "b": "write"}),
        ("sort a >> b 2>&1", {"a": "both", "b": "both"}),
        ("x 2> err.txt", {"err.txt": "write"}),
        ("x &> all.txt", {"all.txt": "write"}),
        ("make --out=x.csv -o y.csv if=z", {"x.csv": "both", "y.csv": "both", "z": "both"}),
        ("curl -d @body.json https://host/x", {"body.json": "both", "https://host/x": "both"}),
        ("cd data && cat a | sort > b; cat c", {"data/a": "both", "data/b": "write", "data/c": "both"}),
        ("cd data/deep\ncat a", {"data/deep/a": "both"}),
        ("head -n 3 a", {"a": "both"}),
        ("cat a # not b", {"a": "both"}),
        ("echo 'open", {"'open": "both"}),
        ("python3 a/b=c.py", {"a/b=c.py": "both"}),
        ("(cat a; cat b) | wc", {"a": "both", "b": "both"}),
        ("", {}),
        ("ls -la", {}),
    ],
)
def test_words_that_may_name_files(command, expected):
    assert dict(named_files(command)) == expected


@pytest.mark.parametrize(
    "command", ["\0", "cat \0", "cat " + "x" * 100_000, "'" * 999, "((((", "cat ~nobody-here/x $UNSET_/x", b"\xff\xfe a", 7, None, object()]
)
def test_no_command_breaks_it(command):
    start()
    note_command(command)
    stop()


def test_as_many_words_as_fit():
    start()
    note_command("cat " + " ".join(f"f{number}" for number in range(1000)))
    assert len(stop().files) == MAX_WORDS


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a/b.csv", "https://host/a/b.csv"),
        ("https://user:word@host:8443/a?token=1#x", "https://host:8443/a"),
        ("s3://key:secret@bucket/a.parquet", "s3://bucket/a.parquet"),
        ("https://a@b@host/x", "https://host/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[broken/x", ""),
        ("data:text/plain,hello", ""),
        ("file:///etc/passwd", ""),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_an_address_keeps_no_secret(url, expected):
    assert public_url(url) == expected
