"""The hash chain over the events, and whether its triggers are in place; it does not read what events mean.

hash = SHA-256 of "previous hash, newline, id, newline, text". The database computes it inside the INSERT, so an event
costs one query; ids have no gaps, so a missing row shows. The triggers are written in migrations/0002_guard.py.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from django.db import connection

from leukoweb.audit.models import Event

FIRST = "0" * 64


def sha256(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def teach_sha256(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Give a new SQLite connection the function its trigger calls; without it nothing can be added (fails closed)."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("leukoweb_sha256", 1, sha256, deterministic=True)


def guard_is_set() -> bool:
    """Say whether all triggers of the table are there and enabled."""
    if connection.vendor == "postgresql":
        query = (
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'audit_event'::regclass "
            "AND NOT tgisinternal AND tgenabled IN ('O', 'A')"
        )
    else:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_event'"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] == 3


def first_broken(events: Iterable[Event]) -> tuple[int, str] | None:
    """Return (id, what is wrong) of the first event that does not follow from the one before it, or None.

    `events` come in the order of their ids, from the first one on.
    """
    previous_hash, previous_id = FIRST, 0
    for event in events:
        if event.id != previous_id + 1:
            return previous_id + 1, "the row is missing"
        if event.previous_hash != previous_hash:
            return event.id, "it does not point at the row before it"
        if sha256(f"{previous_hash}\n{event.id}\n{event.text}") != event.hash:
            return event.id, "its text is not what was written"
        if event.text_of_columns() != event.text:
            return event.id, "its columns do not agree with its text"
        previous_hash, previous_id = event.hash, event.id
    return None
