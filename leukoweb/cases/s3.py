"""A bucket of an S3 server as the place of the store: whole files in and out, each under its key.

What lies under which key is decided in store.py. Imported only where a bucket is set: it needs the extra `s3`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

from leukoweb.cases.store import StoreAway

log = logging.getLogger(__name__)
PIECE_BYTES = 1 << 20
CONNECT_S, SILENCE_S, LOOK_S = 3, 20, 1.5
# Only what every S3 server knows: the hashes that count are our own.
COMMON = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}


class Stored(NamedTuple):
    """What a bucket says of an object."""

    key: str
    size_bytes: int
    tag: str  # changes with the content


class Bucket(S3Storage):
    """The bucket that the settings name.

    A server that is away, or refuses, is StoreAway; an absent key is FileNotFoundError.
    """

    def get_default_settings(self) -> dict[str, Any]:
        config = Config(connect_timeout=CONNECT_S, read_timeout=SILENCE_S, retries={"total_max_attempts": 2}, **COMMON)
        return {**super().get_default_settings(), "client_config": config, "default_acl": None}

    def put(self, path: Path, key: str) -> str:
        """Store a file under a key and return its tag."""
        with _in_words():
            stored = self._object(key)
            stored.upload_file(str(path), Config=self.transfer_config)
            return stored.e_tag

    def fetch(self, key: str, path: Path, *, room_for: Callable[[int], None]) -> tuple[str, str]:
        """Write an object into a file and return its tag and SHA-256; `room_for` is told its size before."""
        with _in_words():
            answer = self._object(key).get()
            room_for(answer["ContentLength"])
            digest = sha256()
            with path.open("wb") as file:
                for piece in answer["Body"].iter_chunks(PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
        return answer["ETag"], digest.hexdigest()

    def hash_of(self, key: str) -> str:
        """Read an object and return its SHA-256."""
        digest = sha256()
        with _in_words():
            for piece in self._object(key).get()["Body"].iter_chunks(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def listed(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose keys begin so, in the order of their keys."""
        with _in_words():
            for one in self.bucket.objects.filter(Prefix=self._normalize_name(prefix)):
                yield Stored(one.key.removeprefix(self._normalize_name("")), one.size, one.e_tag)

    def remove(self, *keys: str) -> None:
        """Remove objects; one that is not there is no fault."""
        for key in keys:
            with _in_words():
                self._object(key).delete()

    def require_answer(self) -> None:
        """Ask for the bucket, with little patience; StoreAway where it does not answer."""
        short = Config(connect_timeout=LOOK_S, read_timeout=LOOK_S, retries={"total_max_attempts": 1}, **COMMON)
        with _in_words():
            client = self._create_session().client(
                "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=short
            )
            client.head_bucket(Bucket=self.bucket_name)

    def _object(self, key: str) -> Any:
        return self.bucket.Object(self._normalize_name(key))


@contextmanager
def _in_words() -> Iterator[None]:
    """Tell an object that is not there from a server that does not do what it is asked."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchKey":
            raise FileNotFoundError(code) from None
        log.error("the S3 server refused: %s", code)
        raise StoreAway from None
    except (BotoCoreError, Boto3Error) as error:
        log.error("the S3 server does not answer: %s", type(error).__name__)
        raise StoreAway from None
