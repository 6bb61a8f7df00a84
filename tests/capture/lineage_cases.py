"""Every case of lineage, with its topic."""

from dataclasses import replace

import lineage_cases_aliases as aliases
import lineage_cases_dynamic as dynamic
import lineage_cases_files as files
import lineage_cases_frames as frames
import lineage_cases_functions as functions
import lineage_cases_names as names
import lineage_cases_objects as objects
import lineage_cases_state as state
from lineage_case import Case

TOPICS: dict[str, list[Case]] = {
    "binding": names.BINDING,
    "control flow": names.CONTROL,
    "deletion": names.DELETION,
    "runs": names.RUNS,
    "read only": names.READ_ONLY,
    "objects in place": objects.IN_PLACE,
    "arrays": objects.ARRAYS,
    "aliases": aliases.NAMES,
    "held objects": aliases.HELD,
    "iterators": aliases.ITERATORS,
    "functions": functions.FUNCTIONS,
    "decorators": functions.DECORATORS,
    "classes": functions.CLASSES,
    "async": functions.ASYNC,
    "dynamic code": dynamic.DYNAMIC,
    "IPython": dynamic.SHELL,
    "imports": dynamic.IMPORTS,
    "random numbers": state.RANDOM,
    "patches and options": state.PATCHES,
    "environment": state.ENVIRONMENT,
    "connections": state.CONNECTIONS,
    "text files": files.TEXT,
    "places of files": files.PLACES,
    "file formats": files.FORMATS,
    "frames in place": frames.IN_PLACE,
    "frames copied": frames.COPIES,
    "frame chains": frames.CHAINS,
    "models": frames.MODELS,
}
CASES = [replace(case, topic=topic) for topic, cases in TOPICS.items() for case in cases]
