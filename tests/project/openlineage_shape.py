"""What the OpenLineage specification asks of an event and of each facet that is exported here, as strict JSON schemas written for these tests.

They refuse every property that is not named, so that a slip of the pen is found. The specification's own schemas are used too where
OPENLINEAGE_SPEC names the `spec` folder of a checkout of the OpenLineage repository.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

TEXT = {"type": "string"}
NAME = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
MOMENT = {"type": "string", "format": "date-time"}
ADDRESS = {"type": "string", "format": "uri"}
UUID = {"type": "string", "format": "uuid"}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def each(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


RUN = record({"runId": UUID})
JOB = record({"namespace": NAME, "name": NAME})
SIZES = ({}, {"rowCount": NUMBER, "size": NUMBER, "fileCount": NUMBER})
MADE = record({"type": {"enum": ["DIRECT", "INDIRECT"]}, "description": {"enum": ["certain", "possible"]}})
INPUT_FIELD = record({"namespace": NAME, "name": NAME, "field": TEXT, "transformations": each(MADE)})
CERTAIN = {"mlopsNb_name": NAME, "mlopsNb_certainty": {"enum": ["certain", "possible"]}}
DEPENDENCY = record({"job": JOB}, {"run": RUN, "dependency_type": {"const": "IMPLICIT_DEPENDENCY"}, **CERTAIN})

# where it may stand -> key -> its required and optional properties
FACETS: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "run": {
        "environmentVariables": ({"environmentVariables": each(record({"name": NAME, "value": TEXT}))}, {}),
        "errorMessage": ({"message": TEXT, "programmingLanguage": NAME}, {"stackTrace": TEXT}),
        "executionParameters": ({}, {"parameters": each(record({"key": NAME}, {"name": TEXT, "value": TEXT}))}),
        "jobDependencies": ({}, {"upstream": each(DEPENDENCY)}),
        "nominalTime": ({"nominalStartTime": MOMENT}, {"nominalEndTime": MOMENT}),
        "parent": ({"run": RUN, "job": JOB}, {"root": record({"run": RUN, "job": JOB})}),
        "processing_engine": ({"version": NAME}, {"name": NAME, "openlineageAdapterVersion": NAME}),
    },
    "job": {
        "jobType": ({"processingType": {"const": "BATCH"}, "integration": NAME}, {"jobType": NAME}),
        "sourceCode": ({"language": NAME, "sourceCode": TEXT}, {}),
        "sourceCodeLocation": ({"type": {"const": "git"}, "url": ADDRESS}, {"repoUrl": ADDRESS, "path": NAME, "version": NAME}),
        "tags": ({}, {"tags": each(record({"key": TEXT, "value": TEXT}, {"source": TEXT}))}),
    },
    "dataset": {
        "columnLineage": ({"fields": {"type": "object", "additionalProperties": record({"inputFields": each(INPUT_FIELD)})}}, {}),
        "datasetType": ({"datasetType": {"enum": ["FILE", "URL", "VARIABLE"]}}, {"subType": NAME}),
        "lifecycleStateChange": ({"lifecycleStateChange": {"const": "DROP"}}, {}),
        "schema": ({}, {"fields": each(record({"name": TEXT}, {"type": TEXT}))}),
        "version": ({"datasetVersion": NAME}, {}),
    },
    "input": {"inputStatistics": SIZES},
    "output": {"outputStatistics": SIZES},
}


def facets(kind: str) -> dict[str, Any]:
    base = {"_producer": ADDRESS, "_schemaURL": {"type": "string", "format": "uri", "pattern": r"/[0-9]+-[0-9]+-[0-9]+/\w+\.json#/\$defs/\w+$"}}
    return record({}, {key: record({**base, **required}, optional) for key, (required, optional) in FACETS[kind].items()})


def dataset(own: str, kind: str) -> dict[str, Any]:
    return each(record({"namespace": NAME, "name": NAME, "facets": facets("dataset")}, {own: facets(kind)}))


EVENT = record(
    {
        "eventType": {"enum": ["START", "COMPLETE", "ABORT", "FAIL"]},
        "eventTime": MOMENT,
        "producer": ADDRESS,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": record({"runId": UUID, "facets": facets("run")}),
        "job": record({"namespace": NAME, "name": NAME, "facets": facets("job")}),
        "inputs": dataset("inputFacets", "input"),
        "outputs": dataset("outputFacets", "output"),
    }
)
FORMATS = FormatChecker(["date-time", "uri", "uuid"])
STRICT = Draft202012Validator(EVENT, format_checker=FORMATS)
CHECKOUT = os.environ.get("OPENLINEAGE_SPEC", "")


def check(event: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError where `event` is not as the specification asks."""
    STRICT.validate(event)
    if CHECKOUT:
        check_by_specification(event)


def check_by_specification(event: dict[str, Any]) -> int:
    """The same against the specification's own schemas; returns how many facets were checked, each by the schema it names."""
    by_schema(event["schemaURL"]).validate(event)
    by_schema("https://openlineage.io/spec/2-0-2/OpenLineage.json").validate(event)
    found = list(every_facet(event))
    for facet in found:
        by_schema(facet["_schemaURL"]).validate(facet)
    return len(found)


def by_schema(address: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": address}, registry=specification(), format_checker=FORMATS)


def every_facet(tree: Any) -> Iterator[dict[str, Any]]:
    """Every facet in an event, however deep."""
    if isinstance(tree, dict) and "_schemaURL" in tree:
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from every_facet(below)


_REGISTRY: list[Registry] = []


def specification() -> Registry:
    """The schemas of the checkout by their ids."""
    if not _REGISTRY:
        files = [Path(CHECKOUT, "OpenLineage.json"), *Path(CHECKOUT, "facets").glob("*.json")]
        found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        _REGISTRY.append(Registry().with_resources([(schema["$id"], Resource.from_contents(schema)) for schema in found]))
    return _REGISTRY[0]
