"""The triggers that refuse changes of signed reports; the SQL is frozen here.

On SQLite a later migration that alters the table rebuilds it without triggers: it must begin with lift_guard and end
with set_guard.
"""

from django.db import connection, migrations

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


def set_guard(apps=None, schema_editor=None):
    """Create the triggers."""
    with connection.cursor() as cursor:
        for statement in POSTGRESQL if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)


def lift_guard(apps=None, schema_editor=None):
    """Drop the triggers: only when the migration is taken back, and in the test runner's clean-up."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION review_report_refuse() CASCADE")
        else:
            cursor.execute("DROP TRIGGER review_report_no_update")
            cursor.execute("DROP TRIGGER review_report_no_delete")


class Migration(migrations.Migration):
    dependencies = [("review", "0003_report_pictures_sequence")]
    operations = [migrations.RunPython(set_guard, lift_guard)]
