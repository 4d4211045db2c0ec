"""A real worker and a real broker: whatever dies in between, every slide ends done once, and no cell is there twice."""

import time
from collections import Counter

import psutil
import pytest
from celery import current_app
from django.core.files import File
from django.db import connection

from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.analysis.uploads import accept_upload
from leukoweb.audit.models import Event
from leukoweb.cases.store import derived_folder, original_path
from tests.services import Worker, wait_until

pytestmark = pytest.mark.services

QUICK = {"LEUKOWEB_SWEEP_AFTER_S": "1", "LEUKOWEB_SWEEP_EVERY_S": "1", "LEUKOWEB_RUN_SILENT_LIMIT_S": "3"}
LIMIT_S = 120


@pytest.fixture
def upload(make_case, technologist, smear_files):
    """Take images in and submit them as a slide, as the upload page does; the run."""

    def uploaded(case=None, *, files=None):
        case = case or make_case()
        chosen = [File(path.open("rb"), name=path.name) for path in files or smear_files[:1]]
        slide, refused = accept_upload(case, chosen, by=technologist)
        assert not refused
        return slide.runs.get()

    return uploaded


def state(run):
    return Run.objects.get(pk=run.pk).state


def ends_done(run):
    def over():
        current = Run.objects.get(pk=run.pk)
        assert current.state != Run.State.FAILED, current.error
        return current.state == Run.State.DONE and current

    return wait_until(over, timeout_s=LIMIT_S, what=f"the end of run {run.pk}")


def works_at(run):
    """Wait until the run is in the middle of its tiles; the claim alone is not the middle."""
    return wait_until(
        lambda: Run.objects.filter(pk=run.pk, state="running").exclude(tiles_done=0, images_done=0).first(),
        timeout_s=LIMIT_S, what="work at the run", every_s=0.02,
    )  # fmt: skip


def assert_found_once(run, images=1):
    boxes = Counter(Cell.objects.filter(run=run).values_list("image", "x1", "y1", "x2", "y2"))
    assert boxes
    assert max(boxes.values()) == 1
    assert ImageResult.objects.filter(run=run).count() == images
    assert Event.objects.filter(action="run.done", object_id=str(run.pk)).count() == 1


def enqueue(run):
    """Send the message of the run once more; return its id."""
    return current_app.send_task("leukoweb.analysis.tasks.run_detection", args=[run.pk]).id


def test_stat_is_read_first_a_second_message_changes_nothing_and_a_lost_original_fails_in_words_until_it_is_back(
    worker, upload, make_case, smear_files, technologist
):
    from leukoweb.analysis.services import retry_run

    first, second = upload(make_case("A-0"), files=smear_files[:2]), upload(make_case("A-1"))
    lost = upload(make_case("A-2"), files=smear_files[2:])
    stat = upload(make_case("A-9", priority="stat"))
    path = original_path(lost.slide.images.get().sha256)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"not an image")
    worker.start()
    wait_until(lambda: state(lost) == Run.State.FAILED, timeout_s=LIMIT_S, what="the failure")
    lost.refresh_from_db()
    assert lost.error.startswith("An image of this slide could not be read:")
    assert not lost.cells.exists()
    path.write_bytes(content)
    assert retry_run(lost, by=technologist)
    for run, images in ((first, 2), (second, 1), (stat, 1), (lost, 1)):
        assert_found_once(ends_done(run), images)
    order = Run.objects.exclude(pk=lost.pk).order_by("finished_at").values_list("pk", flat=True)
    assert list(order) == [stat.pk, first.pk, second.pk]
    first.refresh_from_db()
    assert first.images_done == 2
    assert first.computed_on["weights_sha256"] == first.detector.sha256
    assert (derived_folder(first.slide.images.first().sha256) / "pyramid").is_dir()
    cells, finished_at = Cell.objects.count(), first.finished_at
    messages = [enqueue(first), enqueue(first)]
    wait_until(
        lambda: all(f"run_detection[{message}] succeeded" in worker.log() for message in messages),
        timeout_s=30, what="the end of both messages",
    )  # fmt: skip
    first.refresh_from_db()
    assert (Cell.objects.count(), first.attempt, first.finished_at) == (cells, 1, finished_at)


def taken_up_again(run, attempt):
    """Wait until the run is read in its next attempt; the seconds that took."""
    started = time.monotonic()
    wait_until(
        lambda: Run.objects.filter(pk=run.pk, attempt__gte=attempt).exclude(state="queued").exists(),
        timeout_s=60, what="the next attempt", every_s=0.2,
    )  # fmt: skip
    return time.monotonic() - started


def test_with_the_settings_as_they_ship_a_killed_workers_run_is_taken_by_the_next_at_once(worker, upload, smear_files):
    worker.start()
    run = upload(files=smear_files)
    works_at(run)
    worker.kill()
    assert state(run) == Run.State.RUNNING
    assert Cell.objects.count() == 0
    worker.start()
    seconds = taken_up_again(run, 2)
    assert seconds < 30, "silence was waited for"
    run = ends_done(run)
    assert (run.attempt, run.kills) == (2, 1)
    assert_found_once(run, images=3)


def test_with_the_settings_as_they_ship_a_hung_worker_and_a_broker_that_forgot_cost_a_slide_less_than_a_minute(
    worker, broker, upload, make_case, smear_files
):
    worker.start()
    run = upload(files=smear_files)
    works_at(run)
    hung = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
    for process in hung:
        process.suspend()
    forgotten = upload(make_case("A-2"))
    broker.client().flushall()
    other = Worker(worker.folder, worker.database_url)
    other.start()
    try:
        waited = taken_up_again(forgotten, 1)
        assert waited + taken_up_again(run, 2) <= 60
        for process in hung:
            process.kill()
        assert_found_once(ends_done(run), images=3)
        assert_found_once(ends_done(forgotten))
    finally:
        other.stop()


def test_a_child_that_is_killed_in_mid_slide_and_again_and_again_does_not_fail_an_innocent_slide(
    worker, upload, smear_files
):
    worker.start(**QUICK)
    run = upload(files=smear_files)
    works_at(run)
    for attempt in range(1, 5):
        at_work = Run.objects.filter(pk=run.pk, state="running", attempt=attempt)
        wait_until(
            at_work.exists, timeout_s=LIMIT_S, what=f"attempt {attempt}", every_s=0.02,
        )  # fmt: skip
        for child in psutil.Process(worker.process.pid).children():
            if "beat" not in " ".join(child.cmdline()).casefold():
                child.kill()
    run = ends_done(run)
    assert run.kills >= 4
    assert_found_once(run, images=3)


def test_a_broker_that_is_absent_and_one_restarted_in_mid_slide_neither_lose_nor_double_it(
    worker, broker, upload, make_case, smear_files
):
    worker.start(**QUICK)
    wait_until(lambda: "ready" in worker.log(), timeout_s=60, what="the start of the worker")
    broker.stop()
    started = time.monotonic()
    without = upload(make_case("A-1"))
    assert time.monotonic() - started < 8
    assert state(without) == Run.State.QUEUED
    broker.start()
    assert_found_once(ends_done(without))  # the sweep has sent it
    first = upload(make_case("A-2"), files=smear_files)
    works_at(first)
    broker.stop()
    broker.start()
    second = upload(make_case("A-3"))
    assert_found_once(ends_done(first), images=3)
    assert_found_once(ends_done(second))


def test_a_database_that_drops_its_connections_in_mid_slide_neither_loses_nor_doubles_it(worker, upload, smear_files):
    worker.start(**QUICK)
    run = upload(files=smear_files)
    works_at(run)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    assert_found_once(ends_done(run), images=3)
