"""The OpenAPI schema as a page shows it: addresses by subject, and the objects that they take and give."""

from functools import cache
from itertools import groupby
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from drf_spectacular.generators import SchemaGenerator

Schema = dict[str, Any]


@cache
def description() -> Schema:
    """Return the subjects and the objects; of one process made once, as the schema is the same for everybody."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = [
        _operation(path, method, own) for path, methods in schema["paths"].items() for method, own in methods.items()
    ]
    operations.sort(key=lambda own: own["subject"])
    return {
        "text": schema["info"]["description"],
        "subjects": [(name, list(own)) for name, own in groupby(operations, key=lambda own: own["subject"])],
        "objects": [_object(name, own) for name, own in sorted(schema["components"]["schemas"].items())],
    }


def _operation(path: str, method: str, own: Schema) -> Schema:
    """Describe one method of one address; of several kinds of body the first is shown, they hold the same fields."""
    return {
        "id": own["operationId"],
        "subject": own["tags"][0],
        "method": method.upper(),
        "path": path,
        "text": _words(own.get("description", "")),
        "parameters": [
            {"name": one["name"], "where": one["in"], "is_required": one.get("required", False),
             "type": _type(one["schema"]), "text": _words(one.get("description", ""))}
            for one in own.get("parameters", [])
        ],
        "body": _content(own.get("requestBody", {})),
        "body_kinds": ", ".join(own.get("requestBody", {}).get("content", {})),
        "answers": [(status, _content(one)) for status, one in own["responses"].items()],
    }  # fmt: skip


def _content(own: Schema) -> SafeString | str:
    """Name the type of what a request or an answer holds; "" where it holds nothing."""
    kinds = own.get("content", {})
    return _type(next(iter(kinds.values()))["schema"]) if kinds else ""


def _object(name: str, own: Schema) -> Schema:
    required = own.get("required", [])
    return {
        "name": name,
        "text": "" if "enum" in own else _words(own.get("description", "")),
        "values": _type(own) if "enum" in own else "",
        "fields": [
            {"name": field, "is_required": field in required, "type": _type(one),
             "text": _words(one.get("description", ""))}
            for field, one in own.get("properties", {}).items()
        ],
    }  # fmt: skip


def _type(own: Schema) -> SafeString | str:
    """Name the type of a value, with a link to the object where it is one."""
    if "$ref" in own:
        return format_html('<a href="#{0}">{0}</a>', own["$ref"].rpartition("/")[2])
    if choices := own.get("allOf") or own.get("oneOf"):
        return format_html_join(" or ", "{}", ((_type(one),) for one in choices))
    if "enum" in own:
        return format_html_join(", ", "<code>{}</code>", ((value or '""',) for value in own["enum"]))
    if own.get("type") == "array":
        return format_html("list of {}", _type(own["items"]))
    kind = own.get("format") or own.get("type", "any")
    return f"{kind} or null" if own.get("nullable") else kind


def _words(text: str) -> SafeString:
    """Show what stands between backticks as code."""
    return format_html_join(
        "", "<{0}>{1}</{0}>", (("code" if n % 2 else "span", part) for n, part in enumerate(text.split("`")))
    )
