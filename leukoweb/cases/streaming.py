"""How a multipart file reaches our own folder: size limit and room on the disk are checked while it streams.

A file that cannot be taken is named in `request.stopped_files`, and the rest of the request is still read.
"""

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from leukoweb.cases.intake import DISK_FULL, RefusedFile, clean_name
from leukoweb.cases.store import DISK_FULL_ERRORS, has_room_for

SMALLER = "upload a smaller part of the slide or save it with compression."


class StreamToOwnFolder(FileUploadHandler):
    """Write each file to FILE_UPLOAD_TEMP_DIR, so that neither the web process's memory nor /tmp holds pictures."""

    chunk_size = 1 << 18

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        # Django closes `file` of a part that is skipped; the last part's must not be taken for it.
        self.__dict__.pop("file", None)
        try:
            settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
            self.file = TemporaryUploadedFile(
                self.file_name, self.content_type, 0, self.charset, self.content_type_extra
            )
        except OSError as error:
            self._stop_if_full(error)

    def receive_data_chunk(self, raw_data, start):
        if start + len(raw_data) > settings.MAX_IMAGE_BYTES:
            self._stop(f"The file is larger than the limit of {settings.MAX_IMAGE_BYTES / 2**20:.0f} MiB: {SMALLER}")
        # Asked once for every 64 MiB: other uploads may be filling the same disk.
        if start % (1 << 26) == 0 and not has_room_for(len(raw_data)):
            self._stop(DISK_FULL)
        try:
            self.file.write(raw_data)
        except OSError as error:
            self._stop_if_full(error)

    def file_complete(self, file_size):
        self.file.seek(0)
        self.file.size = file_size
        return self.file

    def upload_interrupted(self):
        if getattr(self, "file", None):
            self.file.close()

    def _stop_if_full(self, error):
        if error.errno not in DISK_FULL_ERRORS:
            raise error
        self._stop(DISK_FULL)

    def _stop(self, sentence):
        stopped = getattr(self.request, "stopped_files", [])
        self.request.stopped_files = [*stopped, RefusedFile(clean_name(self.file_name), sentence)]
        raise SkipFile
