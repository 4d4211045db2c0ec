"""The database's own refusal to change or delete a signed report, on SQLite and PostgreSQL; it knows nothing of seals.

A draft may be changed, and may become signed; after that the row stays as it is, whoever holds the connection.
"""

from django.db import connection

SQLITE = [
    """CREATE TRIGGER review_report_no_update BEFORE UPDATE ON review_report WHEN OLD.state = 'signed' BEGIN
        SELECT RAISE(ABORT, 'a signed report is never changed, only amended');
    END""",
    """CREATE TRIGGER review_report_no_delete BEFORE DELETE ON review_report WHEN OLD.state = 'signed' BEGIN
        SELECT RAISE(ABORT, 'a signed report is never deleted');
    END""",
]
POSTGRESQL = [
    """CREATE FUNCTION review_report_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a signed report is never changed or deleted, only amended';
    END $$""",
    """CREATE TRIGGER review_report_no_change BEFORE UPDATE OR DELETE ON review_report
        FOR EACH ROW WHEN (OLD.state = 'signed') EXECUTE FUNCTION review_report_refuse()""",
]


def set_guard(apps=None, schema_editor=None) -> None:
    """Create the triggers."""
    with connection.cursor() as cursor:
        for statement in POSTGRESQL if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)


def lift_guard(apps=None, schema_editor=None) -> None:
    """Drop the triggers: only when the migration is taken back, and in the test runner's clean-up."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION review_report_refuse() CASCADE")
        else:
            cursor.execute("DROP TRIGGER review_report_no_update")
            cursor.execute("DROP TRIGGER review_report_no_delete")


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
