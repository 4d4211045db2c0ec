"""Any order of acts on a critical result and on a report keeps their rules (C7, S3, S4, S9, S12)."""

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.criticals.calls import close_critical, give_receipt, record_call
from leukoweb.review.criticals.models import Critical, CriticalEntry
from leukoweb.review.models import Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.withdrawing import cancel_amendment, withdraw_report
from leukoweb.review.urgency import keep_flags
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, look_at

pytestmark = pytest.mark.slow

EFFORT = effort(max_examples=12, stateful_step_count=12, deadline=None)
ROLES = st.sampled_from(["technologist", "pathologist", "admin"])


class Rolled(RuleBasedStateMachine):
    """Each example leaves the database as it was."""

    def __init__(self):
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()

    def teardown(self):
        connection.set_rollback(True)
        self.example.__exit__(None, None, None)

    def tried(self, act):
        """Say whether something was done, or refused without any change."""
        try:
            with transaction.atomic():
                act()
        except Refused:
            return False
        return True


def test_no_order_of_acts_loses_or_ends_a_critical_result(make_case, people):
    """One open result at most; only a read-back, a pathologist's reason or another value ends it."""

    class Machine(Rolled):
        def __init__(self):
            super().__init__()
            self.case = make_case()
            self.is_low = self.is_open = self.is_read_back = False
            self.lines = self.made = 0

        def newest(self):
            return Critical.objects.filter(case=self.case).with_log().last()

        @rule(platelets=st.sampled_from(["9", "19", "20", "250"]))
        def count(self, platelets):
            at = timezone.now()
            values = (value_of("PLT", platelets, "10*9/L"),)
            store_blood_count(self.case, BloodCount("XN", at, True, values), by=people["technologist"])
            for _ in range(2):
                keep_flags(self.case)
            was_low, self.is_low = self.is_low, float(platelets) < 20
            if self.is_low and not was_low:
                self.made, self.is_open, self.is_read_back = self.made + 1, True, False
            elif was_low and not self.is_low:
                self.is_open = False

        @precondition(lambda self: self.made)
        @rule(role=ROLES)
        def see(self, role):
            done = self.tried(lambda: give_receipt(self.newest(), by=people[role]))
            assert not (done and role == "admin")

        @precondition(lambda self: self.made)
        @rule(role=ROLES, outcome=st.sampled_from(["missed", "reached", "read_back"]))
        def call(self, role, outcome):
            done = self.tried(
                lambda: record_call(
                    self.newest(), by=people[role], told_to="Dr Mole", told_role="ward", how="phone",
                    is_reached=outcome != "missed", is_read_back=outcome == "read_back",
                )
            )  # fmt: skip
            assert done is (role != "admin")
            self.is_read_back |= done and outcome == "read_back"

        @precondition(lambda self: self.made)
        @rule(role=ROLES, reason=st.sampled_from(["", "Known."]))
        def close(self, role, reason):
            done = self.tried(lambda: close_critical(self.newest(), by=people[role], reason=reason))
            may = role != "admin" and (self.is_read_back or (role == "pathologist" and bool(reason)))
            assert done is (self.is_open and may)
            self.is_open &= not done

        @invariant()
        def it_is_what_was_done(self):
            assert Critical.objects.filter(case=self.case).count() == self.made
            assert Critical.objects.filter(case=self.case).open().count() == self.is_open
            lines = CriticalEntry.objects.filter(critical__case=self.case).count()
            assert lines >= self.lines
            self.lines = lines
            if self.made:
                assert (Case.objects.get(pk=self.case.pk).flag_level == 3) is self.is_open or self.lines == 0

    run_state_machine_as_test(Machine, settings=EFFORT)


def test_no_order_of_acts_changes_a_signed_report_or_lets_the_wrong_role_release(make_case, make_slide, people):
    """The state of the case follows its acts, sealed content stays, and at most one report is in force."""
    case = make_case()
    make_slide(case, NORMAL)
    look_at(case, people["technologist"])

    class Machine(Rolled):
        def __init__(self):
            super().__init__()
            self.state, self.versions, self.before = "to_review", 0, "to_review"
            self.seals = {}

        def newest(self):
            return Report.objects.filter(case=case).order_by("-version").first()

        def act(self, do, role, *, roles, states, after):
            done = self.tried(lambda: do(people[role]))
            assert done is (role in roles and self.state in states), (self.state, role)
            if done:
                self.state = after
            return done

        @rule(role=ROLES)
        def hand_over(self, role):
            self.act(lambda by: signing.hand_over(case, by=by), role, roles={"technologist", "pathologist"},
                     states={"to_review"}, after="to_sign")  # fmt: skip

        @rule(role=ROLES)
        def give_back(self, role):
            self.act(lambda by: signing.return_case(case, by=by, reason="Again."), role, roles={"pathologist"},
                     states={"to_sign"}, after="to_review")  # fmt: skip

        @rule(role=ROLES)
        def sign(self, role):
            def do(by):
                report = signing.draft_of(case, by=by)
                signing.sign_report(report, by=by, password=PASSWORD, meaning=signing.MEANINGS[0])

            if self.act(do, role, roles={"pathologist"}, states={"to_review", "to_sign", "amending"}, after="signed"):
                report = self.newest()
                self.seals[report.pk] = (report.seal, report.content)

        @precondition(lambda self: self.seals)
        @rule(role=ROLES)
        def amend(self, role):
            self.before = self.state if self.state in ("signed", "withdrawn") else self.before
            self.act(lambda by: signing.amend_report(self.newest(), by=by, reason="Recount."), role,
                     roles={"pathologist"}, states={"signed", "withdrawn"}, after="amending")  # fmt: skip

        @precondition(lambda self: self.state == "amending")
        @rule(role=ROLES)
        def cancel(self, role):
            self.act(lambda by: cancel_amendment(self.newest(), by=by, reason="Opened by mistake."), role,
                     roles={"pathologist"}, states={"amending"}, after=self.before)  # fmt: skip

        @precondition(lambda self: self.seals)
        @rule(role=ROLES)
        def withdraw(self, role):
            self.act(lambda by: withdraw_report(self.newest(), by=by, password=PASSWORD, reason="Wrong tube."), role,
                     roles={"pathologist"}, states={"signed"}, after="withdrawn")  # fmt: skip

        @invariant()
        def it_is_what_was_done(self):
            assert Case.objects.with_state().get(pk=case.pk).state == self.state
            signed = Report.objects.filter(case=case, state=Report.State.SIGNED)
            assert {report.pk: (report.seal, report.content) for report in signed} == self.seals
            assert Report.objects.filter(case=case).in_force().count() <= 1
            assert all(report.signed_by.role == "pathologist" for report in signed.select_related("signed_by"))

    run_state_machine_as_test(Machine, settings=EFFORT)


@pytest.fixture
def people(technologist, pathologist, admin):
    return {"technologist": technologist, "pathologist": pathologist, "admin": admin}
