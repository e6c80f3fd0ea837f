"""The words of the fault server's model: questions and JSON that say by their number what they are about."""

import hashlib
import json
import re
from typing import Any

__all__ = ["answer_text", "chunk_number", "why_not_strict"]

_CHUNK = re.compile(r"chunk-number-(\d+)")
_WANTED = (
    re.compile(r"[Ww]rite (?:exactly )?(\d+)"),
    re.compile(r"\b(\d+) (?:[\w-]+ )?quer|\b(\d+) (?:[\w-]+ )?quest"),
)
_THINGS = ("valve", "ledger", "harbour", "turbine", "orchard", "contract", "satellite", "bakery", "glacier", "violin")
_TRAITS = ("copper", "annual", "northern", "silent", "walled", "signed", "polar", "wooden", "melting", "tuned")
_STARTS = ("Why does", "How does", "When does", "Where does", "For whom does")
_ENDS = ("leak", "close", "freeze", "turn", "bloom", "expire", "drift", "open", "retreat", "sound")


def chunk_number(prompt: str) -> int | None:
    """The number in the first ``chunk-number-...``."""
    found = _CHUNK.search(prompt)
    return int(found[1]) if found else None


def why_not_strict(schema: Any) -> str | None:
    """What OpenAI refuses in a strict schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        properties = schema.get("properties")
        if isinstance(properties, dict) and set(schema.get("required", ())) != set(properties):
            return "'required' is required to be supplied and to be an array including every key in properties."
        schema = list(schema.values())
    if isinstance(schema, list):
        return next((why for part in schema if (why := why_not_strict(part))), None)
    return None


def answer_text(prompt: str, wanted_format: dict[str, Any] | None) -> str:
    """So many questions as the schema or the prompt asks for: as JSON where ``response_format`` says so, else lines."""
    kind = (wanted_format or {}).get("type", "text")
    n_wanted, number = _n_wanted(prompt), chunk_number(prompt) or 0
    if kind == "json_schema" and wanted_format is not None:
        schema = wanted_format["json_schema"]["schema"]
        return json.dumps(_filled(schema, schema, "", 0, number, n_wanted), ensure_ascii=False)
    questions = [_question(number, index) for index in range(n_wanted)]
    if kind == "json_object":
        return json.dumps({"questions": questions})
    return "\n".join(f"{index}. {question}" for index, question in enumerate(questions, start=1))


def _n_wanted(prompt: str) -> int:
    # The chunk's own number is no wish.
    rest = _CHUNK.sub("", prompt)
    for pattern in (*_WANTED, re.compile(r"\b(\d{1,2})\b")):
        if found := pattern.search(rest):
            return min(int(next(group for group in found.groups() if group)), 50)
    return 2


def _filled(schema: dict[str, Any], root: dict[str, Any], name: str, index: int, number: int, n_wanted: int) -> Any:
    """An instance of a schema: questions under a name that says so, key words elsewhere."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][index % len(schema["enum"])]
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        return {key: _filled(of, root, f"{name} {key}", index, number, n_wanted) for key, of in fields.items()}
    if schema.get("type") == "array":
        n_items = schema.get("minItems", n_wanted)
        return [_filled(schema.get("items", {}), root, name, at, number, n_wanted) for at in range(n_items)]
    if schema.get("type") in ("integer", "number", "boolean"):
        return True if schema["type"] == "boolean" else schema.get("minimum", 1)
    return _question(number, index) if "question" in name else _keywords(number, index)


def _words(number: int, index: int) -> tuple[str, str, str, str]:
    digest = hashlib.sha256(f"{number}".encode()).digest()
    # The step through each list is odd or 1, so that questions of one chunk differ in most words.
    trait, thing = _TRAITS[(digest[0] + 3 * index) % 10], _THINGS[(digest[1] + 7 * index + index // 10) % 10]
    return _STARTS[(digest[2] + index) % 5], trait, thing, _ENDS[(digest[3] + 9 * index) % 10]


def _question(number: int, index: int) -> str:
    start, trait, thing, end = _words(number, index)
    return f"{start} the {trait} {thing} of item {number} {end}?"


def _keywords(number: int, index: int) -> str:
    _, trait, thing, end = _words(number, index)
    return f"{trait} {thing} {end} item {number}"
