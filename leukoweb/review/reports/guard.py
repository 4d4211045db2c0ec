"""Whether the database itself refuses to change or delete what was signed and told; seals are left to seal.py.

A draft may be changed, and may become signed; after that the row stays as it is, whoever holds the connection. Critical
results, alarms, their logs and answers to proposed phrases stay as they were written. The triggers are in
migrations/0004_report_guard.py, 0013_critical_guard.py, 0017_delta_guard.py and 0019_suggestions.py.
"""

from django.db import connection

GUARDED = (
    "review_report", "review_critical", "review_criticalentry", "review_deltaalarm", "review_deltaentry",
    "review_suggestionanswer",
)  # fmt: skip


def guard_is_set() -> bool:
    """Say whether all triggers of the tables are there and enabled."""
    return all(_is_guarded(table) for table in GUARDED)


def _is_guarded(table: str) -> bool:
    if connection.vendor == "postgresql":
        wanted = 1
        query = (
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass "
            "AND NOT tgisinternal AND tgenabled IN ('O', 'A')"
        )
    else:
        wanted = 2
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s"
    with connection.cursor() as cursor:
        cursor.execute(query, [table])
        return cursor.fetchone()[0] == wanted
