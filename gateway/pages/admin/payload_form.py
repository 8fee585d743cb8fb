"""The form of a payload: fields from the JSON Schema of its kind, or one field for the whole payload as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chassis import errors

PREFIX = "payload."
WHOLE = "payload"
"""The field of a payload without a schema."""
MAX_FIELDS = 12
MASK = "•••"
"""Shown to operators in place of the value of a sensitive field."""

FieldType = Literal["text", "integer", "number", "boolean", "choice", "lines", "json"]
_TYPES: Mapping[str, FieldType] = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    name: str
    type: FieldType
    is_required: bool
    is_sensitive: bool = False
    hint: str = ""
    choices: Sequence[str] = ()
    value: str = ""

    @property
    def key(self) -> str:
        """The name of the input."""
        return WHOLE if self.name == WHOLE and self.type == "json" and self.is_required else f"{PREFIX}{self.name}"


def fields(schema: Mapping[str, Any] | None, payload: Mapping[str, Any], sensitive: Collection[str]) -> list[Field]:
    """Return the fields with the values of a payload, which may lack some. Sensitive values are left empty."""
    properties = schema.get("properties") if schema else None
    if (
        schema is None
        or not isinstance(properties, dict)
        or not 0 < len(properties) <= MAX_FIELDS
        or WHOLE in properties
    ):
        visible = {name: value for name, value in payload.items() if name not in sensitive}
        text = json.dumps(visible, indent=2, ensure_ascii=False)
        return [Field(name=WHOLE, type="json", is_required=True, value=text)]
    required = schema.get("required", [])
    return [
        _field(
            name,
            _resolved(prop, schema),
            payload,
            is_required=name in required,
            is_sensitive=name in sensitive,
        )
        for name, prop in properties.items()
    ]


def read(form: Sequence[Field], values: Mapping[str, str]) -> dict[str, Any]:
    """Return the payload of a sent form; empty optional fields are left out. Raises `InvalidArgument` naming the inputs."""
    if len(form) == 1 and form[0].key == WHOLE:
        payload = _json(values[WHOLE] or "{}", WHOLE)
        if not isinstance(payload, dict):
            raise errors.InvalidArgument("Enter a JSON object.", field=WHOLE)
        return payload
    payload, validation = {}, errors.Validation()
    for field in form:
        text = values[field.key]
        with validation.field():
            if field.type == "boolean":
                payload[field.name] = text == "yes"
            elif text.strip() or (field.is_required and field.type in {"text", "lines"}):
                payload[field.name] = _value(field, text)
            elif field.is_required:
                raise errors.InvalidArgument("Enter a value.", field=field.key)
    validation.end()
    return payload


def visible(form: Sequence[Field], values: Mapping[str, str]) -> dict[str, str]:
    """Return what was sent, with sensitive fields empty."""
    sensitive = {field.key for field in form if field.is_sensitive}
    return {name: "" if name in sensitive else text for name, text in values.items()}


def _field(
    name: str, prop: Mapping[str, Any], payload: Mapping[str, Any], *, is_required: bool, is_sensitive: bool
) -> Field:
    value = payload.get(name, prop.get("default"))
    field_type = _TYPES.get(str(prop.get("type")), "json")
    choices: Sequence[str] = ()
    if isinstance(prop.get("enum"), list) and all(isinstance(choice, str) for choice in prop["enum"]):
        field_type, choices = "choice", prop["enum"]
    elif prop.get("type") == "array" and prop.get("items") == {"type": "string"}:
        field_type = "lines"
    if is_sensitive or value is None:
        text = ""
    elif field_type == "boolean":
        text = "yes" if value is True else ""
    elif field_type == "lines" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        text = "\n".join(value)
    elif isinstance(value, str) and field_type in {"text", "choice"}:
        text = value
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    else:
        text = json.dumps(value, ensure_ascii=False)
    return Field(
        name=name,
        type=field_type,
        is_required=is_required,
        is_sensitive=is_sensitive,
        hint=_hint(prop, field_type),
        choices=choices,
        value=text,
    )


def _hint(prop: Mapping[str, Any], field_type: FieldType) -> str:
    bounds = [
        f"{word} {prop[name]:g}"
        for name, word in (("minimum", "from"), ("maximum", "to"))
        if _is_number(prop.get(name))
    ]
    kinds = {"lines": "One per line", "json": "As JSON", "integer": "A whole number", "number": "A number"}
    texts = (str(prop.get("description") or "")[:200], " ".join(filter(None, (kinds.get(field_type, ""), *bounds))))
    return ". ".join(text for text in texts if text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _resolved(prop: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a property without its reference and without the null of an optional one."""
    if not isinstance(prop, dict):
        return {}
    options = [each for each in prop.get("anyOf", []) if isinstance(each, dict) and each.get("type") != "null"]
    if len(options) == 1:
        prop = {**prop, **options[0]}
    name = str(prop.get("$ref", "")).removeprefix("#/$defs/")
    definition = schema.get("$defs", {}).get(name) if name and isinstance(schema.get("$defs"), dict) else None
    return {**definition, **prop} if isinstance(definition, dict) else prop


def _value(field: Field, text: str) -> Any:
    match field.type:
        case "text":
            return text
        case "choice":
            if text not in field.choices:
                raise errors.InvalidArgument("Choose one of the values.", field=field.key)
            return text
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "integer" | "number":
            value = _json(text.strip(), field.key)
            if not _is_number(value) or (field.type == "integer" and not isinstance(value, int)):
                kind = "a whole number" if field.type == "integer" else "a number"
                raise errors.InvalidArgument(f"Enter {kind}.", field=field.key)
            return value
        case _:
            return _json(text, field.key)


def _json(text: str, key: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise errors.InvalidArgument("Enter valid JSON.", field=key) from None
