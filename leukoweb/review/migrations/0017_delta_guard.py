"""The triggers that refuse UPDATE and DELETE of alarms of a change and of their log; the SQL is frozen here.

On SQLite a later migration that alters one of the tables rebuilds it without triggers: it must begin with lift_guard
and end with set_guard.
"""

from django.db import connection, migrations

TABLES = ("review_deltaalarm", "review_deltaentry")
REFUSAL = "alarms of a change and their log are append-only"


def set_guard(apps=None, schema_editor=None):
    """Create the triggers."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION review_delta_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
            )
            for table in TABLES:
                cursor.execute(
                    f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION review_delta_refuse()"
                )
            return
        for table in TABLES:
            for act in ("update", "delete"):
                cursor.execute(
                    f"CREATE TRIGGER {table}_no_{act} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
                )


def lift_guard(apps=None, schema_editor=None):
    """Drop the triggers: only when the migration is taken back."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION review_delta_refuse() CASCADE")
            return
        for table in TABLES:
            for act in ("update", "delete"):
                cursor.execute(f"DROP TRIGGER {table}_no_{act}")


class Migration(migrations.Migration):
    dependencies = [("review", "0016_delta_alarms")]
    operations = [migrations.RunPython(set_guard, lift_guard)]
