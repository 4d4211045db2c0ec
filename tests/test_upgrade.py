"""An installation of an older version is upgraded as docs/operations.md says: its signed reports still verify."""

import gzip
import hashlib
import sqlite3

import pytest

from tests.services import ROOT
from tests.test_backup import Installation

OLD = ROOT / "tests" / "data" / "database-1.2.0.sql.gz"

pytestmark = pytest.mark.services  # each command in a process of its own


@pytest.fixture
def old(tmp_path):
    """An installation as version 1.2.0 left it."""
    installation = Installation(tmp_path / "old", "")
    with sqlite3.connect(tmp_path / "old" / "leukoweb.sqlite3") as database:
        database.create_function("leukoweb_sha256", 1, lambda text: hashlib.sha256(text.encode()).hexdigest())
        database.executescript(gzip.decompress(OLD.read_bytes()).decode())
        database.execute("UPDATE cases_slideimage SET expired_at = '2026-11-27'")  # the pictures were removed in time
    database.close()
    return installation


def reports_of(installation):
    with sqlite3.connect(installation.folder / "leukoweb.sqlite3") as database:
        return database.execute("SELECT id, state, seal, content FROM review_report ORDER BY id").fetchall()


@pytest.mark.timeout(600)
def test_a_database_of_1_2_0_is_upgraded_its_signed_reports_verify_and_its_backup_is_the_way_back(old, tmp_path):
    """docs/operations.md: the backup of before the upgrade is what an older version starts from."""
    before = reports_of(old)
    assert [state for _, state, *_ in before] == ["signed", "signed", "signed"]
    code, said = old.manage("doctor", "--quiet")
    assert code == 1
    assert "migrations are not applied: stop web and workers, then run leukoweb upgrade" in said
    code, said = old.manage("backup", tmp_path / "backups")
    assert code == 0, said
    code, said = old.manage("upgrade")
    assert code == 0, said
    assert reports_of(old) == before
    code, said = old.manage("verify_report", "--all")
    assert code == 0, said
    code, said = old.manage("verify_audit")
    assert code == 0, said
    assert "ok      migrations: " in old.manage("doctor")[1]
    [folder] = (tmp_path / "backups").iterdir()
    with sqlite3.connect(folder / "database.sqlite3") as copy:  # what 1.2.0 would be given
        assert copy.execute("SELECT id, state, seal, content FROM review_report ORDER BY id").fetchall() == before
        assert copy.execute("SELECT count(*) FROM django_migrations WHERE name = '0014_case_glance'").fetchone() == (0,)
    back = Installation(tmp_path / "back", "")
    code, said = back.manage("restore", folder)
    assert code == 0, said
    assert back.manage("verify_report", "--all")[0] == 0


def test_a_database_of_a_newer_version_is_named(tmp_path):
    newer = Installation(tmp_path / "newer", "", migrated=True)
    with sqlite3.connect(newer.folder / "leukoweb.sqlite3") as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('cases', '9999_of_tomorrow', '2030-01-01')"
        )
    code, said = newer.manage("doctor", "--quiet")
    assert code == 1
    assert "The database is of a newer version (cases.9999_of_tomorrow): install that version" in said
