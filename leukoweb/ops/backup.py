"""A consistent copy of an installation, database and images, and the way back into an empty one.

The database is copied first: a file lies in the store before its row is written, so each row of the copy has its file.
"""

import hmac
import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import bucket, hash_of, removal_locked, stored_originals
from leukoweb.ops.store_check import orphans, problems_of_store, remove_orphans
from leukoweb.ops.store_moving import copy_in, copy_out
from leukoweb.refusals import Refused

FORMAT = 1


def back_up(target: Path) -> Path:
    """Copy database, images and the installation's secret key into a new folder under `target` and return it."""
    now = timezone.now()
    folder = target / f"leukoweb-{now:%Y%m%dT%H%M%SZ}"
    unfinished = folder.with_name(folder.name + ".unfinished")
    try:
        unfinished.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise Refused(f"{unfinished} is already there. Wait a second, or remove it.") from None
    except OSError as error:
        raise Refused(f"{target} cannot be written ({error.strerror}). Choose another folder.") from None
    try:
        _fill(unfinished, made_at=now)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # half a copy only takes room
        raise
    unfinished.rename(folder)
    with suppress(OSError):  # the backup is whole; only its age stays unknown
        settings.LAST_BACKUP_FILE.write_text(json.dumps({"made_at": timezone.now().isoformat()}))
    return folder


def _fill(unfinished: Path, *, made_at: datetime) -> None:
    with removal_locked():
        database = _dump(unfinished)
        _copy_store(unfinished / "store")
    key = settings.DATA_DIR / "secret_key"
    has_key = key.exists() and key.read_text().strip() == settings.SECRET_KEY  # else it comes from the environment
    if has_key:
        shutil.copy2(key, unfinished / "secret_key")
    manifest = {
        "format": FORMAT,
        "made_at": made_at.isoformat(),
        "database": {"engine": connection.vendor, "file": database.name, "sha256": hash_of(database)},
        "has_secret_key": has_key,
        "secret_key_check": _check_of(settings.SECRET_KEY),
        "originals": sum(1 for p in (unfinished / "store" / "originals").rglob("*") if p.is_file()),
    }
    (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def restore(source: Path) -> int:
    """Bring a backup back into this empty installation and verify it; return the number of images."""
    manifest = _manifest(source)
    database = source / manifest["database"]["file"]
    if hash_of(database) != manifest["database"]["sha256"]:
        raise Refused(f"{database} has been changed since it was made: its SHA-256 is another one.")
    if manifest["database"]["engine"] != connection.vendor:
        raise Refused(
            f"The backup is of {manifest['database']['engine']}, DATABASE_URL names {connection.vendor}. "
            "Restore into the same kind of database."
        )
    _refuse_another_key(source, manifest)
    _refuse_if_used()
    _load(database)
    _bring_back_store(source / "store")
    if (source / "secret_key").exists():
        shutil.copy2(source / "secret_key", settings.DATA_DIR / "secret_key")
    call_command("migrate", verbosity=0)
    # The images were copied after the database: what was uploaded in between has a file in the copy and no row.
    remove_orphans(orphans())
    broken = list(problems_of_store())
    if broken:
        raise Refused("The backup is restored but not whole: " + "; ".join(broken[:5]))
    return SlideImage.objects.values("sha256").distinct().count()


def _manifest(source: Path) -> dict:
    try:
        manifest = json.loads((source / "manifest.json").read_text())
    except (OSError, ValueError, RecursionError):
        raise Refused(f"{source} is no finished backup: it has no readable manifest.json.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Refused(f"{source} was made by a version of LeukoWeb that this one cannot read.")
    database = manifest.get("database")
    names = ("engine", "file", "sha256")
    found = [database.get(name) for name in names] if isinstance(database, dict) else []
    named = [value for value in found if isinstance(value, str) and value]
    if len(named) < len(names) or Path(named[1]).name != named[1]:
        raise Refused(
            f"{source / 'manifest.json'} does not name the database of the backup: it was changed or damaged."
        )
    if not (source / named[1]).is_file():
        raise Refused(f"{source} has no file {named[1]}, which its manifest names: the backup is not whole.")
    return manifest


def _check_of(key: str) -> str:
    """Return what tells one secret key from another without telling the key."""
    return hmac.new(key.encode(), b"leukoweb backup: which key", "sha256").hexdigest()


def _refuse_another_key(source: Path, manifest: dict) -> None:
    """Second factors are encrypted with the secret key: with another one none of them could be used."""
    brought = source / "secret_key"
    in_environment = os.environ.get("LEUKOWEB_SECRET_KEY")
    key = in_environment or (brought.read_text().strip() if brought.exists() else settings.SECRET_KEY)
    check = manifest.get("secret_key_check", _check_of(key))  # backups of before 1.3 name none
    if not isinstance(check, str) or not hmac.compare_digest(check, _check_of(key)):
        where = "LEUKOWEB_SECRET_KEY is another one" if in_environment else "the backup does not hold it"
        raise Refused(
            f"The installation of this backup had a secret key, and {where}: no second factor could be used. Set "
            "LEUKOWEB_SECRET_KEY to the key that was kept with the backup. If it is lost, remove secret_key_check from "
            "manifest.json; everybody then enrols the second factor anew (leukoweb reset_account)."
        )


def _refuse_if_used() -> None:
    """Restoring goes into an empty place only: nothing that is there can be lost by it."""
    if connection.introspection.table_names():
        raise Refused("The database is not empty. Restore into an empty one (another DATA= or DATABASE_URL).")
    if any(True for _ in stored_originals()):
        where = settings.S3_BUCKET or settings.STORE_DIR / "originals"
        raise Refused(f"{where} is not empty. Restore into an empty one (another DATA= or LEUKOWEB_S3_PREFIX).")


def _dump(folder: Path) -> Path:
    if connection.vendor == "sqlite":
        path = folder / "database.sqlite3"
        connection.ensure_connection()
        with sqlite3.connect(path) as copy:
            connection.connection.backup(copy)
        copy.close()
        return path
    path = folder / "database.dump"
    _postgresql("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--file", path)
    return path


def _load(database: Path) -> None:
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as copy:
            copy.backup(connection.connection)
        copy.close()
        connection.close()
        return
    connection.close()
    name = connection.settings_dict["NAME"]
    _postgresql(
        "pg_restore",
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        "--dbname",
        name,
        database,
    )


def _postgresql(program: str, *arguments: str | Path) -> None:
    database = connection.settings_dict
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    env = os.environ | {name: str(database[key]) for name, key in names.items() if database[key]}
    try:
        subprocess.run([program, *map(str, arguments)], env=env, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused(f"{program} is not installed. On Debian: apt-get install postgresql-client") from None
    except subprocess.CalledProcessError as error:
        raise Refused(f"{program} failed: {error.stderr.strip()[-500:]}") from None


def _copy_tree(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not source.exists():
        return
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:
        # Parts of uploads and views come and go while the product runs; only what is still there was not copied.
        left = [Path(path) for path, *_ in error.args[0] if Path(path).exists()]
        if left:
            raise Refused(f"{left[0]} and {len(left) - 1} others could not be copied.") from error


def _copy_store(target: Path) -> None:
    """Copy what is stored; out of a bucket it is verified on the way."""
    if bucket() is None:
        _copy_tree(settings.STORE_DIR, target)
    elif lost := copy_out(target).problems:
        raise Refused(f"The bucket could not be copied whole: {lost[0]}, and {len(lost) - 1} others.")


def _bring_back_store(source: Path) -> None:
    if bucket() is None:
        _copy_tree(source, settings.STORE_DIR)
    elif lost := copy_in(source).problems:
        raise Refused(f"The images could not be stored: {lost[0]}, and {len(lost) - 1} others.")
