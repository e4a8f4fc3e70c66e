"""Checks KServe's objects in YAML files against KServe's own schemas.

    check.py SCHEMAS FILE...

It prints one line of JSON for each object: its kind, its name and the object itself. An unknown field
is an error, though Kubernetes would drop it in silence.
"""

import json
import pathlib
import sys

import jsonschema
import yaml

# Kubernetes' own, which no definition of a resource repeats.
TOP = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 63},
            "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}


def strict(schema):
    """The schema without unknown fields, in the words of JSON Schema."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    changed = {name: strict(part) for name, part in schema.items() if name != "format"}
    if "properties" in changed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        changed.setdefault("additionalProperties", False)
    return changed


def schemas(directory):
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            if not definition:
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"].update(TOP)
                schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
                found["%s/%s" % (spec["group"], version["name"]), spec["names"]["kind"]] = schema
    return found


def main():
    known = schemas(sys.argv[1])
    failed = False
    for path in sys.argv[2:]:
        for thing in yaml.safe_load_all(pathlib.Path(path).read_text()):
            key = thing.get("apiVersion"), thing.get("kind")
            if key not in known:
                print("%s: no schema for %s %s" % ((path,) + key), file=sys.stderr)
                failed = True
                continue
            for error in jsonschema.Draft202012Validator(known[key]).iter_errors(thing):
                where = "/".join(str(part) for part in error.absolute_path)
                print("%s: %s: %s" % (path, where, error.message[:300]), file=sys.stderr)
                failed = True
            print(json.dumps({"kind": key[1], "name": thing["metadata"]["name"], "object": thing}))
    sys.exit(failed)


main()
