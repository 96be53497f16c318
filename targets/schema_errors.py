"""One line out of a pydantic error: key path, value found, what is allowed."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

#: What pydantic's error types mean for the person who wrote the file; {} are the error's context.
_ALLOWED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "letters, digits, '_', '.' and '-', beginning with a letter",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "string_too_long": "at most {max_length} characters",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "tuple_type": "a list",
    "value_error": "{error}",
}


Mistake = tuple[str, object, str]


def all_errors(error: ValidationError, model: type[BaseModel]) -> tuple[Mistake, ...]:
    """Key path, value and allowed values of every mistake, the most telling first.

    Unknown keys come first: they are usually the reason why others are missing. Of the members of a
    union (a number or a word) both complaints are given, as one mistake.
    """
    details: list[Any] = error.errors(include_url=False)
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    mistakes = [
        _mistake(detail, details, model) for detail in details if not _follows(detail, details)
    ]
    return tuple({(key, str(value)): (key, value, text) for key, value, text in mistakes}.values())


def _follows(detail: Any, details: list[Any]) -> bool:
    """Whether a list is too short only because entries of it are wrong."""
    location = detail["loc"]
    inside = [d for d in details if d is not detail and d["loc"][: len(location)] == location]
    return detail["type"] == "too_short" and bool(inside)


def _mistake(detail: Any, details: list[Any], model: type[BaseModel]) -> Mistake:
    location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _path(location), location[-1], _known_keys(str(location[-1]), model, location[:-1])
    if detail["type"] == "missing":
        return _path(location), "nothing", "a value: the key is required"
    same_value = [
        other for other in details if other["loc"][:-1] == location[:-1] and _is_union_member(other)
    ]
    if _is_union_member(detail):
        allowed = " or ".join(dict.fromkeys(_allowed(dict(other)) for other in same_value))
        return _path(location[:-1]), _shown(detail["input"]), allowed
    return _path(location) or "file", _shown(detail["input"]), _allowed(dict(detail))


def _is_union_member(detail: object) -> bool:
    """Whether the path ends in pydantic's name of a union's member, not in a key of the file."""
    last = detail["loc"][-1] if isinstance(detail, dict) and detail["loc"] else ""
    return isinstance(last, str) and (
        last in {"int", "float"} or last.startswith(("literal[", "constrained-"))
    )


def _allowed(detail: dict[str, object]) -> str:
    template = _ALLOWED.get(str(detail["type"]))
    if template is None:
        return str(detail["msg"])
    context = detail.get("ctx")
    return template.format(**context) if isinstance(context, dict) else template


def _shown(value: object) -> object:
    """A value short enough for one line."""
    if isinstance(value, dict):
        name = value.get("name")
        return (
            f"the entry '{name}'"
            if isinstance(name, str)
            else f"keys {', '.join(map(str, value))[:60]}"
        )
    text = str(value)
    return value if len(text) <= 60 else f"{text[:57]}..."


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if part == "[key]":  # pydantic's mark for a wrong key, which is the part before
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _known_keys(key: str, model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    known = sorted(_model_at(model, location).model_fields)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"{', '.join(known)}; nearest: {near[0]}"


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _inner_model(model.model_fields[part].annotation) or model
    return model


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _inner_model(arg))), None)
