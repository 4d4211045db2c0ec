"""The queue's doors: the row is the truth, the broker only a bell; each door twice, dead half-way, with a slow twin."""

import os
import signal
import time
from datetime import timedelta

import pytest
from celery import current_app
from django.urls import reverse
from django.utils import timezone

from detection.inference.detector import FoundCell
from leukoweb.analysis import services
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


def bells():
    """The run ids that wait in the broker, in the order in which a worker takes them."""
    ids = []
    with current_app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
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
    services.fail_run(slow, "the slow twin failed")
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
        started = time.monotonic()
        checks = client.get("/health/").json()["checks"]
        assert (checks["broker"]["state"], checks["worker"]["state"]) == ("failed", "failed")
        assert time.monotonic() - started < 5
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)


def test_a_lost_run_is_enqueued_by_the_sweep_that_frees_it(submit, broker):
    run = claim(submit())
    silence(run)
    sweep()
    assert Run.objects.get(pk=run.pk).state == Run.State.QUEUED
    assert bells() == [run.pk]


def test_a_lost_worker_a_wiped_broker_and_an_unheard_message_are_made_good_within_a_minute(settings):
    assert settings.RUN_SILENT_LIMIT_S + settings.SWEEP_EVERY_S <= 60
    assert settings.SWEEP_AFTER_S + settings.SWEEP_EVERY_S <= 60


def test_the_bell_works_again_after_the_broker_was_restarted(submit, broker):
    run = submit()
    assert services.ring_worker(run)
    broker.stop()
    assert not services.ring_worker(run)
    broker.start()
    assert services.ring_worker(run)
    assert bells() == [run.pk, run.pk]  # the first survived on disk


def test_a_stat_case_is_taken_before_the_routine_cases_that_came_earlier(
    submit, make_case, broker, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        first, second = submit(make_case("A-1")), submit(make_case("A-2"))
        stat = submit(make_case("A-3", priority="stat"))
    assert services.runs_before(stat) == 0
    assert [services.runs_before(first), services.runs_before(second)] == [1, 2]
    assert bells() == [stat.pk, first.pk, second.pk]


def test_the_sweep_rings_once_for_every_run_after_the_broker_forgot_everything(submit, make_case, broker):
    routine, stat = submit(make_case("A-1")), submit(make_case("A-2", priority="stat"))
    Run.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    broker.client().flushall()
    sweep()
    sweep()
    assert bells() == [stat.pk, routine.pk]


def test_the_sweep_does_not_ring_again_while_every_run_has_its_bell_in_a_long_queue(submit, make_case, broker):
    runs = [submit(make_case(f"A-{n}")) for n in range(3)]
    for run in runs:
        services.ring_worker(run)
    Run.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    sweep()
    assert len(bells()) == 3


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
