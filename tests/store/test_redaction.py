import base64
import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.store.redaction import MARK, Redactor

LEAKS = [
    ('password = "correct horse"', "correct horse"),
    ("db_password: str = 'hunter22'", "hunter22"),
    ('connect(user="me", passwd="hunter22")', "hunter22"),
    ('os.environ["DB_PASSWORD"] = "hunter22"', "hunter22"),
    ('{"token": "a1b2c3d4e5"}', "a1b2c3d4e5"),
    ('"{\\"api_key\\": \\"a1b2c3d4e5\\"}"', "a1b2c3d4e5"),
    ("api_key: a1b2c3d4e5", "a1b2c3d4e5"),
    ("apiKey='a1b2c3d4e5'", "a1b2c3d4e5"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzz1", "wJalrXUtnFEMI"),
    ("aws_access_key_id = AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("key = ghp_0123456789abcdefghij0123456789abcdef", "ghp_0123456789abcdefghij"),
    ("github_pat_11ABCDEFG0123456789_abcdefghijklmnop", "11ABCDEFG0123456789"),
    ("xoxb-1234567890-abcdefghijkl", "1234567890-abcdefghijkl"),
    ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "SyA1234567890"),
    ("sk-proj-abcdefghijklmnopqrstuvwxyz0123", "abcdefghijklmnop"),
    ("sk-ant-api03-abcdefghijklmnopqrstuvwxyz", "api03-abcdefghij"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "dozjgNryP4J3"),
    ("postgresql://me:s3cr3t@db.example/flights", "s3cr3t"),
    ("redis://:s3cr3tpw@localhost:6379/0", "s3cr3tpw"),
    ("curl -H 'Authorization: Bearer abc.def.ghi123'", "abc.def.ghi123"),
    ('headers = {"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
    ("authorization: token 0123456789abcdef", "0123456789abcdef"),
    ("tool --auth-token s3cr3t!value run", "s3cr3t!value"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc/+=\n-----END RSA PRIVATE KEY-----\n", "MIIEowIBAAKCAQEA"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA", "b3BlbnNzaC1rZXktdjEA"),
]
HARMLESS = [
    "token = get_token()",
    "password = os.environ['DB_PASSWORD']",
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "max_tokens=512",
    "secret = load(1)",
    "token_counts = tokens[0]",
    "sort_key: abc123def",
    "key = 'departure_delay'",
    "df.groupby('key').sum()",
    "def check(password: str) -> bool:",
    "for token in tokens: print(token)",
    "https://github.com/owner/repo@v1",
    "http://localhost:8888/lab",
    "task-force-of-ordinary-words-here",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "x = rng.normal(size=100)  # risk-adjusted-return-on-capital",
]


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_secrets_are_taken_out_and_lines_stay(text: str, secret: str) -> None:
    redacted = Redactor({}).text(f"first\n{text}\nlast")
    assert secret not in redacted
    assert MARK in redacted
    assert redacted.count("\n") == f"first\n{text}\nlast".count("\n")
    assert redacted.startswith("first\n")


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_code_is_left_alone(text: str) -> None:
    assert Redactor({}).text(text) == text


@pytest.mark.parametrize(
    "name", ["GH_TOKEN", "MY_SECRET", "PGPASSWORD", "X_PASSWD", "SOME_API_KEY", "APIKEY", "AWS_CREDENTIAL", "SSH_PRIVATE", "BASIC_AUTH", "DB_PWD"]
)
def test_values_of_secret_variables_are_known(name: str) -> None:
    assert Redactor({name: "zebra crossing"}).text("a zebra crossing b") == f"a {MARK} b"


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "SSH_AUTH_SOCK", "GIT_AUTHOR_NAME", "TOKENIZERS_PARALLELISM", "PATH", "HOME"])
def test_values_of_ordinary_variables_are_not(name: str) -> None:
    assert Redactor({name: "zebra crossing"}).text("a zebra crossing b") == "a zebra crossing b"


def test_a_variable_set_later_is_known_at_once_and_stays_known(monkeypatch) -> None:
    redactor = Redactor(os.environ)
    assert redactor.text("quagga-9") == "quagga-9"
    monkeypatch.setenv("LATE_TOKEN", "quagga-9")
    assert redactor.text("quagga-9") == MARK
    monkeypatch.delenv("LATE_TOKEN")
    assert redactor.text("quagga-9") == MARK


def test_other_spellings_of_a_known_secret_are_found() -> None:
    redactor = Redactor({"X_SECRET": 'a/b "c"\nsecond long line of it'})
    for text in (
        'a/b "c"\nsecond long line of it',
        "a%2Fb%20%22c%22%0Asecond%20long%20line%20of%20it",
        'a/b \\"c\\"\\nsecond long line of it',
        "second long line of it",
    ):
        assert "long" not in redactor.text(text), text


def test_nested_values_are_redacted_keys_too() -> None:
    redactor = Redactor({"X_TOKEN": "quagga-9"})
    value = {"quagga-9": 1, "api_key": "whatever it is", "deep": [{"t": ("x quagga-9", 5, None, True)}], "tokens": ["ordinary"]}
    assert redactor.value(value) == {MARK: 1, "api_key": MARK, "deep": [{"t": (f"x {MARK}", 5, None, True)}], "tokens": ["ordinary"]}


def test_a_secret_over_several_items_of_a_notebooks_source_is_found() -> None:
    source = ["key = '''-----BEGIN PRIVATE KEY-----\n", "MIIEowIBAAKCAQEA\n", "-----END PRIVATE KEY-----'''\n", "x = 1"]
    redacted = Redactor({}).value({"source": source})["source"]
    assert len(redacted) == len(source)
    assert redacted[-1] == "x = 1"
    assert "MIIEow" not in "".join(redacted)


@given(st.text(), st.sampled_from(LEAKS))
def test_no_text_breaks_it_or_changes_its_lines(noise: str, leak: tuple[str, str]) -> None:
    text = f"{noise} {leak[0]}"
    assert Redactor({}).text(text).count("\n") == text.count("\n")


def milliseconds(text: str) -> float:
    redactor = Redactor({"X_TOKEN": "quagga-9"})
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        redactor.text(text)
        best = min(best, time.process_time() - start)
    return best * 1e3


def test_a_long_line_takes_linear_time() -> None:
    line = base64.b64encode(random.Random(7).randbytes(150_000)).decode()
    assert milliseconds("password: " + line) < 20


PIECES = ["eyJ", "eyJa.", "sk-", "://", "://a:", "--token ", "--a", "-----BEGIN PRIVATE KEY-----", "password=", "password='"]


@pytest.mark.parametrize("piece", [*PIECES, "password='x", "token:", "api_key", "bearer ", "authorization:", "ghp_"])
def test_no_repetition_takes_more_than_linear_time(piece: str) -> None:
    short, long = (milliseconds(piece * (size // len(piece))) for size in (50_000, 200_000))
    assert long < 12 * short + 5, (short, long)
