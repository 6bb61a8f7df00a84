"""RO-Crate 1.1 with the Provenance Run Crate profile 0.5, out of a story. Pure: records in, JSON-LD out.

The workflow is a notebook of the code that ran; its steps are components or cells, each with a tool (the file with its code), a
ControlAction that stands for the step in the workflow's run, and a CreateAction that took and gave data.
"""

import datetime as dt
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mlops_nb.project.crate_story import DIFF, LOCK, README, WORKFLOW, Activity, Item, Story, notebook_text, texts_of
from mlops_nb.project.openlineage import PRODUCER, VERSION, after

Entity = dict[str, Any]

METADATA = "ro-crate-metadata.json"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
    {"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"},
]
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
REQUIREMENTS = "https://pip.pypa.io/en/stable/reference/requirements-file-format/"
NO_LICENSE = "#no-license"
TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}
FORMATS = {
    ".ipynb": "application/x-ipynb+json",
    ".py": "text/x-python",
    ".parquet": "application/vnd.apache.parquet",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".json": "application/json",
    ".diff": "text/x-diff",
    ".md": "text/markdown",
}
SUFFIXES = {"parquet": ".parquet", "json": ".json", "npy": ".npy", "pickle": ".pkl"}


@dataclass(frozen=True, slots=True)
class Placed:
    """Where in the crate an item's bytes are."""

    path: str
    sha256: str
    size: int


def metadata(story: Story, placed: Mapping[str, Placed], *, license_id: str, created: str) -> Entity:
    """ro-crate-metadata.json. `placed` item key -> where its bytes are in the crate; `license_id` a web address or '' for none stated."""
    return {"@context": CONTEXT, "@graph": _Graph(story, placed, license_id or NO_LICENSE, created, ends=story.ends()).entities()}


def ref(*ids: str) -> Any:
    """References to entities: one alone, or a list."""
    found = [{"@id": one} for one in dict.fromkeys(ids)]
    return found[0] if len(found) == 1 else found


@dataclass(frozen=True, slots=True)
class _Graph:
    story: Story
    placed: Mapping[str, Placed]
    license: str
    created: str
    ends: tuple[Mapping[str, Item], Mapping[str, Item]]

    def entities(self) -> list[Entity]:
        found = [*self._about(), self._workflow(), *self._steps(), *self._code(), *self._surroundings()]
        found += [entity for item in self.story.items() for entity in self._item(item)]
        found += [*self._parameters(), *self._run(), *(entity for activity in self.story.activities for entity in self._activity(activity))]
        return list({entity["@id"]: _compact(entity) for entity in found}.values())

    # --- what the crate is ---

    def _about(self) -> list[Entity]:
        descriptor = {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": ref("./"),
            "conformsTo": ref("https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"),
        }
        parts = [*map(quote, texts_of(self.story)), *(self._id(item) for item in self.story.items() if item.kind != "variable")]
        root = {
            "@id": "./",
            "@type": "Dataset",
            "name": self.story.name,
            "description": self.story.description,
            "datePublished": _moment(self.created),
            "license": ref(self.license),
            "author": ref(self._agent),
            "conformsTo": ref(*PROFILES),
            "mainEntity": ref(WORKFLOW),
            "hasPart": [{"@id": part} for part in dict.fromkeys(parts)],
            "mentions": ref(self._action, self._organizer, *(_action_id(a) for a in self.story.activities)),
        }
        if self.story.commit_url:
            root["isBasedOn"] = self.story.commit_url
        profiles = [{"@id": url, "@type": "CreativeWork", "name": name, "version": version} for url, (name, version) in PROFILES.items()]
        return [descriptor, root, *profiles, self._license()]

    def _license(self) -> Entity:
        stated = self.license != NO_LICENSE
        name = self.license.rsplit("/", 1)[-1] if stated else "No licence stated"
        return {"@id": self.license, "@type": "CreativeWork", "name": name, "description": name if stated else "The project states no licence."}

    def _surroundings(self) -> list[Entity]:
        name, _, version = self.story.python.partition(" ")
        python = f"pkg:generic/{quote((name or 'python').lower())}@{quote(version or 'unknown')}"
        runtime = {"@id": python, "@type": "SoftwareApplication", "name": name or "Python", "url": "https://www.python.org/"}
        engine = {
            "@id": PRODUCER,
            "@type": "SoftwareApplication",
            "name": "mlops_nb",
            "softwareVersion": VERSION,
            "softwareRequirements": ref(python),
        }
        language = {"@id": "#python", "@type": "ComputerLanguage", "name": "Python", "url": "https://www.python.org/"}
        notebook = {"@id": "#jupyter", "@type": "ComputerLanguage", "name": "Jupyter Notebook", "url": "https://jupyter.org/"}
        agent = {"@id": self._agent, "@type": "Person", "name": self.story.agent}
        files = [_text_entity(path, text, name=path) for path, text in texts_of(self.story).items() if path in {README, LOCK, DIFF}]
        more = {LOCK: {"conformsTo": ref(REQUIREMENTS)}, README: {"about": ref("./")}}
        files = [file | more.get(file["@id"], {}) for file in files]
        requirements = {"@id": REQUIREMENTS, "@type": "CreativeWork", "name": "Requirements file format"}
        return [{**runtime, "softwareVersion": version or "unknown"}, engine, language, notebook, agent, requirements, *files]

    @property
    def _agent(self) -> str:
        return f"#agent-{quote(self.story.agent)}"

    # --- the workflow ---

    def _workflow(self) -> Entity:
        inputs, outputs = self.ends
        formals = [*(_formal_id(name) for name in self.story.parameters), *map(self._formal_item, inputs.values())]
        made = {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "conformsTo": ref(WORKFLOW_PROFILE),
            "programmingLanguage": ref("#jupyter"),
            "version": self.story.version,
            "hasPart": [{"@id": quote(path)} for path in self.story.code],
            "step": [{"@id": _step_id(path)} for path in self.story.code],
            "input": [{"@id": name} for name in formals],
            "output": [{"@id": self._formal_item(item)} for item in outputs.values()],
            "license": ref(self.license),
        }
        if self.story.lock:
            made["buildInstructions"] = ref(LOCK)
        return _text_entity(WORKFLOW, notebook_text(self.story.parts), name=self.story.name) | made

    def _steps(self) -> list[Entity]:
        names = {activity.code: activity.name for activity in self.story.activities}
        return [
            {"@id": _step_id(path), "@type": "HowToStep", "name": names[path], "position": str(place), "workExample": ref(quote(path))}
            for place, path in enumerate(self.story.code)
        ]

    def _code(self) -> list[Entity]:
        found = []
        for path, text in self.story.code.items():
            language = "#jupyter" if path.endswith(".ipynb") else "#python"
            made = {"@type": ["File", "SoftwareSourceCode"], "programmingLanguage": ref(language), "version": self.story.version}
            found.append(_text_entity(path, text, name=path) | made)
        return found

    # --- what ran ---

    @property
    def _action(self) -> str:
        return f"#run-{quote(self.story.id)}"

    @property
    def _organizer(self) -> str:
        return f"#engine-run-{quote(self.story.id)}"

    def _run(self) -> list[Entity]:
        inputs, outputs = self.ends
        times = _times(self.story.started, self.story.seconds) | _status(self.story.error)
        objects = [*map(self._id, inputs.values()), *(_value_id("run", name) for name in self.story.parameters)]
        action = {
            "@id": self._action,
            "@type": "CreateAction",
            "name": f"Run of {self.story.name}",
            "description": self.story.description,
            "instrument": ref(WORKFLOW),
            "agent": ref(self._agent),
            "object": [{"@id": one} for one in objects],
            "result": [{"@id": self._id(item)} for item in outputs.values()],
        }
        organizer = {
            "@id": self._organizer,
            "@type": "OrganizeAction",
            "name": f"mlops_nb {VERSION} ran {self.story.name}",
            "instrument": ref(PRODUCER),
            "agent": ref(self._agent),
            "object": [{"@id": _control_id(a)} for a in self.story.activities],
            "result": ref(self._action),
        }
        return [action | times, organizer | times]

    def _activity(self, activity: Activity) -> list[Entity]:
        taken_from = f"Taken over, unchanged, from run {activity.before}." if activity.before else f"Executed by {self.story.name}."
        objects = [*map(self._id, activity.inputs), *(_value_id(activity.id, name) for name in activity.parameters)]
        action = {
            "@id": _action_id(activity),
            "@type": "CreateAction",
            "name": activity.name,
            "description": taken_from,
            "instrument": ref(quote(activity.code)),
            "agent": ref(self._agent),
            "object": [{"@id": one} for one in dict.fromkeys(objects)],
            "result": [{"@id": one} for one in dict.fromkeys(map(self._id, activity.outputs))],
        }
        control = {
            "@id": _control_id(activity),
            "@type": "ControlAction",
            "name": f"Step {activity.name}",
            "instrument": ref(_step_id(activity.code)),
            "object": ref(_action_id(activity)),
        }
        values = [_value(activity.id, name, value, {}) for name, value in activity.parameters.items()]
        return [action | _times(activity.started, activity.seconds) | _status(activity.error), control | _status(activity.error), *values]

    def _parameters(self) -> list[Entity]:
        found = []
        for name, value in self.story.parameters.items():
            kind = TYPES.get(type(value), "PropertyValue")
            found += [
                _formal(_formal_id(name), name, kind, _value_id("run", name)),
                _value("run", name, value, {"exampleOfWork": ref(_formal_id(name))}),
            ]
        return found

    # --- data ---

    def _id(self, item: Item) -> str:
        if item.key in self.placed:
            return quote(self.placed[item.key].path)
        if item.kind == "url":
            return quote(item.name, safe=":/%@!$&'()*+,;=~")
        kind = "artifact" if item.stored else item.kind
        return "#" + "-".join(quote(part, safe="") for part in (kind, item.name, item.digest, item.maker) if part)

    def _formal_item(self, item: Item) -> str:
        return f"#formal-{quote(self._id(item), safe='')}"

    def _item(self, item: Item) -> list[Entity]:
        if item.kind == "variable":
            return [self._unstored(item)]
        found: Entity = {"@id": self._id(item), "@type": "File", "name": item.name, "encodingFormat": encoding_format(item)}
        place = self.placed.get(item.key)
        size, sha256 = (place.size, place.sha256) if place else (item.size, item.digest if item.stored else "")
        found |= ({"contentSize": str(size)} if size >= 0 else {}) | ({"sha256": sha256} if sha256 else {})
        found |= {"description": item.type_name} if item.type_name else {}
        if not place:
            found["sdDatePublished"] = _moment(self.created)
        formals = []
        if any(item.key in ends for ends in self.ends):
            found["exampleOfWork"] = ref(self._formal_item(item))
            formals = [_formal(self._formal_item(item), item.name, "File", self._id(item))]
        if item.stored or not item.digest:
            return [found, *formals]
        digest = {"@id": f"#xxh3-{item.digest}", "@type": "PropertyValue", "name": "xxh3-128", "propertyID": "xxh3-128", "value": item.digest}
        return [found | {"identifier": ref(digest["@id"])}, digest, *formals]

    def _unstored(self, item: Item) -> Entity:
        """A variable of which only the digest is known, if that."""
        value = {"value": item.digest, "propertyID": "digest"} if item.digest else {"value": "not stored"}
        return {"@id": self._id(item), "@type": "PropertyValue", "name": item.name, **value}


# --- small pieces ---------------------------------------------------------------------------------------------


def encoding_format(item: Item) -> str:
    """The media type that an item's name or kind tells."""
    suffix = SUFFIXES.get(item.kind, "") if item.stored else "." + item.name.rpartition(".")[2].lower()
    return FORMATS.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"


def _compact(entity: Entity) -> Entity:
    """As the specification likes it: one value stands alone, none is left out."""
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items() if value != []}


def _text_entity(path: str, text: str, *, name: str) -> Entity:
    suffix = "." + path.rpartition(".")[2]
    return {
        "@id": quote(path),
        "@type": "File",
        "name": name,
        "encodingFormat": FORMATS[suffix],
        "contentSize": str(len(text.encode("utf-8", "replace"))),
    }


def _step_id(path: str) -> str:
    return f"{WORKFLOW}#{quote(path, safe='')}"


def _action_id(activity: Activity) -> str:
    return f"#action-{quote(activity.id)}"


def _control_id(activity: Activity) -> str:
    return f"#control-{quote(activity.id)}"


def _formal_id(name: str) -> str:
    return f"{WORKFLOW}#parameter-{quote(name, safe='')}"


def _value_id(owner: str, name: str) -> str:
    return f"#value-{quote(owner)}-{quote(name, safe='')}"


def _formal(identity: str, name: str, kind: str, example: str) -> Entity:
    made = {"@id": identity, "@type": "FormalParameter", "name": name, "additionalType": kind}
    return {**made, "conformsTo": ref(PARAMETER_PROFILE), "workExample": ref(example)}


def _value(owner: str, name: str, value: Any, more: Entity) -> Entity:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return {"@id": _value_id(owner, name), "@type": "PropertyValue", "name": name, "value": text, **more}


def _times(started: str, seconds: float) -> Entity:
    return {"startTime": _moment(started), "endTime": _moment(after(started, seconds))}


def _moment(text: str) -> str:
    """Record text as the profile's checks want it.

    >>> _moment("2013-07-04T09:30:00.250000Z")
    '2013-07-04T09:30:00.250+00:00'
    """
    return dt.datetime.fromisoformat(text).isoformat(timespec="milliseconds")


def _status(error: str) -> Entity:
    if error:
        return {"actionStatus": "http://schema.org/FailedActionStatus", "error": error}
    return {"actionStatus": "http://schema.org/CompletedActionStatus"}
