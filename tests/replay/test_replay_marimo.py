"""marimo's table of dataflow cases on our static layer, replayed from a checkout: where the two differ, and why."""

import pytest
from replay_marimo import Cases
from replay_suites import checkout, say

CASES = Cases(checkout("MLOPS_NB_MARIMO", "https://github.com/marimo-team/marimo", "tests", "_runtime"))

TABLES = "tables, views and schemas that the text of a query names: our static layer reads Python, and a name inside a string is none"
LOCAL = "marimo makes names that begin with an underscore local to their cell; in Jupyter they are names like others"
DELETES = "marimo runs a cell that deletes a name after all cells that read it; our cells have the notebook's order"

# by case and reason; what stands after a minus is said by marimo alone, after a plus by us alone
DIFFERENT: dict[int, dict[str, str]] = {
    4: {DELETES: "children of 1 -2; parents of 2 -1"},
    5: {TABLES: "children of 0 -1; parents of 1 -0; refs of 1 -df"},
    6: {TABLES: "refs of 0 -my_table"},
    7: {LOCAL: "defs of 0 +_", TABLES: "defs of 0 -my_table"},
    8: {TABLES: "children of 0 -1; parents of 1 -0; refs of 1 -df"},
    9: {TABLES: "refs of 1 -my_schema.df"},
    10: {LOCAL: "defs of 1 +_", TABLES: "refs of 1 -my_schema.df"},
    11: {LOCAL: "defs of 1 +_", TABLES: "refs of 1 -my_catalog.my_schema.df"},
    12: {TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 1 -my_table", LOCAL: "defs of 0 +_df; defs of 1 +_df"},
    13: {TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 1 -my_table", LOCAL: "defs of 0 +_df; defs of 1 +_df"},
    14: {
        TABLES: "children of 0 -1; defs of 0 -my_table; defs of 1 -my_table_two; parents of 1 -0; refs of 1 -schema_one.my_table",
        LOCAL: "defs of 0 +_df; defs of 1 +_df",
    },
    15: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 1 -my_catalog.my_schema.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    16: {
        TABLES: "children of 0 -2; defs of 0 -my_table; defs of 1 -my_table; parents of 2 -0; refs of 2 -schema_one.my_table",
        LOCAL: "defs of 0 +_df; defs of 1 +_df; defs of 2 +_df",
    },
    17: {TABLES: "defs of 1 -my_table"},
    18: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 1 -my_db.my_db.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    19: {
        TABLES: "children of 0 -1; children of 1 -2; defs of 0 -base_table; defs of 1 -my_view; "
        "parents of 1 -0; parents of 2 -1; refs of 1 -my_schema.base_table; refs of 2 -my_schema.my_view",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    20: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 1 -my_schema.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    21: {LOCAL: "defs of 1 +_", TABLES: "refs of 1 -my_catalog_var.schema.table"},
    22: {LOCAL: "defs of 1 +_", TABLES: "refs of 1 -my_schema_var.table"},
    23: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; "
        "refs of 1 -catalog_one.schema_one.my_table; refs of 2 -catalog_two.schema_one.my_table; refs of 3 -catalog_one.schema_two.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_; defs of 3 +_",
    },
    24: {
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
        TABLES: "defs of 0 -my_table; refs of 1 -catalog_one.schema_one.my_table_suffix; refs of 2 -catalog_one.schema_one.prefix_my_table",
    },
    25: {LOCAL: "defs of 0 +_; defs of 1 +_", TABLES: "defs of 0 -my_table; refs of 1 -catalog_one.my_table.suffix"},
    26: {
        TABLES: "children of 0 -1; defs of 0 -my_db; parents of 1 -0; refs of 1 -my_db.main.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    27: {
        TABLES: "children of 0 -2,3; children of 1 -2,3; defs of 0 -my_db; defs of 1 -my_table; "
        "parents of 2 -0,1; parents of 3 -0,1; refs of 2 -my_db.main.my_table; refs of 3 -my_db.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_; defs of 3 +_",
    },
    28: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 0 -schema_one.my_table; refs of 1 -my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    29: {
        TABLES: "children of 0 -1; defs of 0 -my_table; parents of 1 -0; refs of 0 -catalog_one.schema_one.my_table; refs of 1 -my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_",
    },
    30: {
        TABLES: "children of 1 -2; defs of 0 -my_schema; defs of 1 -my_table; "
        "parents of 2 -1; refs of 1 -catalog_one.my_schema.my_table; refs of 2 -my_schema.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    31: {
        TABLES: "children of 0 -1; children of 1 -2; defs of 0 -users; defs of 1 -orders; "
        "parents of 1 -0; parents of 2 -1; refs of 1 -schema_one.users,schema_two.orders; refs of 2 -orders",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    32: {
        TABLES: "children of 0 -2; children of 1 -2; defs of 0 -table_a; defs of 1 -table_b; "
        "parents of 2 -0,1; refs of 0 -db1.table_a; refs of 1 -db2.table_b; refs of 2 -table_a,table_b",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    33: {
        TABLES: "children of 1 -2; defs of 0 -my_schema; defs of 1 -data; "
        "parents of 2 -1; refs of 1 -external.my_schema.data; refs of 2 -my_schema.data",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    34: {
        TABLES: "children of 0 -2; children of 1 -2; defs of 0 -my_table; defs of 1 -my_db; parents of 2 -0,1; refs of 2 -my_db.main.my_table",
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_",
    },
    35: {
        LOCAL: "defs of 0 +_; defs of 1 +_; defs of 2 +_; defs of 3 +_; defs of 4 +_; defs of 5 +_",
        TABLES: "defs of 0 -my_table; defs of 1 -schema_one; defs of 2 -catalog_one; "
        "defs of 3 -my_table; defs of 4 -schema_one; defs of 5 -catalog_one",
    },
}


@pytest.mark.parametrize("number", CASES.cases)
def test_static_layer_differs_from_marimo_as_documented(number):
    documented = {one for together in DIFFERENT.get(number, {}).values() for one in together.split("; ")}
    assert CASES.differences(number) == documented


def test_python_cases_differ_only_where_a_cell_deletes():
    python = range(len(CASES.module.PYTHON_CASES))
    assert [number for number in python if CASES.differences(number)] == [4]


def test_table_of_differences():
    reasons: dict[str, list[int]] = {}
    for number, by_reason in DIFFERENT.items():
        for reason in by_reason:
            reasons.setdefault(reason, []).append(number)
    same = [number for number in CASES.cases if not CASES.differences(number)]
    say(f"marimo: {len(CASES.cases)} cases, {len(same)} the same: {same}")
    for reason, numbers in reasons.items():
        say(f"  {len(numbers)} cases: {reason}")
    assert len(same) + len(DIFFERENT) == len(CASES.cases)
