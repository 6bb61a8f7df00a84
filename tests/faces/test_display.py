"""Reports in a narrow terminal, in a notebook, and their times."""

import time

import pytest

from mlops_nb.display import Report, Table, moment

WHY = "the parameter year changed from 2013 to 2014 and the step before it will run again"
STEPS = Table(
    ("step", "owner", "why", "code", "seconds", "notebook"),
    (
        ("holds_in_every_later_month", "", WHY, "scores = clf.predict_proba(later[FEATURES])[:, 1]", 1.5, "notebooks/flight_delays.ipynb"),
        ("answers_for_one_flight", "", "first run", "", 0.25, ""),
    ),
    cut=("code",),
)


@pytest.mark.parametrize("width", [60, 80, 100, 160, 240])
def test_a_table_fits_and_its_names_stay_whole(width) -> None:
    text = Report(tables=(STEPS,)).text(width)
    assert max(map(len, text.splitlines())) <= width
    for row in STEPS.rows:
        assert any(line.split()[:1] == [row[0]] for line in text.splitlines())


def test_long_texts_go_on_below_and_code_is_cut() -> None:
    lines = Report(tables=(STEPS,)).text(80).splitlines()
    start, end = lines[0].index("why"), lines[0].index("code")
    column = [line[start:end].strip() for line in lines[1:] if not line.startswith("  (")]
    assert " ".join(column).startswith(WHY)
    assert sum("scores" in line for line in lines) == 1
    assert "predict_proba(later[FEATURES])" not in " ".join(lines)


def test_columns_without_a_word_are_left_out_and_those_without_room_are_named() -> None:
    text = Report(tables=(STEPS,)).text(80)
    assert "owner" not in text
    assert text.splitlines()[-1] == "  (in a wider terminal also: notebook)"
    assert "wider" not in Report(tables=(STEPS,)).text(240)


def test_a_long_value_keeps_its_words_whole() -> None:
    digest = "a1" * 40
    lines = Report(values={"metrics": "auc=0.7336, brier=0.1407, late_share=0.2069", "id": digest}).text(40).splitlines()
    assert [line.strip() for line in lines[:2]] == ["metrics  auc=0.7336, brier=0.1407,", "late_share=0.2069"]
    assert digest in lines[-1]


def test_html_is_escaped_and_aligned_as_text() -> None:
    shown = Report(title="<b>", tables=(Table(("name",), (("<i>",),)),))._repr_html_()
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert 'style="text-align: left"' in shown


def test_times_are_shown_in_local_time(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment("2026-11-24T22:58:17.303500Z") == "2026-11-25 07:58"
        assert moment("") == ""
    finally:
        monkeypatch.undo()
        time.tzset()
