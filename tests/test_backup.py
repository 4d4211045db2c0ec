"""Backup and restore as an operator runs them, on each database that is here; and the check of the store."""

import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone
from PIL import Image

from leukoweb.cases.models import Case, SlideImage
from leukoweb.cases.store import original_path, removal_locked
from tests.services import ROOT, another_database, migrated_sqlite

pytestmark = pytest.mark.services  # each command in a process of its own

DATABASES = ["sqlite", *(["postgresql"] if os.environ.get("DATABASE_URL", "").startswith("postgres") else [])]


class Installation:
    """An installation in a folder of its own, driven by manage.py alone."""

    def __init__(self, folder, database_url, *, migrated=False):
        folder.mkdir(exist_ok=True)
        if migrated and not database_url:
            shutil.copy(migrated_sqlite(), folder / "leukoweb.sqlite3")
        self.folder = folder
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("LEUKOWEB_", "DJANGO_")) and k != "DATABASE_URL"
        }
        self.env = kept | {"LEUKOWEB_ENV_FILE": "", "LEUKOWEB_DATA_DIR": str(folder)}
        self.env["LEUKOWEB_STATICFILES_BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
        if database_url:
            self.env["DATABASE_URL"] = database_url

    def manage(self, *command):
        """Run a command; its exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "manage.py", *map(str, command)], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def rows(self):
        """Everything that the rooms of the product hold."""
        code, said = self.manage("dumpdata", "accounts", "cases", "analysis", "audit")
        assert code == 0, said
        return json.loads(said)


@pytest.fixture(scope="module", params=DATABASES)
def place(request, tmp_path_factory):
    """A maker of installations on one kind of database: without tables, or with empty ones."""

    def make(name, *, migrated=False):
        url = another_database(migrated=migrated) if request.param == "postgresql" else ""
        return Installation(tmp_path_factory.mktemp(name), url, migrated=migrated)

    return make


@pytest.fixture(scope="module")
def used(place, tmp_path_factory):
    """An installation with accounts, a case and two images."""
    images = tmp_path_factory.mktemp("images")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    installation = place("used", migrated=True)
    code, said = installation.manage("prepare", "--images", images)
    assert code == 0, said
    return installation


@pytest.fixture(scope="module")
def backup(used, tmp_path_factory):
    """A backup of it."""
    target = tmp_path_factory.mktemp("backups")
    code, said = used.manage("backup", target)
    assert code == 0, said
    [folder] = target.iterdir()
    return folder


def test_a_backup_restored_into_an_empty_place_holds_every_row_and_every_image(used, backup, place):
    assert backup.stat().st_mode & 0o077 == 0
    empty = place("empty")
    # What was uploaded between the copy of the database and that of the images: a file without a row.
    stray = backup / "store" / "originals" / "ff" / ("f" * 64)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"uploaded meanwhile")
    code, said = empty.manage("restore", backup)
    stray.unlink()
    assert code == 0, said
    assert "2 images" in said
    code, said = empty.manage("check_store")
    assert code == 0, said
    assert empty.rows() == used.rows()
    assert (empty.folder / "secret_key").read_text() == (used.folder / "secret_key").read_text()
    assert empty.manage("verify_audit")[0] == 0
    code, said = empty.manage("restore", backup)
    assert code == 1
    assert "not empty" in said


def test_a_restore_with_another_secret_key_is_refused_before_anything_is_written(backup, place):
    """H.52: another key breaks every second factor, which shows only when people want to sign in."""
    other = place("other-key")
    other.env["LEUKOWEB_SECRET_KEY"] = secrets.token_hex(32)
    code, said = other.manage("restore", backup)
    assert code == 1
    assert "LEUKOWEB_SECRET_KEY is another one" in said
    del other.env["LEUKOWEB_SECRET_KEY"]
    assert other.manage("restore", backup)[0] == 0


def test_the_products_own_database_user_works_and_can_neither_lift_a_guard_nor_empty_a_table(tmp_path):
    import psycopg

    if "postgresql" not in DATABASES or not shutil.which("psql"):
        pytest.skip("no PostgreSQL with psql here")
    owner_url = another_database()
    parts = urlsplit(owner_url)
    password, name = secrets.token_hex(16), parts.path.strip("/")
    recipe = {
        "PGHOST": parts.hostname, "PGPORT": str(parts.port), "PGPASSWORD": parts.password, "PRODUCT_PASSWORD": password,
        "POSTGRES_USER": parts.username, "POSTGRES_DB": name,
    }  # fmt: skip
    for _ in range(2):  # it may be run again
        subprocess.run(
            ["sh", ROOT / "deploy" / "database.sh"], env=os.environ | recipe, check=True, capture_output=True
        )
    assert Installation(tmp_path / "one", owner_url).manage("upgrade")[0] == 0
    product_url = f"postgres://leukoweb_product:{password}@{parts.hostname}:{parts.port}/{name}"
    product = Installation(tmp_path / "one", product_url)
    code, said = product.manage("create_admin", "ada")
    assert code == 0, said
    assert product.manage("verify_audit")[0] == 0
    with psycopg.connect(product_url, autocommit=True) as connection:
        for forbidden in (
            "UPDATE audit_event SET text = ''", "DELETE FROM audit_event", "TRUNCATE audit_event",
            "TRUNCATE cases_case CASCADE",
            "DROP TRIGGER audit_event_no_change ON audit_event", "ALTER TABLE audit_event DISABLE TRIGGER ALL",
            "ALTER TABLE review_report DISABLE TRIGGER USER", "SET session_replication_role = replica",
            "DROP TABLE review_report", "CREATE TABLE own (id int)",
        ):  # fmt: skip
            with pytest.raises(psycopg.Error):
                connection.execute(forbidden)
    code, said = product.manage("backup", tmp_path / "backups")
    assert code == 0, said
    [folder] = (tmp_path / "backups").iterdir()
    restored = Installation(tmp_path / "two", another_database())
    code, said = restored.manage("restore", folder)
    assert code == 0, said


def test_a_backup_that_was_tampered_with_or_is_unfinished_is_refused(backup, place, tmp_path):
    folder = shutil.copytree(backup, tmp_path / "copy")
    image = next(path for path in (folder / "store" / "originals").rglob("*") if path.is_file())
    image.chmod(0o600)
    image.write_bytes(b"something else")
    code, said = place("second").manage("restore", folder)
    assert code == 1
    assert "not whole" in said
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / manifest["database"]["file"]).write_bytes(b"x")
    third = place("third")
    code, said = third.manage("restore", folder)
    assert code == 1
    assert "SHA-256 is another one" in said
    (folder / "manifest.json").unlink()
    code, said = third.manage("restore", folder)
    assert code == 1
    assert "no finished backup" in said


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ('["a list"]', "cannot read"),
        ('{"format": 1}', "does not name the database"),
        ('{"format": 1, "database": "db.sqlite3"}', "does not name the database"),
        ('{"format": 1, "database": {"engine": "sqlite", "file": 7, "sha256": "x"}}', "does not name the database"),
        (
            '{"format": 1, "database": {"engine": "sqlite", "file": "../x", "sha256": "x"}}',
            "does not name the database",
        ),
        ('{"format": 1, "database": {"engine": "sqlite", "file": "x", "sha256": "x"}}', "has no file x"),
        ("[" * 50_000, "no readable manifest"),
    ],
)
def test_a_manifest_of_another_shape_is_refused_in_a_sentence(db, tmp_path, manifest, said):
    """H40."""
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(CommandError, match=said):
        call_command("restore", tmp_path)


@pytest.mark.django_db(transaction=True)  # the copy is made by a connection of its own, which would wait for ours
def test_a_part_that_vanishes_while_it_is_copied_does_not_fail_the_backup(stored, settings, tmp_path, capsys):
    """H52: a name in the store without a file, as a part of an upload that ended; and it says what it holds."""
    (settings.STORE_DIR / "gone").symlink_to(tmp_path / "nowhere")
    (settings.DATA_DIR / "secret_key").unlink(missing_ok=True)
    call_command("backup", tmp_path / "backups")
    [folder] = (tmp_path / "backups").iterdir()
    assert next((folder / "store" / "originals").rglob("*"), None)
    said = capsys.readouterr().out
    assert "does not hold the secret key" in said
    assert not json.loads((folder / "manifest.json").read_text())["has_secret_key"]
    (settings.DATA_DIR / "secret_key").write_text(settings.SECRET_KEY)
    (folder.rename(tmp_path / "first"))
    call_command("backup", tmp_path / "backups")
    assert "patient records and the secret key" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_no_image_expires_between_the_copy_of_the_rows_and_that_of_the_files(stored, settings, tmp_path):
    """H52: the backup then had a row without its file, and restore refused it."""
    settings.RETENTION_DAYS, path = 1, original_path(stored.sha256)
    Case.objects.update(received_at=timezone.now() - timedelta(days=2))

    def run(*command):
        call_command(*command)
        connections.close_all()

    commands = [
        threading.Thread(target=run, args=command)
        for command in [("backup", tmp_path / "backups"), ("apply_retention",)]
    ]
    with removal_locked():
        for command in commands:
            command.start()
            command.join(0.3)
        assert not list((tmp_path / "backups").rglob("database*"))
        assert path.exists()
    for command in commands:
        command.join()
    assert not path.exists()


def test_a_backup_into_a_place_that_cannot_be_written_is_refused_in_words(db, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup", tmp_path / "file" / "below")


@pytest.fixture
def stored(make_case, technologist, settings, tmp_path):
    """A stored original with its row."""
    from django.core.files.base import ContentFile

    from leukoweb.analysis.uploads import accept_upload

    settings.STORE_DIR = tmp_path / "store"
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), secrets.randbelow(255), np.uint8)).save(buffer, "PNG")
    slide, refused = accept_upload(make_case(), [ContentFile(buffer.getvalue(), name="field.png")], by=technologist)
    assert not refused
    return slide.images.get()


def complaint():
    said = io.StringIO()
    with pytest.raises(CommandError):
        call_command("check_store", stdout=said)
    return said.getvalue()


def test_the_check_of_the_store_is_content_with_a_whole_store(stored, capsys):
    call_command("check_store")
    assert "is whole" in capsys.readouterr().out


def test_the_check_of_the_store_names_lost_changed_and_ownerless_files(stored, settings):
    path = original_path(stored.sha256)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:-1] + b"?")
    assert f"changed: the file of image {stored.sha256} has another SHA-256" in complaint()
    path.write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes" in complaint()
    path.unlink()
    assert f"lost: image {stored.sha256}" in complaint()
    path.write_bytes(content)
    stray = settings.STORE_DIR / "originals" / "ff" / ("f" * 64)
    stray.parent.mkdir()
    shutil.copy(path, stray)
    assert "orphan: originals/ff/" in complaint()
    SlideImage.objects.all().delete()
    assert complaint().count("orphan") == 2
