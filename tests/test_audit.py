"""The audit table: one query an event, a chain that shows every tampering, and no way to change a row (S4, S7)."""

import json
import threading
from datetime import timedelta
from importlib import import_module

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.audit.services import history_of, record

guard = import_module("leukoweb.audit.migrations.0002_guard")
lift_guard, set_guard = guard.lift_guard, guard.set_guard


def test_an_action_that_nobody_listed_cannot_be_recorded(db):
    with pytest.raises(ValueError, match=r"case\.raed"):
        record("case.raed")
    assert not Event.objects.exists()


def test_the_filter_of_the_audit_page_offers_every_action(sign_in, admin):
    from leukoweb.audit.actions import Action

    page = sign_in(admin).get("/manage/audit/").content.decode()
    assert [action for action in Action if f'<option value="{action.value}"' not in page] == []
    for name in ("cell.relabel", "cell.confirm", "cell.undo", "cell.redo", "atlas.add", "atlas.delete"):
        assert name in Action.values


def verify(**options):
    from io import StringIO

    out = StringIO()
    call_command("verify_audit", stdout=out, **options)
    return out.getvalue()


def tamper(statement, *parameters):
    """Change the table as somebody with the database password and time would."""
    lift_guard()
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
    set_guard()


@pytest.fixture
def five_events(technologist):
    return [record("case.edit", actor=technologist, changes={"stain": ["MGG", f"Wright {n} µ"]}) for n in range(5)]


def test_an_event_costs_one_query(technologist, make_case, django_assert_num_queries):
    case = make_case()
    with django_assert_num_queries(1):
        record("case.edit", actor=technologist, obj=case, case=case, changes={"stain": ["a", "b"]})


def test_an_event_keeps_who_when_what_and_both_values(technologist, make_case):
    case = make_case()
    record("case.edit", actor=technologist, obj=case, case=case, changes={"stain": ["a", "b"]})
    event = history_of(case).get(action="case.edit")
    assert (event.actor, event.object_type, event.object_id) == (technologist, "cases.case", str(case.pk))
    assert event.changes == {"stain": ["a", "b"]}
    assert event.actor_name == "Tess (tess)"
    assert event.laboratory_id == case.laboratory_id


def test_the_chain_of_untouched_events_holds(five_events):
    assert "5 events, the chain holds" in verify()
    first, second = Event.objects.order_by("id")[:2]
    assert second.previous_hash == first.hash != first.previous_hash


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET text = 'x'",
        "UPDATE audit_event SET hash = ''",
        "UPDATE audit_event SET actor_id = NULL",
        "DELETE FROM audit_event",
    ],
)
def test_the_database_refuses_to_change_or_delete_an_event(five_events, statement):
    """S4: append-only at database level, whatever program asks."""
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Event.objects.count() == 5


def test_truncate_is_refused(five_events):
    if connection.vendor != "postgresql":
        return  # SQLite knows no TRUNCATE
    connection.check_constraints()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE audit_event")


def test_the_models_refuse_too(five_events):
    for change in (five_events[0].delete, Event.objects.all().delete, lambda: Event.objects.update(action="x")):
        with pytest.raises(TypeError, match="append-only"):
            change()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        five_events[0].save()


def test_a_forged_hash_cannot_be_inserted(technologist):
    event = Event(at=record("case.read", actor=technologist).at, action="y", text="{}", hash="f" * 64)
    try:
        with transaction.atomic():
            event.save()
    except DatabaseError:
        return
    assert Event.objects.get(pk=event.pk).hash != "f" * 64


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE audit_event SET text = replace(text, 'Wright 2', 'Wright 9') WHERE id = %s", "text is not what was"),
        ("UPDATE audit_event SET action = 'case.read' WHERE id = %s", "columns do not agree"),
        ("UPDATE audit_event SET actor_id = NULL WHERE id = %s", "columns do not agree"),
        ("DELETE FROM audit_event WHERE id = %s", "missing"),
    ],
)
def test_verify_audit_names_the_first_broken_row(five_events, statement, complaint):
    third = Event.objects.order_by("id")[2]
    tamper(statement, third.pk)
    with pytest.raises(CommandError, match=f"row {third.pk}.*{complaint}"):
        verify()


def test_a_row_put_in_with_a_right_hash_of_its_own_breaks_the_next(five_events):
    from leukoweb.audit.chain import sha256

    third = Event.objects.order_by("id")[2]
    text = third.text.replace("Wright 2", "Wright 9")
    tamper(
        "UPDATE audit_event SET text = %s, hash = %s WHERE id = %s",
        text, sha256(f"{third.previous_hash}\n{third.pk}\n{text}"), third.pk,
    )  # fmt: skip
    with pytest.raises(CommandError, match=f"row {third.pk + 1}.*before it"):
        verify()


def test_missing_triggers_are_reported(five_events):
    lift_guard()
    try:
        with pytest.raises(CommandError, match="triggers"):
            verify()
    finally:
        set_guard()


def test_an_exported_head_proves_that_the_table_was_not_written_anew(five_events, tmp_path, capsys):
    call_command("audit_head")
    head = tmp_path / "head.json"
    head.write_text(capsys.readouterr().out)
    assert json.loads(head.read_text())["hash"] == Event.objects.order_by("-id").first().hash
    record("sign_in")
    assert "holds" in verify(head=head)
    tamper("DELETE FROM audit_event")
    for n in range(6):
        record("case.read", changes={"n": n})
    with connection.cursor() as cursor:  # SQLite keeps counting, so the tamperer resets its counter as well
        if connection.vendor == "sqlite":
            lift_guard()
            cursor.execute("UPDATE audit_event SET id = id - (SELECT min(id) FROM audit_event) + 1")
            set_guard()
    with pytest.raises(CommandError):
        verify(head=head)


def test_the_head_of_each_day_is_kept_as_a_file_once(technologist, settings, tmp_path):
    from leukoweb.audit.tasks import keep_head

    settings.DATA_DIR = tmp_path
    with time_machine.travel(timezone.now() - timedelta(days=1)):
        record("case.edit", actor=technologist)
    for _ in range(2):
        record("case.edit", actor=technologist)
        keep_head()
    kept = list((tmp_path / "audit-heads").iterdir())
    assert len(kept) == 1
    assert json.loads(kept[0].read_text())["id"] == Event.objects.order_by("id").first().id
    assert "holds" in verify(head=kept[0])


def test_an_event_of_a_transaction_that_fails_never_happened(technologist):
    with transaction.atomic():
        record("case.edit", actor=technologist)
        transaction.set_rollback(True)
    record("case.edit", actor=technologist)
    assert Event.objects.count() == 1
    assert "1 events" in verify()


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_make_one_chain(technologist):
    failures = []

    def write():
        try:
            for n in range(20):
                with transaction.atomic():
                    record("case.edit", actor=technologist, changes={"n": n})
        except Exception as failure:
            failures.append(failure)
        finally:
            connections.close_all()

    before = Event.objects.count()
    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert f"{before + 80} events, the chain holds" in verify()


def test_an_administrator_reads_the_events_of_their_laboratory_only(sign_in, admin, outsider, five_events):
    record("case.edit", actor=outsider, changes={"stain": ["a", "Harbourstain"]})
    page = sign_in(admin).get("/manage/audit/")
    assert page.status_code == 200
    assert b"Wright 4" in page.content
    assert b"Harbourstain" not in page.content


def test_the_audit_page_filters_by_person_action_and_day(sign_in, admin, technologist, five_events):
    record("sign_in", actor=admin)
    page = sign_in(admin).get("/manage/audit/", {"actor": admin.pk, "action": "sign_in"})
    assert b"Wright" not in page.content
    assert "no event" in sign_in(admin).get("/manage/audit/", {"until": "2001-01-01"}).content.decode().lower()
    assert sign_in(admin).get("/manage/audit/", {"since": "never", "actor": "x", "case": "9" * 40}).status_code == 200


def test_the_audit_page_hides_what_administrators_may_not_read_of_patients(sign_in, admin, technologist, make_case):
    case = make_case()
    record("case.edit", actor=technologist, case=case, changes={"name": ["Alma Novak", "Alma Nowak"], "stain": "MGG"})
    for address in ("/manage/audit/", "/manage/audit/events.csv"):
        body = b"".join(sign_in(admin).get(address)).decode()
        assert "Nowak" not in body
        assert "not shown here" in body
        assert "MGG" in body


def test_the_csv_has_the_rows_of_the_page_and_is_itself_recorded(sign_in, admin, five_events):
    response = sign_in(admin).get("/manage/audit/events.csv", {"action": "case.edit"})
    lines = b"".join(response).decode().splitlines()
    assert response["Content-Type"].startswith("text/csv")
    assert len(lines) == 1 + 5
    assert Event.objects.filter(action="audit.export", actor=admin).exists()


def test_a_cell_of_the_csv_is_never_a_formula(sign_in, admin, technologist):
    technologist.first_name = "=HYPERLINK(1)"
    technologist.save()
    record("case.edit", actor=technologist)
    body = b"".join(sign_in(admin).get("/manage/audit/events.csv")).decode()
    assert ",=HYPERLINK" not in body
    assert "'=HYPERLINK" in body


def test_the_csv_of_the_audit_opens_in_excel_with_umlauts_and_without_formulas_in_full_width(
    sign_in, admin, technologist
):
    technologist.first_name = "\uff1dJ\u00f6rg"
    technologist.save()
    record("case.edit", actor=technologist)
    body = b"".join(sign_in(admin).get("/manage/audit/events.csv"))
    assert body.startswith(b"\xef\xbb\xbf")
    assert ",'\uff1dJ\u00f6rg" in body.decode()


def test_the_head_of_the_day_can_be_downloaded(sign_in, admin, five_events):
    response = sign_in(admin).get("/manage/audit/head.json")
    assert len(response.json()["hash"]) == 64
    assert "attachment" in response["Content-Disposition"]


def test_only_administrators_read_the_audit(sign_in, pathologist, technologist):
    for person in (pathologist, technologist):
        assert sign_in(person).get("/manage/audit/").status_code == 403
