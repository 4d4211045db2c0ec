"""The run's state machine under any schedule of workers, faults and people, on a clock that a test moves.

Database, services, sweep and marks are the real ones, messages go through kombu's own broker in memory. What the tests
play are the workers: each holds a message and an attempt, works, stores, dies, hangs, and may wake up when nobody
expects it.
"""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import time_machine
from celery import current_app
from django.conf import settings
from django.db.models import Count
from django.test import TestCase
from django.utils import timezone
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from kombu.exceptions import OperationalError

from leukoweb.analysis import services, tasks
from leukoweb.analysis.at_work import _place, at_work
from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Run
from leukoweb.analysis.set_aside import include_slide, set_slide_aside
from leukoweb.audit.models import Event
from leukoweb.cases.models import Slide, SlideImage
from leukoweb.cases.services import reject_case
from tests.test_queue import MEASURED, SEGMENTED
from tests.test_state_machines import Rolled

pytestmark = pytest.mark.slow

LIFE_EVERY_S = settings.RUN_SILENT_LIMIT_S / 6
WITHIN_S = 60  # of the end of all faults every waiting run is taken up
PICK = st.integers(0, 5)


@dataclass(eq=False)
class Attempt:
    """A worker's process that holds a run: what it claimed, its message, and the mark that dies with it."""

    run: Run
    message: tuple[int, str]
    mark: ExitStack = field(default_factory=ExitStack)
    is_hung: bool = False


def test_any_schedule_ends_each_slide_once(make_case, people, clock):
    run_state_machine_as_test(schedules(make_case, people, clock), settings=effort(EFFORT, max_examples=20))


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_schedules_end_each_slide_once(make_case, people, clock):
    run_state_machine_as_test(schedules(make_case, people, clock), settings=effort(EFFORT, max_examples=10_000))


EFFORT = effort(stateful_step_count=25, deadline=None)


@pytest.fixture
def people(technologist, pathologist):
    return {"technologist": technologist, "pathologist": pathologist}


@pytest.fixture
def clock(db, monkeypatch, settings, tmp_path):
    """A clock that stands until it is moved, and a broker in this process."""
    monkeypatch.setattr(current_app.conf, "broker_url", "memory://")
    settings.STORE_DIR, settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "store", tmp_path / "incoming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    with time_machine.travel(timezone.now(), tick=False) as moved:
        yield moved


def schedules(make_case, people, clock):
    """The machine: rules are what workers, faults and people do, in any order."""
    technologist, pathologist = people["technologist"], people["pathologist"]
    no_broker = current_app.conf.broker_url.replace("memory://", "redis+socket:///nowhere.sock")

    class Machine(Rolled):
        def __init__(self):
            super().__init__()
            self.cases = [make_case("A-1"), make_case("A-2", priority="stat")]
            self.attempts, self.lost, self.done, self.retries = [], [], set(), 0
            self.broker(is_there=True)
            self.forget()

        def teardown(self):
            try:
                self.settle()
            finally:
                for attempt in self.attempts:
                    attempt.mark.close()
                self.broker(is_there=True)
                super().teardown()

        # --- what people do

        @precondition(lambda self: Slide.objects.count() < 4)
        @rule(case=PICK, is_rung=st.booleans())
        def upload(self, case, is_rung):
            case = self.cases[case % 2]
            if case.rejected_at:
                return
            image = SlideImage(name="f.png", sha256="a" * 64, size_bytes=1, format="PNG", width_px=100, height_px=100)
            # Not enqueued: the web process was killed after its commit.
            self.acted(lambda: services.submit_slide(case, images=[image], by=technologist), is_rung=is_rung)

        @precondition(lambda self: Run.objects.filter(state="failed").exists())
        @rule(run=PICK, is_rung=st.booleans())
        def retry(self, run, is_rung):
            run = self.one(Run.objects.filter(state="failed"), run)
            assert self.acted(lambda: services.retry_run(run, by=technologist), is_rung=is_rung)

        @precondition(lambda self: Run.objects.exists())
        @rule(run=PICK)
        def stop(self, run):
            services.stop_run(self.one(Run.objects.all(), run), by=technologist)

        @precondition(lambda self: Slide.objects.exists())
        @rule(slide=PICK)
        def read_again(self, slide):
            slide = self.one(Slide.objects.select_related("case"), slide)
            if slide.runs.count() < 3:
                self.tried(lambda: self.acted(lambda: services.reread_slide(slide, by=technologist)))

        @precondition(lambda self: Slide.objects.exists())
        @rule(slide=PICK)
        def set_aside_or_include(self, slide):
            slide = self.one(Slide.objects.select_related("case"), slide)
            if slide.set_aside_at:
                self.tried(lambda: include_slide(slide, by=technologist))
            else:
                self.tried(lambda: set_slide_aside(slide, by=technologist, reason="Cannot be read."))

        @rule(case=PICK)
        def reject(self, case):
            case = self.cases[case % 2]
            if Slide.objects.exists() and not case.rejected_at:
                self.tried(lambda: reject_case(case, by=pathologist, reason="Clotted."))
                case.refresh_from_db()

        # --- what workers do

        @rule(is_marked=st.booleans())
        def take(self, is_marked):
            if message := self.next_message():
                self.claim(message, is_marked=is_marked)

        @precondition(lambda self: self.lost)
        @rule(message=PICK)
        def deliver_again(self, message):
            self.claim(self.lost.pop(message % len(self.lost)), is_marked=True)

        @precondition(lambda self: self.working())
        @rule(attempt=PICK, act=st.sampled_from(["progress", "store", "fail", "ask scale", "no room"]))
        def work(self, attempt, act):
            self.do(self.one(self.working(), attempt), act)

        @precondition(lambda self: self.working())
        @rule(attempt=PICK, how=st.sampled_from(["worker", "machine", "killed", "crashed", "overdue"]))
        def die(self, attempt, how):
            attempt = self.one(self.working(), attempt)
            self.end(attempt)
            if how == "worker":  # the system frees the mark; nobody removes it
                _place(attempt.run).parent.mkdir(parents=True, exist_ok=True)
                _place(attempt.run).touch()
            if how in ("killed", "crashed"):
                is_killed = how == "killed"
                services.note_lost_process(attempt.run.pk, task_id=attempt.message[1], is_killed=is_killed)
            if how == "overdue":
                services.fail_overdue_run(attempt.run.pk, task_id=attempt.message[1])
            else:
                self.lost.append(attempt.message)

        @precondition(lambda self: self.attempts)
        @rule(attempt=PICK)
        def hang_or_wake(self, attempt):
            attempt = self.one(self.attempts, attempt)
            attempt.is_hung = not attempt.is_hung
            self.lost.append(attempt.message)  # the broker's patience is over before the process wakes up

        # --- what the broker and the clock do

        @precondition(lambda self: Run.objects.exists())
        @rule(run=PICK)
        def double_message(self, run):
            services.enqueue_run(self.one(Run.objects.all(), run))

        @rule()
        def forget(self):
            with current_app.connection_for_read() as broker:
                for name in (settings.RUNS_QUEUE, settings.LONG_RUNS_QUEUE):
                    with suppress(OperationalError, broker.transport.channel_errors[0]):
                        broker.default_channel.queue_purge(name)

        @rule(is_there=st.booleans())
        def broker(self, is_there):
            self.is_broker_there = is_there
            current_app.conf.broker_url = "memory://" if is_there else no_broker

        @rule(patience_s=st.sampled_from([None, 0]))
        def sweep(self, patience_s):
            with suppress(OperationalError):
                tasks.sweep(patience_s)

        @rule(seconds=st.sampled_from([1, 3, 10, 40, 100]))
        def time_passes(self, seconds):
            self.wait(seconds)

        # --- what must hold

        @invariant()
        def rows_say_what_happened(self):
            for run in Run.objects.annotate(found=Count("cells")):
                assert run.state == "done" if run.pk in self.done else run.state != "done"
                assert run.found == (run.state == "done")
                assert bool(run.task_id) or run.state in ("queued", "failed")
                assert run.attempt <= services.MOST_KILLS + settings.RUN_MAX_ATTEMPTS
                assert run.kills <= run.attempt
                if run.state == "failed":
                    assert run.error
                    assert run.finished_at
            assert Event.objects.filter(action="run.done").count() == len(self.done)

        @invariant()
        def nobody_shares_a_run(self):
            owners = [attempt.run.pk for attempt in self.attempts if services._ours(attempt.run).exists()]
            assert len(set(owners)) == len(owners), "two processes pass the same fence"

        def settle(self):
            """End all faults: every run ends soon, whatever was left; who hung wakes up too late."""
            self.broker(is_there=True)
            for attempt in self.working():
                self.do(attempt, "store")
            waited = 0
            while self.open_runs() and waited <= 10 * WITHIN_S:
                while message := self.next_message():
                    if attempt := self.claim(message, is_marked=True):
                        self.do(attempt, "store")
                assert waited <= WITHIN_S or not self.open_runs(), f"{self.open_runs()} wait after {waited} s"
                self.wait(settings.SWEEP_EVERY_S)
                waited += settings.SWEEP_EVERY_S
                self.sweep(None)
            for attempt in list(self.attempts):
                self.do(attempt, "store")
            while self.lost:
                self.claim(self.lost.pop(), is_marked=True)
            self.rows_say_what_happened()

        # --- how it is played

        def one(self, things, number):
            return things[number % len(things)]

        def open_runs(self):
            return list(Run.objects.filter(state__in=("queued", "running")).values_list("pk", "state"))

        def working(self):
            return [attempt for attempt in self.attempts if not attempt.is_hung]

        def acted(self, act, *, is_rung=True):
            clock.shift(timedelta(milliseconds=1))
            with TestCase.captureOnCommitCallbacks(execute=is_rung):
                return act()

        def next_message(self):
            if not self.is_broker_there:
                return None
            for name in (settings.RUNS_QUEUE, settings.LONG_RUNS_QUEUE):
                with (
                    current_app.connection_for_read() as broker,
                    broker.SimpleQueue(name) as queue,
                    suppress(queue.Empty),
                ):
                    message = queue.get(block=False)
                    message.ack()
                    return message.payload[0][0], message.headers["id"]
            return None

        def claim(self, message, *, is_marked):
            clock.shift(timedelta(milliseconds=1))
            run_id, task_id = message
            run = services.claim_run(run_id, task_id=task_id, max_attempts=settings.RUN_MAX_ATTEMPTS)
            if run is None:
                return None
            attempt = Attempt(run, message)
            if is_marked:
                attempt.mark.enter_context(at_work(run))
            self.attempts.append(attempt)
            return attempt

        def do(self, attempt, act):
            clock.shift(timedelta(milliseconds=1))
            run = attempt.run
            if act == "progress":
                if services.note_progress(run, images_done=0, tiles_done=1, tiles_total=2):
                    return
            elif act == "store":
                results = [(run.slide.images.get(), MEASURED, [SEGMENTED])]
                if services.store_result(run, detector=active_detector(), computed_on={}, results=results):
                    assert run.pk not in self.done, "stored twice"
                    self.done.add(run.pk)
            elif act == "no room":
                services.put_back(run, "There is no room.")
            else:
                services.fail_run(run, "It failed.", scale_choices={} if act == "ask scale" else None)
            self.end(attempt)

        def end(self, attempt):
            attempt.mark.close()
            self.attempts.remove(attempt)

        def wait(self, seconds):
            left = seconds
            while left > 0:
                clock.shift(timedelta(seconds=min(left, LIFE_EVERY_S)))
                left -= LIFE_EVERY_S
                for attempt in self.working():
                    services.note_alive(attempt.run)

    return Machine
