"""Where ipyflow's assertions on staleness and we differ, each with its reason; and its tests that are about something else."""

OWN = "one cell makes a name and uses it, another writes it anew: run from top to bottom the first makes it again, so nothing is stale for us"
SYMBOLS = "a cell that makes several names is stale as a whole, whichever of them the reader took"
PARTS = "elements and attributes of an object are not told apart: who changes one of them has changed the object"
BRANCHES = "what a branch or a function may read counts, though this time the result did not come from it"
CLASSES = "a changed class makes what was made from the class stale, its instances included"
OWN_ATTRIBUTE = "an instance that has an attribute of its own does not change when its class gets one of that name"
SEEDS = "a generator's seed is state that we do not follow"
OUTPUTS = "a cell that shows a new result makes none stale that had read `_`"
EQUAL = "the change left an equal value: nothing came of it"
CHANGERS = "of two cells that change the same object or name, the lower is no reason to run the upper again"
CHAINS = "a cell that read what a stale cell, or one below it, had left is stale itself until it runs again"
HIDDEN = "hidden state: it read what a run from top to bottom would not give it; ipyflow asks only what was rewritten later"
NOT_MADE = "the cell it read from makes the name no longer: run from top to bottom this cell would fail"

DIFFERENT: dict[str, dict[str, str]] = {
    "test_staleness_propagation.test_subscript_dependency_fp": {PARTS: "1"},
    "test_staleness_propagation.test_for_loop_with_map": {OWN: "2"},
    "test_staleness_propagation.test_default_args": {OWN: "3"},
    "test_staleness_propagation.test_func_assign_objs": {BRANCHES: "8 9"},
    "test_staleness_propagation.test_func_assign_ints": {OWN: "1", BRANCHES: "4"},
    "test_staleness_propagation.test_func_assign_helper_func": {OWN: "1", BRANCHES: "3"},
    "test_staleness_propagation.test_func_assign_helper_func_2": {OWN: "1"},
    "test_staleness_propagation.test_identity_checking_obj_4": {PARTS: "2"},
    "test_staleness_propagation.test_identity_checking_obj_5": {PARTS: "2"},
    "test_staleness_propagation.test_identity_checking_obj_6": {PARTS: "2"},
    "test_staleness_propagation.test_starred_assignment_rhs": {SYMBOLS: "1 2 4 5 7"},
    "test_staleness_propagation.test_starred_assignment": {SYMBOLS: "1 2 5"},
    "test_staleness_propagation.test_starred_assignment_in_middle": {SYMBOLS: "2 3 5"},
    "test_staleness_propagation.test_attribute_unpacking": {PARTS: "1 2 5 8 9"},
    "test_staleness_propagation.test_attribute_unpacking_no_overwrite": {PARTS: "2"},
    "test_staleness_propagation.test_namespace_scope_resolution": {CLASSES: "1"},
    "test_staleness_propagation.test_long_chain_attribute": {PARTS: "3"},
    "test_staleness_propagation.test_dict_subscripting": {PARTS: "1 2 3"},
    "test_staleness_propagation.test_dict_subscripting_2": {PARTS: "1"},
    "test_staleness_propagation.test_stale_detection_works_when_namespace_available_but_stale_symbol_unavailable_2": {PARTS: "1"},
    "test_staleness_propagation.test_new_scope_val_depends_on_old": {OWN_ATTRIBUTE: "2 3"},
    "test_staleness_propagation.test_numpy_subscripting_fp": {PARTS: "1"},
    "test_staleness_propagation.test_single_line_dictionary_literal_fix_stale_deps": {PARTS: "2 3"},
    "test_staleness_propagation.test_exception": {BRANCHES: "1"},
    "test_staleness_propagation.test_for_loop_binding": {PARTS: "1"},
    "test_staleness_propagation.test_for_loop_literal_binding": {PARTS: "1"},
    "test_staleness_propagation.test_for_loop_partial_dep": {PARTS: "1"},
    "test_staleness_propagation.test_tuple_unpack_hard": {SYMBOLS: "1"},
    "test_staleness_propagation.test_unpack_multiple_from_single": {PARTS: "1"},
    "test_staleness_propagation.test_attr_dep_with_top_level_overwrite": {OWN: "1"},
    "test_staleness_propagation.test_class_member_granularity": {PARTS: "1"},
    "test_staleness_propagation.test_if_true": {BRANCHES: "1"},
    "test_staleness_propagation.test_one_time_tracing_func": {BRANCHES: "1"},
    "test_staleness_propagation.test_dict_2": {PARTS: "1"},
    "test_staleness_propagation.test_mutate_arg": {EQUAL: "1"},
    "test_staleness_propagation.test_mutate_arg_special_cases": {SEEDS: "1"},
    "test_staleness_propagation.test_context_manager": {OWN: "1"},
    "test_staleness_propagation.test_magics_dont_break_things": {OWN: "1"},
    "test_staleness_propagation.test_tuple_return": {OWN: "2"},
    "test_staleness_propagation.test_tuple_return_obj": {OWN: "2"},
    "test_staleness_propagation.test_list_extend": {PARTS: "1"},
    "test_staleness_propagation.test_list_sum_simple": {PARTS: "1 2 3"},
    "test_staleness_propagation.test_nonlocal_var": {OWN: "2"},
    "test_staleness_propagation.test_annotations_random_module": {SEEDS: "1"},
    "test_staleness_propagation.test_walrus_simple": {OWN: "1"},
    "test_staleness_propagation.test_walrus_fancy": {OWN: "3 4"},
    "test_staleness_propagation.test_walrus_fancy_attributes": {SYMBOLS: "1"},
    "test_nested_symbols.test_basic": {PARTS: "5 10"},
    "test_frontend_checker.test_inner_mutation_considered_fresh": {CHANGERS: "1:2"},
    "test_frontend_checker.test_update_list_elem": {CHANGERS: "2:2 3:2 3:4 4:2 4:4 5:2", CHAINS: "5:4"},
    "test_frontend_checker.test_external_object_update_propagates_to_waiting_namespace_symbols": {CHAINS: "1:6"},
    "test_frontend_checker.test_equal_list_update_does_induce_fresh_cell": {CHANGERS: "2:3"},
    "test_frontend_checker.test_equal_list_update_does_induce_fresh_cell_LITERAL_WITH_F_IS_REUSED_ON_UBUNTU_20_04_2_PYTHON_3_8_11": {CHANGERS: "2:3"},
    "test_frontend_checker.test_equal_dict_update_does_induce_fresh_cell": {CHANGERS: "2:3"},
    "test_frontend_checker.test_list_append": {PARTS: "1:1 1:2"},
    "test_frontend_checker.test_list_extend": {PARTS: "1:1 1:2"},
    "test_frontend_checker.test_liveness_skipped_for_simple_assignment_involving_aliases": {CHANGERS: "2:1 2:2"},
    "test_frontend_checker.test_list_insert": {PARTS: "1:1 1:2 1:3"},
    "test_frontend_checker.test_list_delete": {PARTS: "1:1 1:2 1:3 1:8"},
    "test_frontend_checker.test_list_pop": {PARTS: "1:1 1:2 1:3 1:8"},
    "test_frontend_checker.test_list_remove": {PARTS: "1:1 1:2 1:3 1:8"},
    "test_frontend_checker.test_list_clear": {PARTS: "2:1"},
    "test_frontend_checker.test_dict_clear": {PARTS: "2:1"},
    "test_frontend_checker.test_underscore": {OUTPUTS: "3:2"},
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
