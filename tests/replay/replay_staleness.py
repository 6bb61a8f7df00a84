"""Where ipyflow's tests of staleness and we differ, each with its reason; and the tests that are not about what we do."""

DIFFERENT: dict[str, dict[str, str]] = {}
LEFT_OUT: dict[str, str] = {}
