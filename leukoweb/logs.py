"""What no log of the product may hold: accession numbers in addresses, queries, and values that a database repeats.

It changes lines as they are written; deploy/nginx.conf does the same for the proxy.
"""

import json
import logging
import re
from datetime import UTC, datetime
from types import TracebackType

from leukoweb.requests import current_id

# An accession number may hold slashes and blanks: everything behind it goes too.
NUMBER = re.compile(r"(/api/v1/cases/)(?!id/[0-9]+/|find/|\s|$)[^\n]+")
QUERY = re.compile(r"(/[^\s?]*\?)[^\n]+")
# A refused statement repeats what was to be stored. That a database does not answer is said in full.
REFUSED_VALUES = re.compile(
    r"^((?:django\.db\.utils|psycopg|psycopg\.errors|sqlite3)\.(?!OperationalError|InterfaceError)\w+):.*?(?=\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class HideNumbers(logging.Filter):
    """Take accession numbers and queries out of the addresses that a line names."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record's text; every record is kept."""
        text = record.getMessage()
        plain = QUERY.sub(r"\1...", NUMBER.sub(r"\1...", text))
        if plain != text:
            record.msg, record.args = plain, ()
        return True


class Line(logging.Formatter):
    """Write a line, and a traceback without the values that a database repeats."""

    def formatException(self, info: ExceptionInfo) -> str:  # noqa: N802 (the name is logging's)
        """Return the traceback; of a refused statement the type of the error stays."""
        return REFUSED_VALUES.sub(r"\1: (its values are left out)", super().formatException(info))


class JsonLine(Line):
    """Write each record as one JSON object, for programs that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, process, the id of the request, and a traceback where there is one."""
        seen = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if request_id := current_id.get():
            seen["request_id"] = request_id
        if record.exc_info:
            seen["traceback"] = self.formatException(record.exc_info)
        return json.dumps(seen, ensure_ascii=False)
