"""Where ipyflow's assertions on staleness and we differ, each with its reason; and its tests that are about something else."""

NAMESPACE = "the name is bound to another object, made anew: ipyflow follows the key `d[0]` from one dict to the next, for us `d` was rewritten"
OWN_ATTRIBUTE = "an instance that has an attribute of its own does not change when its class gets one of that name"
LIBRARY = "what a library's code does with its arguments is not followed: its result depends on all of them"
WITH = "the variable of a `with` is bound by it each time it runs: that another cell binds the name too means nothing to what was made there"
SEEDS = "a draw from a generator that nobody had seeded depends on no cell"
MODULE = "a module's type does not come from its generator's seed"
EQUAL = "the change left an equal value: nothing came of it"
HOLDS = "a list that holds an object sees what is changed in it: it need not be made again"
HIDDEN = "in the notebook's order: it read what a run from top to bottom would not give it; ipyflow asks only what was rewritten later"
NOT_MADE = "in the notebook's order: the cell it read from makes the name no longer, run from top to bottom this cell would fail"

DIFFERENT: dict[str, dict[str, str]] = {
    "test_staleness_propagation.test_stale_detection_works_when_namespace_available_but_stale_symbol_unavailable_2": {LIBRARY: "1"},
    "test_staleness_propagation.test_new_scope_val_depends_on_old": {OWN_ATTRIBUTE: "1 2 3"},
    "test_staleness_propagation.test_dict_2": {NAMESPACE: "1"},
    "test_staleness_propagation.test_mutate_arg": {EQUAL: "1"},
    "test_staleness_propagation.test_mutate_arg_special_cases": {SEEDS: "1"},
    "test_staleness_propagation.test_context_manager": {WITH: "1"},
    "test_staleness_propagation.test_annotations_random_module": {MODULE: "1"},
    "test_frontend_checker.test_inner_mutation_considered_fresh": {HOLDS: "1:2"},
    "test_frontend_checker.test_external_object_update_propagates_to_waiting_namespace_symbols": {LIBRARY: "1:6"},
    "test_frontend_checker.test_list_delete": {EQUAL: "1:4"},
    "test_frontend_checker.test_list_pop": {EQUAL: "1:4"},
    "test_frontend_checker.test_list_remove": {EQUAL: "1:4"},
    "test_frontend_checker.test_dag_edge_change": {NOT_MADE: "1:2"},
    "test_frontend_checker.test_dag_edge_hybrid": {HIDDEN: "2:4 3:4 3:5 4:2 4:4 5:2"},
}

LEFT_OUT: dict[str, str] = {
    "test_staleness_propagation.test_exception_stack_unwind": "asks the call stack of ipyflow's tracer, not what is stale",
    "test_staleness_propagation.test_pyccolo_exec": "runs code by pyccolo, ipyflow's own instrumentation",
    "test_staleness_propagation.test_pyccolo_exec_2": "runs code by pyccolo, ipyflow's own instrumentation",
    "test_nested_symbols.test_nested_readable_name_attr": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_nested_readable_name_dict_literal": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_nested_readable_name_list_literal": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_nested_readable_name_tuple_in_list": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_nested_readable_name_list_in_tuple": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_nested_symbol_created_for_symbol_already_existing": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_list_append_extend": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_list_insert": "asks how ipyflow names its symbols",
    "test_nested_symbols.test_list_delete": "asks how ipyflow names its symbols",
    "test_frontend_checker.test_dag_edge_changes": "edits a cell without running it, by a method of ipyflow's front end",
}
