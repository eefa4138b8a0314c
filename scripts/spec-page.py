"""Writes docs/spec.md, the keys of a spec as tables, from the schema that the program prints.

    ftl-train schema | python3 scripts/spec-page.py            write it
    ftl-train schema | python3 scripts/spec-page.py --check    fail if it would change
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "spec.md"
INTRO = """# The spec

Every key of a spec, in TOML, JSON or YAML. `model.path`, `data.train`, `method.kind` and `adapter.kind` must be given; an
absent section is off. Names are those of TrainingArguments, LoraConfig and TRL. Unknown keys are refused. Relative paths
are relative to the spec file. `ftl-train run --set KEY=VALUE` changes a key for one run.

This page is written by `ftl-train schema | python3 scripts/spec-page.py`.
"""


def definition(schema, of):
    """The definition that a property refers to, if it does."""
    reference = of.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else {}


WORDS = {"integer": "a whole number", "number": "a number", "boolean": "`true`, `false`", "string": "a text",
         "array": "a list", "object": "a table"}


def kinds(schema, of):
    """What a property takes: the names of its values, or its types."""
    target = definition(schema, of) or of
    if "oneOf" in target:
        return [", ".join(f"`{choice['const']}`" for choice in target["oneOf"])]
    if "anyOf" in target:
        return [name for choice in target["anyOf"] for name in kinds(schema, choice)]
    return [WORDS[target["type"]]]


def default(of):
    """The default; where it is no plain value the description names it."""
    if "default" not in of:
        return ""
    value = of["default"]
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def rows(schema, section, prefix):
    """The rows of a section, those of tables inside it below their key."""
    for name, of in section.get("properties", {}).items():
        key = prefix + name
        yield f"| `{key}` | {' or '.join(dict.fromkeys(kinds(schema, of)))} | {default(of)} | {of['description']} |"
        yield from rows(schema, definition(schema, of), f"{key}.")


def page(schema):
    parts = [INTRO]
    plain = []
    for name, of in schema["properties"].items():
        section = definition(schema, of)
        if not section:
            plain.append((name, of))
            continue
        heading = ["| key | takes | default | |", "|---|---|---|---|"]
        parts.append(f"## `[{name}]`\n\n{of['description']}\n\n" + "\n".join(
            heading + list(rows(schema, section, f"{name}."))) + "\n")
    for name, of in plain:
        parts.insert(1, f"`{name}`: {of['description']}\n")
    return "\n".join(parts)


def main():
    text = page(json.load(sys.stdin))
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != text:
            sys.exit("spec-page: docs/spec.md is not what the schema says; run `ftl-train schema | python3 scripts/spec-page.py`")
        print("spec-page: docs/spec.md is what the schema says")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
