"""How a multipart file reaches our own folder: size limit and room on the disk are checked while it streams.

A file that cannot be taken is named in `request.stopped_files`, and the rest of the request is still read.
"""

import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.utils.translation import gettext, gettext_lazy

from leukoweb.cases.intake import DISK_FULL, RefusedFile, clean_name
from leukoweb.cases.store import has_room_for
from leukoweb.numbers import number
from leukoweb.places import DISK_FULL_ERRORS

SMALLER = gettext_lazy("upload a smaller part of the slide or save it with compression.")


class ReceivedFile(UploadedFile):
    """A whole file in our own folder, opened only where somebody reads it: one request may bring 2,000."""

    def __init__(self, path: Path, position: int, name: str, content_type: str, size: int, charset: str | None) -> None:
        self.path, self.position = path, position
        self._opened: BinaryIO | None = None
        super().__init__(None, name, content_type, size, charset)

    @property
    def file(self) -> BinaryIO:
        """The content, opened on first use."""
        if self._opened is None:
            self._opened = self.path.open("rb")
        return self._opened

    @file.setter
    def file(self, value: None) -> None:
        """Take nothing: the path is the file."""

    def close(self) -> None:
        """Remove what nobody has moved away; Django calls it at the end of the request."""
        if self._opened is not None:
            self._opened.close()
        self.path.unlink(missing_ok=True)


class StreamToOwnFolder(FileUploadHandler):
    """Write each file to FILE_UPLOAD_TEMP_DIR, so that neither the web process's memory nor /tmp holds pictures."""

    chunk_size = 1 << 18
    position = -1  # of the file in the request, the first is 0
    _target: BinaryIO | None = None
    _remove: weakref.finalize

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.position += 1
        if self.position >= settings.MOST_IMAGES:
            self._stop(
                gettext("A slide takes at most %(most_images)s images: upload this one with another slide.")
                % {"most_images": settings.MOST_IMAGES}
            )
        self.path = settings.FILE_UPLOAD_TEMP_DIR / f"form-{uuid.uuid4().hex}"
        try:
            settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
            self._target = self.path.open("xb", buffering=0)
            # Called by us, or when a request whose line broke is forgotten.
            self._remove = weakref.finalize(self, self.path.unlink, missing_ok=True)
        except OSError as error:
            self._stop_if_full(error)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > settings.MAX_UPLOAD_BYTES:
            self._stop(
                gettext("The file is larger than the limit of %(number)s MiB: %(smaller)s")
                % {"number": number(settings.MAX_UPLOAD_BYTES / 2**20, ".0f"), "smaller": SMALLER}
            )
        # Asked once for every 64 MiB: other uploads may be filling the same disk.
        if start % (1 << 26) == 0 and not has_room_for(len(raw_data)):
            self._stop(DISK_FULL)
        assert self._target is not None  # opened by `new_file`, else the file is skipped
        rest = memoryview(raw_data)
        try:
            while rest:  # without a buffer, so that a full disk is noticed here and nowhere later
                rest = rest[self._target.write(rest) :]
        except OSError as error:
            self._stop_if_full(error)

    def file_complete(self, file_size: int) -> ReceivedFile:
        assert self._target is not None
        self._target.close()
        self._target = None
        self._remove.detach()
        return ReceivedFile(self.path, self.position, self.file_name, self.content_type, file_size, self.charset)

    def upload_interrupted(self) -> None:
        self._discard()

    def _stop_if_full(self, error: OSError) -> None:
        if error.errno not in DISK_FULL_ERRORS:
            raise error
        self._stop(DISK_FULL)

    def _stop(self, sentence: str) -> None:
        self._discard()
        stopped = getattr(self.request, "stopped_files", [])
        self.request.stopped_files = [*stopped, RefusedFile(clean_name(self.file_name), sentence, self.position)]
        raise SkipFile

    def _discard(self) -> None:
        if self._target is not None:
            with suppress(OSError):
                self._target.close()
            self._remove()
            self._target = None
