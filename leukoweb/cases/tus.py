"""Resumable uploads after tus 1.0 (creation, expiration, termination): pieces of a file come until it is whole.

It knows the person who sends and the bytes that came; what the file must be is asked later, by intake.py.
"""

import base64
import binascii
import fcntl
import os
import re
import shutil
import time
from contextlib import suppress

from django.conf import settings
from django.db.models import Count, Sum
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.http import http_date
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.cases.intake import DISK_FULL, clean_name
from leukoweb.cases.models import PartialUpload
from leukoweb.cases.store import DISK_FULL_ERRORS, has_room_for

VERSION = "1.0.0"
PIECE_BYTES = 1 << 18
MOST_UNFINISHED = 500


@require_http_methods(["OPTIONS", "POST"])
@requires("upload_slide")
def tus_create(request):
    """Say what is offered, or open an upload of a stated length for this person."""
    if request.method == "OPTIONS":
        offer = {"Tus-Version": VERSION, "Tus-Extension": "creation,expiration,termination"}
        return _answer(204, **offer, **{"Tus-Max-Size": str(settings.MAX_IMAGE_BYTES)})
    if refusal := _other_version(request):
        return refusal
    length = request.headers.get("Upload-Length", "")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        return _answer(400, "Upload-Length must be the number of bytes of the file.")
    length = int(length)
    if length > settings.MAX_IMAGE_BYTES:
        return _answer(413, f"The file is larger than the limit of {settings.MAX_IMAGE_BYTES / 2**20:.0f} MiB.")
    _drop_expired(PartialUpload.objects.filter(owner=request.user))
    waiting = PartialUpload.objects.filter(owner=request.user).aggregate(files=Count("pk"), size=Sum("size_bytes"))
    if (waiting["size"] or 0) + length > settings.UPLOAD_QUOTA_BYTES or waiting["files"] >= MOST_UNFINISHED:
        return _answer(413, "You have too many unfinished uploads: finish or remove them first.")
    if not has_room_for(length):
        return _answer(507, DISK_FULL)
    upload = PartialUpload.objects.create(
        owner=request.user,
        name=_name_in(request.headers.get("Upload-Metadata", "")),
        size_bytes=length,
        expires_at=timezone.now() + settings.UPLOAD_KEEP,
    )
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    upload.path.touch(mode=0o600)
    return _answer(201, upload=upload, Location=reverse("tus_upload", args=[upload.pk]))


@require_http_methods(["HEAD", "PATCH", "DELETE"])
@requires("upload_slide")
def tus_upload(request, pk):
    """Say how much came, take the next piece, or forget the upload; another person's upload does not exist."""
    upload = get_object_or_404(PartialUpload, pk=pk, owner=request.user, expires_at__gt=timezone.now())
    if refusal := _other_version(request):
        return refusal
    if request.method == "HEAD":
        return _answer(200, upload=upload, **{"Upload-Length": str(upload.size_bytes)})
    if request.method == "DELETE":
        forget(upload)
        return _answer(204)
    if request.content_type != "application/offset+octet-stream":
        return _answer(415, "A piece must come as application/offset+octet-stream.")
    offset = request.headers.get("Upload-Offset", "")
    if not re.fullmatch(r"[0-9]{1,18}", offset):
        return _answer(400, "Upload-Offset must be the number of bytes that came so far.")
    return _append(request, upload, int(offset))


def forget(upload) -> None:
    """Throw away an upload: the bytes first, so that no row is left that points nowhere."""
    upload.path.unlink(missing_ok=True)
    upload.delete()


def sweep_incoming() -> int:
    """Throw away expired uploads, and files that a killed process left in the incoming folder; returns how many."""
    dropped = _drop_expired(PartialUpload.objects.all())
    oldest = time.time() - settings.UPLOAD_KEEP.total_seconds()
    alive = {f"tus-{pk}" for pk in PartialUpload.objects.values_list("pk", flat=True)}
    for path in settings.FILE_UPLOAD_TEMP_DIR.glob("*"):
        with suppress(FileNotFoundError):
            if path.name in alive or path.stat().st_mtime > oldest:
                continue
            if path.name.startswith("intake-"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                path.unlink()
            dropped += 1
    return dropped


def _append(request, upload, offset):
    """Write a piece at the end of the file: one request at a time, only where the file ends, not beyond its length."""
    with open(upload.path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _answer(423, "Another request is still writing to this upload: ask for the offset and try again.")
        came = os.fstat(file.fileno()).st_size
        if offset != came:
            return _answer(409, "Upload-Offset is not where the upload ends: ask for the offset and go on there.")
        try:
            while piece := request.read(PIECE_BYTES):
                came += len(piece)
                if came > upload.size_bytes:
                    file.truncate(offset)
                    return _answer(413, "More bytes came than Upload-Length said.")
                file.write(piece)
        except UnreadablePostError:
            pass  # the line broke: what came stays, and the sender goes on there
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS:
                raise
            return _answer(507, DISK_FULL)
    upload.expires_at = timezone.now() + settings.UPLOAD_KEEP
    upload.save(update_fields=["expires_at"])
    return _answer(204, upload=upload)


def _drop_expired(uploads) -> int:
    expired = list(uploads.filter(expires_at__lte=timezone.now()))
    for upload in expired:
        forget(upload)
    return len(expired)


def _other_version(request):
    if request.headers.get("Tus-Resumable") == VERSION:
        return None
    return _answer(412, "This server speaks tus 1.0.0.", **{"Tus-Version": VERSION})


def _name_in(metadata: str) -> str:
    """Return the cleaned `filename` of an Upload-Metadata header; whatever cannot be read is an unnamed file."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            with suppress(binascii.Error, UnicodeDecodeError, ValueError):
                return clean_name(base64.b64decode(value, validate=True).decode())
    return clean_name("")


def _answer(status, sentence="", upload=None, **headers):
    response = HttpResponse(sentence, status=status, content_type="text/plain; charset=utf-8")
    for name, value in {"Tus-Resumable": VERSION, "Cache-Control": "no-store", **headers}.items():
        response[name] = value
    if upload is not None:
        response["Upload-Offset"] = str(upload.offset)
        response["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    return response
