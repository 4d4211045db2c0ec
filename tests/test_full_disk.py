"""A full disk is said on every path and leaves no parts; orphans are found, and removed after a look."""

import contextlib
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from leukoweb.__main__ import main
from leukoweb.analysis.crops import crop_path
from leukoweb.analysis.models import Cell, Run
from leukoweb.analysis.services import NO_ROOM
from leukoweb.analysis.tasks import run_detection, sweep
from leukoweb.analysis.uploads import accept_upload
from leukoweb.answers import Refusals
from leukoweb.audit.models import Event
from leukoweb.cases.intake import NOT_REACHED, Landed, seconds_for, sift
from leukoweb.cases.models import Case, PartialUpload, Slide, SlideImage
from leukoweb.cases.retention import expire_image
from leukoweb.cases.store import decoding_place, derived_folder, hashes_locked, original_path
from leukoweb.ops.store_check import orphans
from leukoweb.refusals import Refused
from leukoweb.run import figures_folder
from tests.pictures import picture, picture_bytes


@contextmanager
def largest_file(size_bytes):
    """Let this process write no larger file: the errors are those of a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def slide(make_case, technologist):
    """A stored slide of one picture, waiting for the detector."""
    slide, refused = accept_upload(make_case(), [ContentFile(picture_bytes(), name="field.png")], by=technologist)
    assert not refused
    return slide


def test_a_cell_picture_without_room_is_refused_and_leaves_no_part(make_case, make_slide, draw_pixels):
    slide = draw_pixels(make_slide(make_case(), {"LYT": 1}))
    cell = Cell.objects.get()
    folder = derived_folder(slide.images.get().sha256) / "crops"
    with largest_file(100), pytest.raises(Refused, match="no room"):
        crop_path(cell, um_per_px=0.2)
    assert not list(folder.glob("*"))
    assert crop_path(cell, um_per_px=0.2).exists()


@pytest.mark.slow
def test_a_run_without_room_waits_says_so_and_is_not_counted_as_an_attempt(sign_in, technologist, slide, settings):
    settings.DISK_RESERVE_BYTES = 2**62
    run = slide.runs.get()
    run_detection.apply(args=(run.pk,), task_id="one")
    run.refresh_from_db()
    assert (run.state, run.attempt) == (Run.State.QUEUED, 0)
    assert "no room" in run.error
    assert "damaged" not in run.error
    page = sign_in(technologist).get(f"/slides/{slide.pk}/progress/").content.decode()
    assert "no room on its disk" in page


@pytest.fixture
def small_disk(tmp_path, settings):
    """A real file system of 2 MiB for originals, tiles and parts; `fill()` leaves no room on it, `free()` some."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True).returncode:
        pytest.skip("a file system can only be mounted by root")
    filler = place / "filler"

    def fill():
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(OSError, match="No space left"):
            (place / "proof").write_bytes(b"x")
        (place / "proof").unlink(missing_ok=True)

    settings.STORE_DIR, settings.FILE_UPLOAD_TEMP_DIR = place / "store", place / "incoming"
    settings.DISK_RESERVE_BYTES = 0
    for folder in (settings.STORE_DIR, settings.FILE_UPLOAD_TEMP_DIR):
        folder.mkdir()

    def files(most):
        subprocess.run(["mount", "-o", f"remount,nr_inodes={most}", place], check=True)

    def no_more_files():
        (settings.STORE_DIR / "locks").mkdir(exist_ok=True)
        for number in range(settings.DECODERS):
            (settings.STORE_DIR / "locks" / f"decoding-{number}").touch()
        on_disk = os.statvfs(place)
        files(on_disk.f_files - on_disk.f_ffree)

    yield SimpleNamespace(
        place=place, fill=fill, free=filler.unlink, no_more_files=no_more_files, more_files=lambda: files(10_000)
    )
    subprocess.run(["umount", "--lazy", place], check=True)


def files_on(disk):
    """What lies there beside the filler and the locks."""
    return {
        path for path in disk.place.rglob("*") if path.is_file() and path.name != "filler" and "locks" not in path.parts
    }


@pytest.mark.slow
def test_on_a_full_disk_every_door_says_so_stores_nothing_and_takes_the_same_files_when_there_is_room(
    small_disk, sign_in, technologist, make_case
):
    case, client = make_case(), sign_in(technologist)
    address = f"/cases/{case.pk}/slides/new/"

    def files():
        return [picture(f"{n}.png", (n, 1, 2)) for n in range(6)]

    small_disk.fill()
    page = client.post(address, {"images": files()}, HTTP_ACCEPT="application/json")
    api = client.post(f"/api/v1/cases/id/{case.pk}/slides/", {"images": files()})
    for answer, status in ((page, 200), (api, 400)):
        assert answer.status_code == status
        assert ["no room" in one["error"] for one in answer.json()["errors"]] == [True] * 6
    for length, status in ((10, 507), (2**40, 413)):
        piece = client.post("/uploads/", HTTP_TUS_RESUMABLE="1.0.0", HTTP_UPLOAD_LENGTH=str(length))
        assert piece.status_code == status
    assert files_on(small_disk) == set()
    assert not Slide.objects.exists()
    small_disk.free()
    assert client.post(address, {"images": files()}, HTTP_ACCEPT="application/json").json()["stored"] == 6


def test_a_piece_that_finds_the_disk_full_is_told_so_and_the_upload_goes_on_when_there_is_room(
    small_disk, sign_in, technologist
):
    client = sign_in(technologist)
    tus = {"HTTP_TUS_RESUMABLE": "1.0.0"}
    place = client.post("/uploads/", HTTP_UPLOAD_LENGTH="300000", **tus)["Location"]

    def send(offset):
        return client.patch(
            place, bytes(300_000 - offset), content_type="application/offset+octet-stream",
            HTTP_UPLOAD_OFFSET=str(offset), **tus,
        )  # fmt: skip

    small_disk.fill()
    full = send(0)
    assert (full.status_code, "no room" in full.content.decode()) == (507, True)
    small_disk.free()
    came = int(client.head(place, **tus)["Upload-Offset"])
    assert send(came)["Upload-Offset"] == "300000"


@pytest.mark.slow
def test_a_run_on_a_full_disk_waits_and_goes_on_by_itself_when_there_is_room(
    small_disk, broker, sign_in, technologist, make_case
):
    slide, _ = accept_upload(
        make_case(), [ContentFile(picture_bytes(size=(400, 300)), name="f.png")], by=technologist, um_per_px=0.2
    )
    run = slide.runs.get()
    small_disk.fill()
    run_detection.apply(args=(run.pk,), task_id="one")
    run.refresh_from_db()
    assert (run.state, run.attempt, run.error) == (Run.State.QUEUED, 0, NO_ROOM)
    small_disk.free()
    Run.objects.update(sent_at=timezone.now() - timedelta(minutes=1))
    sweep()
    run_detection.apply(args=(run.pk,), task_id="two")  # what the worker does with the message that the sweep sent
    run.refresh_from_db()
    assert Run.objects.get(pk=run.pk).sent_at > timezone.now() - timedelta(seconds=30)
    assert "no room" not in run.error
    assert run.state in (Run.State.DONE, Run.State.FAILED)
    assert (derived_folder(slide.images.get().sha256) / "pyramid").is_dir()


def test_a_cell_picture_on_a_full_disk_is_answered_in_words(
    small_disk, make_case, make_slide, draw_pixels, sign_in, technologist
):
    slide = draw_pixels(make_slide(make_case(), {"LYT": 1}))
    address = f"/cells/{Cell.objects.get().pk}/crop.jpg"
    small_disk.fill()
    answer = sign_in(technologist).get(address)
    assert (answer.status_code, "no room" in answer.content.decode()) == (507, True)
    assert not list((derived_folder(slide.images.get().sha256) / "crops").glob("*"))
    small_disk.free()
    assert sign_in(technologist).get(address).status_code == 200


def test_the_figures_of_the_web_go_on_beside_a_full_disk(small_disk):
    """They are mapped files: on the full disk itself the system ended every process that counted (SIGBUS)."""
    small_disk.fill()
    count = "from prometheus_client import Counter; Counter('requests', 'Requests').inc()"
    folder = figures_folder(small_disk.place)
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    try:
        assert subprocess.run([sys.executable, "-c", count], env=environment).returncode == 0
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_command_that_finds_the_disk_full_says_so_and_a_backup_leaves_no_part(
    transactional_db, small_disk, slide, laboratory, monkeypatch
):
    target = small_disk.place / "copies"
    small_disk.fill()
    with pytest.raises(CommandError, match="No backup was made"):
        call_command("backup", target)
    assert list(target.iterdir()) == []
    words = ["export_case", slide.case.accession_number, f"{target}/x", f"--laboratory={laboratory.name}"]
    monkeypatch.setattr(sys, "argv", ["leukoweb", *words])
    with pytest.raises(SystemExit, match="The disk is full"):
        main()


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}])
def test_whatever_else_finds_no_room_is_answered_with_507_and_never_500(rf, headers):
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    request = rf.get("/cases/", headers=headers)
    for error in (full, OperationalError("database or disk is full")):
        answer = Refusals(lambda request: None).process_exception(request, error)
        assert answer.status_code == 507
        assert "no room on its disk" in answer.content.decode()
        assert "/data/x" not in answer.content.decode()
    assert Refusals(lambda request: None).process_exception(request, OSError(errno.EIO, "input/output")) is None


def test_a_person_stops_a_run_and_has_it_run_again(sign_in, technologist, slide):
    client, run = sign_in(technologist), slide.runs.get()
    assert "Stop the analysis" in client.get(f"/slides/{slide.pk}/progress/").content.decode()
    page = client.post(f"/slides/{slide.pk}/stop/", follow=True).content.decode()
    assert "stopped the analysis" in page
    run.refresh_from_db()
    assert run.state == Run.State.FAILED
    run_detection.apply(args=(run.pk,), task_id="late")  # the message that still waits starts nothing
    run.refresh_from_db()
    assert run.state == Run.State.FAILED
    client.post(f"/slides/{slide.pk}/retry/")
    client.post(f"/slides/{slide.pk}/stop/")
    assert Event.objects.filter(action="run.stop").count() == 2


def test_several_files_of_one_request_without_room_are_each_refused(sign_in, technologist, make_case, settings):
    settings.DISK_RESERVE_BYTES = 2**62
    case, files = make_case(), [picture(f"{n}.png", (n, 1, 2)) for n in range(6)]
    answer = sign_in(technologist).post(
        f"/cases/{case.pk}/slides/new/", {"images": files}, HTTP_ACCEPT="application/json"
    )
    assert answer.status_code == 200
    assert ["no room" in one["error"] for one in answer.json()["errors"]] == [True] * 6


def test_a_case_that_is_rejected_while_files_arrive_keeps_no_file_without_a_row(make_case, technologist):
    case, content, before = make_case(), picture_bytes(color=(3, 4, 5)), orphans()

    class Late(ContentFile):
        """A file whose last piece comes after the specimen was rejected."""

        def chunks(self, chunk_size=None):
            yield from super().chunks(chunk_size)
            Case.objects.filter(pk=case.pk).update(
                rejected_at=timezone.now(), rejected_by=technologist, rejection_reason="clotted"
            )

    with pytest.raises(Refused, match="rejected"):
        accept_upload(case, [Late(content, name="field.png")], by=technologist)
    assert orphans() == before


@pytest.mark.slow
def test_retention_leaves_the_original_of_a_case_that_shares_it(slide, make_case, technologist):
    old = slide.images.get()
    new, _ = accept_upload(make_case("NEW"), [ContentFile(picture_bytes(), name="same.png")], by=technologist)
    assert expire_image(old)
    assert original_path(new.images.get().sha256).exists()
    assert expire_image(new.images.get())
    assert not original_path(old.sha256).exists()


def test_who_stores_and_who_removes_one_hash_wait_for_each_other(tmp_path, settings):
    settings.STORE_DIR, seen = tmp_path, []

    def second():
        with hashes_locked(["ab" * 32]):
            seen.append("second")

    with hashes_locked(["ab" * 32, "cd" * 32]):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.2)
        seen.append("first")
    other.join(5)
    assert seen == ["first", "second"]


def test_only_so_many_uploads_are_decoded_at_once(tmp_path, settings):
    settings.STORE_DIR, settings.DECODERS = tmp_path, 1
    with decoding_place(time.monotonic() + 5) as first, decoding_place(time.monotonic() + 0.1) as second:
        assert (first, second) == (True, False)
    with decoding_place(time.monotonic()) as free:
        assert free


@pytest.mark.slow
def test_orphans_are_listed_and_removed_when_their_number_is_named(slide, settings):
    lonely = original_path("ef" * 32)
    lonely.parent.mkdir(parents=True, exist_ok=True)
    lonely.write_bytes(b"left by a power cut")
    said = io.StringIO()
    with pytest.raises(CommandError):
        call_command("check_store", stdout=said)
    assert f"orphan: originals/ef/{'ef' * 32}" in said.getvalue()
    count = len(orphans())
    with pytest.raises(CommandError, match="check again"):
        call_command("check_store", remove_orphans=count + 1)
    call_command("check_store", remove_orphans=count, stdout=said)
    assert orphans() == []
    assert original_path(SlideImage.objects.get().sha256).exists()


def test_few_small_files_hold_their_request_for_half_a_minute_and_many_for_no_longer_than_before(tmp_path, settings):
    """Three small files that take long to decode held a thread for four minutes."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(1000))
    with large.open("wb") as file:
        file.truncate(2**30)
    assert seconds_for([Landed("a.jpg", small, "")] * 3) < 35
    assert 100 < seconds_for([Landed("a.tif", large, "")]) < 150
    assert seconds_for([Landed("a.jpg", small, "")] * 2000) == settings.CHECK_LIMIT_S
    settings.CHECK_BASE_S, settings.DECODERS = 0.1, 1
    held = time.monotonic()
    with decoding_place(held + 5):
        good, refused = sift([Landed("a.jpg", small, "aa")], known=())
    assert time.monotonic() - held < 3
    assert (good, [one.sentence for one in refused]) == ([], [NOT_REACHED])


@pytest.mark.slow
def test_pieces_stay_where_their_slide_finds_no_room_and_need_not_be_sent_again(
    small_disk, sign_in, technologist, make_case
):
    client, case, tus = sign_in(technologist), make_case(), {"HTTP_TUS_RESUMABLE": "1.0.0"}
    address, json = f"/cases/{case.pk}/slides/new/", {"HTTP_ACCEPT": "application/json"}
    kind = "application/offset+octet-stream"
    keys = []
    for content in (picture_bytes(color=(1, 2, 3)), picture_bytes(color=(4, 5, 6)), b"no picture"):
        place = client.post("/uploads/", HTTP_UPLOAD_LENGTH=str(len(content)), **tus)["Location"]
        assert client.patch(place, content, content_type=kind, HTTP_UPLOAD_OFFSET="0", **tus).status_code == 204
        keys.append(place.rstrip("/").rsplit("/", 1)[-1])
    small_disk.no_more_files()
    answer = client.post(address, {"uploads": " ".join(keys)}, **json).json()
    assert answer["slide"] is None
    assert [one["kept"] for one in answer["errors"]] == [True, True, False]
    assert "need not be sent again" in answer["errors"][0]["error"]
    assert {str(upload.pk) for upload in PartialUpload.objects.all()} == set(keys[:2])
    small_disk.more_files()
    assert client.post(address, {"uploads": " ".join(keys[:2])}, **json).json()["stored"] == 2
    assert not PartialUpload.objects.exists()
