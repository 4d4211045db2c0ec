"""How the programming interface reads JSON: by the same guard as the pages (leukoweb/given.py)."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import JSONParser

from leukoweb.given import MOST_JSON_BYTES, json_of


class GuardedJson(JSONParser):
    """JSON of limited size and depth, with numbers and texts that a row can keep."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> object:
        return json_of(stream.read(MOST_JSON_BYTES + 1))
