"""The queue: the row is the truth, the broker only notifies; each step twice, killed half-way, with a slow worker."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from celery import current_app
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from kombu import Producer, Queue
from redis.exceptions import RedisError

from detection.inference.detector import FoundCell
from leukoweb.analysis import at_work, services
from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Cell, Run
from leukoweb.analysis.tasks import sweep
from leukoweb.audit.models import Event
from leukoweb.cases.models import SlideImage

CHANCES = (("NGS", 0.88), ("NGB", 0.09), ("EOS", 0.01))
SEGMENTED = FoundCell("NGS", 0.9, (10.0, 10.0, 60.0, 60.0), chances=CHANCES)
MEASURED = {"um_per_px": 0.1, "scale_method": "uploader", "uncovered_nuclei": []}


@pytest.fixture
def submit(make_case, technologist):
    """Submit a slide of one image and return its run."""

    def submitted(case=None):
        image = SlideImage(name="f.png", sha256="a" * 64, size_bytes=1, format="PNG", width_px=100, height_px=100)
        slide = services.submit_slide(case or make_case(), images=[image], by=technologist)
        return slide.runs.get()

    return submitted


def claim(run, task_id="task-1"):
    return services.claim_run(run.pk, task_id=task_id, max_attempts=3)


def store(run):
    image = run.slide.images.get()
    return services.store_result(
        run, detector=active_detector(), computed_on={}, results=[(image, MEASURED, [SEGMENTED])]
    )


def silence(run, seconds=3600):
    Run.objects.filter(pk=run.pk).update(seen_at=timezone.now() - timedelta(seconds=seconds))


def messages(name="runs"):
    """The run ids that wait in a queue of the broker, in the order in which a worker takes them."""
    ids = []
    with current_app.connection_for_read() as connection, connection.SimpleQueue(name) as queue:
        while True:
            try:
                message = queue.get(block=False)
            except queue.Empty:
                return ids
            ids.append(message.payload[0][0])
            message.ack()


def test_a_queued_run_is_claimed_by_one_worker_only(submit):
    run = submit()
    assert claim(run, "task-1").attempt == 1
    assert claim(run, "task-2") is None


def test_a_task_delivered_again_after_its_worker_died_takes_its_run_as_the_next_attempt(submit):
    run = submit()
    claim(run, "task-1")
    assert claim(run, "task-1").attempt == 2


def test_a_run_that_is_done_is_not_claimed_again(submit):
    run = submit()
    assert store(claim(run))
    assert claim(run, "task-1") is None
    assert Run.objects.get(pk=run.pk).state == Run.State.DONE


def test_a_result_is_stored_once_although_it_is_handed_in_twice(submit):
    run = claim(submit())
    assert store(run)
    assert not store(run)
    assert Cell.objects.count() == 1
    assert Event.objects.filter(action="run.done").count() == 1


def test_a_slow_twin_stores_nothing_and_learns_it_from_its_progress(submit):
    slow = claim(submit(), "task-1")
    quick = claim(slow, "task-1")
    assert not services.note_progress(slow, images_done=0, tiles_done=1, tiles_total=2)
    assert not store(slow)
    services.fail_run(slow, "the slow worker failed")
    assert store(quick)
    assert Run.objects.get(pk=quick.pk).error == ""
    assert Cell.objects.count() == 1


def test_a_slow_twin_from_before_a_retry_stores_nothing(submit, technologist):
    slow = claim(submit(), "task-1")
    services.fail_run(slow, "reason")
    assert services.retry_run(slow, by=technologist)
    again = claim(slow, "task-2")
    assert again.attempt == slow.attempt
    assert not store(slow)
    assert store(again)


def test_a_slow_twin_whose_message_came_again_after_a_retry_is_nobody(submit, technologist):
    """The broker delivers the message of a hanging worker again after a retry began to count anew."""
    slow = claim(submit(), "task-1")
    services.stop_run(slow, by=technologist)
    assert services.retry_run(slow, by=technologist)
    again = claim(slow, "task-1")
    services.fail_run(slow, "the slow worker failed")
    assert not services.note_progress(slow, images_done=0, tiles_done=1, tiles_total=2)
    assert not store(slow)
    assert store(again)


def test_after_three_lost_workers_the_run_fails_in_words_and_in_the_audit_log(submit):
    run = submit()
    for _ in range(3):
        assert claim(run)
    assert claim(run) is None
    run.refresh_from_db()
    assert run.state == Run.State.FAILED
    assert "stopped 3 times" in run.error
    assert "try again" in run.error
    assert Event.objects.get(action="run.failed").object_id == str(run.pk)


def test_workers_that_were_stopped_from_outside_are_not_counted_against_an_innocent_picture(submit):
    run = submit()
    for number in range(services.MOST_KILLS):
        assert claim(run, f"task-{number}"), "the picture was blamed"
        services.note_lost_process(run.pk, task_id=f"task-{number}", is_killed=True)
        Run.objects.update(state=Run.State.QUEUED)
    assert claim(run, "last") is None
    run.refresh_from_db()
    assert run.state == Run.State.FAILED
    assert "nothing is known against the images" in run.error


def test_a_process_that_died_of_what_it_read_is_counted(submit):
    run = submit()
    for _ in range(3):
        assert claim(run, "task-1")
        services.note_lost_process(run.pk, task_id="task-1", is_killed=False)
    assert claim(run, "task-1") is None
    run.refresh_from_db()
    assert "stopped 3 times" in run.error


def test_a_run_that_was_ended_for_its_length_is_not_tried_by_the_next_worker(submit):
    run = claim(submit(), "task-1")
    services.fail_overdue_run(run.pk, task_id="task-1")
    run.refresh_from_db()
    assert (run.state, run.error) == (Run.State.FAILED, services.TOO_LONG)


def test_what_a_dead_worker_left_is_taken_at_once_and_what_a_slow_one_reads_is_not(submit, make_case, broker):
    left, slow = claim(submit()), claim(submit(make_case("A-2")), "task-2")
    at_work._place(left).parent.mkdir(parents=True, exist_ok=True)
    dead = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); "
         "print('held', flush=True); sys.stdin.read()", str(at_work._place(left))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    dead.stdout.readline()
    for run in (left, slow):
        silence(run, seconds=services.JUST_CLAIMED_S + 1)
    with at_work.at_work(slow):
        sweep()
        assert set(Run.objects.values_list("state", flat=True)) == {Run.State.RUNNING}
        dead.kill()
        dead.communicate()
        sweep()
    assert dict(Run.objects.values_list("pk", "state")) == {left.pk: Run.State.QUEUED, slow.pk: Run.State.RUNNING}
    assert messages() == [left.pk]
    assert Run.objects.get(pk=left.pk).kills == 1


def test_a_process_that_hangs_holds_nobody_who_takes_its_run_by_the_same_message(submit, technologist):
    """A retry counts attempts anew, and the broker delivers the message of the hung process once more."""
    hung = claim(submit(), "task-1")
    with at_work.at_work(hung):
        services.stop_run(hung, by=technologist)
        services.retry_run(hung, by=technologist)
        next_one = claim(hung, "task-1")
        assert at_work._place(next_one) != at_work._place(hung)
        with at_work.at_work(next_one):
            assert not at_work.is_left(next_one)
        assert not at_work.is_left(hung)


def test_a_slide_that_will_take_long_waits_in_a_queue_of_its_own(
    make_case, technologist, broker, sign_in, django_capture_on_commit_callbacks
):
    def submitted(case, side_px):
        image = SlideImage(
            name="f.png", sha256="a" * 64, size_bytes=1, format="PNG", width_px=side_px, height_px=side_px
        )
        return services.submit_slide(case, images=[image], by=technologist).runs.get()

    with django_capture_on_commit_callbacks(execute=True):
        long, short = submitted(make_case("A-1"), 14_000), submitted(make_case("A-2"), 1_000)
    assert (long.is_long, short.is_long) == (True, False)
    assert (messages("long"), messages("runs")) == ([long.pk], [short.pk])
    assert services.runs_before(short) == 0
    page = sign_in(technologist).get(f"/slides/{long.slide_id}/progress/").content.decode()
    assert "Queued among the long analyses, next in line" in page


def test_the_cost_of_a_slide_follows_the_pace_of_the_analyses_before(submit):
    run = claim(submit())
    assert services.seconds_for(10) == 10 * services.FIRST_PACE_S
    assert store(run)
    started = timezone.now()
    Run.objects.update(megapixels=2.0, started_at=started, finished_at=started + timedelta(seconds=1))
    assert services.seconds_for(10) == pytest.approx(5)


def test_no_message_of_other_work_is_taken_for_the_bell_of_a_run(submit, broker):
    run = submit()
    Run.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    for _ in range(3):
        current_app.send_task("leukoweb.review.tasks.store_flags")
    sweep()
    assert messages() == [run.pk]


def test_try_again_queues_a_failed_run_once_with_fresh_attempts(submit, technologist):
    run = claim(submit())
    services.fail_run(run, "reason")
    assert services.retry_run(run, by=technologist)
    assert not services.retry_run(run, by=technologist)
    run.refresh_from_db()
    assert (run.state, run.attempt, run.error) == (Run.State.QUEUED, 0, "")


def test_a_run_whose_worker_fell_silent_is_queued_again_and_a_living_one_is_not(submit, make_case):
    lost, alive = claim(submit()), claim(submit(make_case("A-2")))
    silence(lost)
    assert services.release_lost_runs(silent_since=timezone.now() - timedelta(seconds=60)) == 1
    states = dict(Run.objects.values_list("pk", "state"))
    assert states == {lost.pk: Run.State.QUEUED, alive.pk: Run.State.RUNNING}


def test_a_sign_of_life_keeps_a_run(submit):
    run = claim(submit())
    silence(run)
    services.note_alive(run)
    assert services.release_lost_runs(silent_since=timezone.now() - timedelta(seconds=60)) == 0


def test_without_a_broker_a_slide_is_queued_at_once_and_nothing_fails(submit, django_capture_on_commit_callbacks):
    started = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        run = submit()
    assert time.monotonic() - started < 3
    assert Run.objects.get(pk=run.pk).state == Run.State.QUEUED


def test_a_slide_that_no_broker_took_is_sent_by_the_next_sweep(submit, django_capture_on_commit_callbacks, request):
    with django_capture_on_commit_callbacks(execute=True):
        run = submit()
    request.getfixturevalue("broker")
    sweep()
    assert messages() == [run.pk]


@pytest.mark.slow
def test_a_broker_that_hangs_holds_neither_an_upload_nor_the_health_page(
    submit, broker, django_capture_on_commit_callbacks, client
):
    client.get("/health/")  # loads what it needs to look at everything
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with django_capture_on_commit_callbacks(execute=True):
            run = submit()
        assert time.monotonic() - started < 3
        assert Run.objects.get(pk=run.pk).state == Run.State.QUEUED
        cache.clear()  # else a stranger is told what was seen some seconds ago
        started = time.monotonic()
        checks = client.get("/health/").json()["checks"]
        assert (checks["broker"]["state"], checks["worker"]["state"]) == ("failed", "failed")
        assert time.monotonic() - started < 5
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)


def test_a_sweep_does_all_that_needs_no_broker_while_one_hangs_and_the_next_one_enqueues(
    submit, broker, settings, tmp_path
):
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    left = tmp_path / "run-old"
    left.mkdir()
    os.utime(left, (0, 0))
    run = claim(submit())
    silence(run)
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        sweep()
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    assert (Run.objects.get(pk=run.pk).state, left.exists()) == (Run.State.QUEUED, False)
    sweep()
    assert messages() == [run.pk]


def test_a_lost_run_is_enqueued_by_the_sweep_that_frees_it(submit, broker):
    run = claim(submit())
    silence(run)
    sweep()
    assert Run.objects.get(pk=run.pk).state == Run.State.QUEUED
    assert messages() == [run.pk]


def test_a_lost_worker_a_wiped_broker_and_an_unheard_message_are_made_good_within_a_minute(settings):
    assert settings.RUN_SILENT_LIMIT_S + settings.SWEEP_EVERY_S <= 60
    assert settings.SWEEP_AFTER_S + settings.SWEEP_EVERY_S <= 60


def test_the_bell_works_again_after_the_broker_was_restarted(submit, broker):
    run = submit()
    assert services.enqueue_run(run)
    broker.stop()
    assert not services.enqueue_run(run)
    broker.start()
    assert services.enqueue_run(run)
    assert messages() == [run.pk, run.pk]  # the first survived on disk


def test_a_stat_case_is_taken_before_the_routine_cases_that_came_earlier(
    submit, make_case, broker, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        first, second = submit(make_case("A-1")), submit(make_case("A-2"))
        stat = submit(make_case("A-3", priority="stat"))
    assert services.runs_before(stat) == 0
    assert [services.runs_before(first), services.runs_before(second)] == [1, 2]
    assert messages() == [stat.pk, first.pk, second.pk]


def test_the_sweep_rings_once_for_every_run_after_the_broker_forgot_everything(submit, make_case, broker):
    routine, stat = submit(make_case("A-1")), submit(make_case("A-2", priority="stat"))
    Run.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    broker.client().flushall()
    sweep()
    sweep()
    assert messages() == [stat.pk, routine.pk]


def test_the_sweep_does_not_enqueue_again_while_every_run_has_its_task_in_a_long_queue(submit, make_case, broker):
    runs = [submit(make_case(f"A-{n}")) for n in range(3)]
    for run in runs:
        services.enqueue_run(run)
    Run.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    sweep()
    assert len(messages()) == 3


def test_the_sweep_removes_what_killed_workers_left_and_nothing_newer(db, broker, settings, tmp_path):
    import os

    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    old, new = (settings.FILE_UPLOAD_TEMP_DIR / name for name in ("run-old", "run-new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "pixels.npy").write_bytes(b"x")
    os.utime(old, (0, 0))
    sweep()
    assert (old.exists(), new.exists()) == (False, True)


def test_the_three_best_types_of_a_cell_are_stored_and_shown_with_their_chances(submit, sign_in, technologist):
    run = submit()
    assert store(claim(run))
    client = sign_in(technologist)
    (cell,) = client.get(reverse("slide_cells", args=[run.slide.pk])).json()["cells"]
    assert cell["chances"] == [["NGS", 0.88], ["NGB", 0.09], ["EOS", 0.01]]
    (cell,) = client.get(f"/api/v1/slides/{run.slide.pk}/cells/").json()["results"]
    assert cell["best_types"][0] == {"code": "NGS", "chance": 0.88}
    assert [best["code"] for best in cell["best_types"]] == ["NGS", "NGB", "EOS"]


def test_a_worker_whose_acknowledgement_a_hanging_broker_did_not_take_takes_the_next_message(broker):
    with current_app.connection_for_read(transport_options={"socket_timeout": 0.3}) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        queue = Queue("one at a time", channel=channel)
        queue.declare()
        for body in ("first", "second", "third"):
            Producer(channel).publish(body, routing_key=queue.name)
        for act in ("ack", "reject"):
            message = queue.get()
            assert not channel.qos.can_consume()
            broker.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(RedisError):
                    getattr(message, act)()
            finally:
                broker.process.send_signal(signal.SIGCONT)
            assert channel.qos.can_consume()
        assert queue.get().payload == "third"
