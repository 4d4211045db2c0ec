"""The hash chain over the events and the triggers that keep it append-only; it knows nothing of what events mean.

hash = SHA-256 of "previous hash, newline, id, newline, text". The database computes it inside the INSERT, so an event
costs one query; ids have no gaps, so a missing row shows.
"""

import hashlib

from django.db import connection

FIRST = "0" * 64
LOCK = 7_426_011  # the advisory lock that makes writers of the chain wait for each other

SQLITE_GUARD = [
    f"""CREATE TRIGGER audit_event_chain AFTER INSERT ON audit_event BEGIN
        UPDATE audit_event SET
            previous_hash = coalesce(
                (SELECT hash FROM audit_event WHERE id < NEW.id ORDER BY id DESC LIMIT 1), '{FIRST}'),
            hash = leukoweb_sha256(
                coalesce((SELECT hash FROM audit_event WHERE id < NEW.id ORDER BY id DESC LIMIT 1), '{FIRST}')
                || char(10) || NEW.id || char(10) || NEW.text)
        WHERE id = NEW.id;
    END""",  # noqa: S608 - a constant of ours
    """CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event WHEN OLD.hash <> '' BEGIN
        SELECT RAISE(ABORT, 'audit_event is append-only');
    END""",
    """CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN
        SELECT RAISE(ABORT, 'audit_event is append-only');
    END""",
]

# An empty table may be truncated: nothing is lost, and the test runner does it between tests.
POSTGRESQL_GUARD = [
    f"""CREATE FUNCTION audit_event_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last record;
    BEGIN
        PERFORM pg_advisory_xact_lock({LOCK});
        SELECT id, hash INTO last FROM audit_event ORDER BY id DESC LIMIT 1;
        NEW.id := coalesce(last.id, 0) + 1;
        NEW.previous_hash := coalesce(last.hash, '{FIRST}');
        NEW.hash := encode(sha256(convert_to(
            NEW.previous_hash || chr(10) || NEW.id || chr(10) || NEW.text, 'UTF8')), 'hex');
        RETURN NEW;
    END $$""",  # noqa: S608 - constants of ours
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


def sha256(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def teach_sha256(sender, connection, **kwargs) -> None:
    """Give a new SQLite connection the function its trigger calls; without it nothing can be added (fails closed)."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("leukoweb_sha256", 1, sha256, deterministic=True)


def set_guard(apps=None, schema_editor=None) -> None:
    """Create the triggers."""
    with connection.cursor() as cursor:
        for statement in POSTGRESQL_GUARD if connection.vendor == "postgresql" else SQLITE_GUARD:
            cursor.execute(statement)


def lift_guard(apps=None, schema_editor=None) -> None:
    """Drop the triggers: only when the migration is taken back, and in the test runner's clean-up."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION audit_event_chain() CASCADE")
            cursor.execute("DROP FUNCTION audit_event_refuse() CASCADE")
        else:
            for name in ("chain", "no_update", "no_delete"):
                cursor.execute(f"DROP TRIGGER audit_event_{name}")


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


def first_broken(events) -> tuple[int, str] | None:
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
