"""Whether the database itself refuses to change or delete a signed report; seals are left to seal.py.

A draft may be changed, and may become signed; after that the row stays as it is, whoever holds the connection.
The triggers are written in migrations/0004_report_guard.py.
"""

from django.db import connection


def guard_is_set() -> bool:
    """Say whether all triggers of the table are there and enabled."""
    if connection.vendor == "postgresql":
        wanted = 1
        query = (
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'review_report'::regclass "
            "AND NOT tgisinternal AND tgenabled IN ('O', 'A')"
        )
    else:
        wanted = 2
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'review_report'"
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] == wanted
