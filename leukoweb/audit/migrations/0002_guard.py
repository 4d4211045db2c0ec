"""The triggers that chain the events and refuse UPDATE, DELETE and TRUNCATE; the SQL is frozen here.

On SQLite a later migration that alters the table rebuilds it without triggers: it must create them again.
"""

from django.db import connection, migrations

SQLITE_GUARD = [
    """CREATE TRIGGER audit_event_chain AFTER INSERT ON audit_event BEGIN
        UPDATE audit_event SET
            previous_hash = coalesce(
                (SELECT hash FROM audit_event WHERE id < NEW.id ORDER BY id DESC LIMIT 1), '0000000000000000000000000000000000000000000000000000000000000000'),
            hash = leukoweb_sha256(
                coalesce((SELECT hash FROM audit_event WHERE id < NEW.id ORDER BY id DESC LIMIT 1), '0000000000000000000000000000000000000000000000000000000000000000')
                || char(10) || NEW.id || char(10) || NEW.text)
        WHERE id = NEW.id;
    END""",
    """CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event WHEN OLD.hash <> '' BEGIN
        SELECT RAISE(ABORT, 'audit_event is append-only');
    END""",
    """CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN
        SELECT RAISE(ABORT, 'audit_event is append-only');
    END""",
]

# An empty table may be truncated: nothing is lost, and the test runner does it between tests.
POSTGRESQL_GUARD = [
    """CREATE FUNCTION audit_event_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last record;
    BEGIN
        PERFORM pg_advisory_xact_lock(7426011);
        SELECT id, hash INTO last FROM audit_event ORDER BY id DESC LIMIT 1;
        NEW.id := coalesce(last.id, 0) + 1;
        NEW.previous_hash := coalesce(last.hash, '0000000000000000000000000000000000000000000000000000000000000000');
        NEW.hash := encode(sha256(convert_to(
            NEW.previous_hash || chr(10) || NEW.id || chr(10) || NEW.text, 'UTF8')), 'hex');
        RETURN NEW;
    END $$""",
    """CREATE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' AND NOT EXISTS (SELECT 1 FROM audit_event) THEN RETURN NULL; END IF;
        RAISE EXCEPTION 'audit_event is append-only';
    END $$""",
    """CREATE TRIGGER audit_event_chain BEFORE INSERT ON audit_event
        FOR EACH ROW EXECUTE FUNCTION audit_event_chain()""",
    """CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
        FOR EACH ROW EXECUTE FUNCTION audit_event_refuse()""",
    """CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event
        FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()""",
]


def set_guard(apps=None, schema_editor=None):
    """Create the triggers."""
    with connection.cursor() as cursor:
        for statement in POSTGRESQL_GUARD if connection.vendor == "postgresql" else SQLITE_GUARD:
            cursor.execute(statement)


def lift_guard(apps=None, schema_editor=None):
    """Drop the triggers: only when the migration is taken back, and in tests of tampering."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION audit_event_chain() CASCADE")
            cursor.execute("DROP FUNCTION audit_event_refuse() CASCADE")
        else:
            for name in ("chain", "no_update", "no_delete"):
                cursor.execute(f"DROP TRIGGER audit_event_{name}")


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(set_guard, lift_guard)]
