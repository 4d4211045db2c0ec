"""How database-1.2.0.sql.gz was made: a test of a checkout of that version writes out what its own fixtures stored.

git worktree add ../old v1.2.0 && cp tests/data/write_old_database.py ../old/tests/test_write_old_database.py
cd ../old && LEUKOWEB_TEST_DATABASE=sqlite python -m pytest -n0 tests/test_write_old_database.py
"""

import gzip
from pathlib import Path

from django.db import connection

from tests.test_reports import post_signature, reviewed, signed  # noqa: F401 (fixtures)


def test_write(signed, reviewed, sign_in, pathologist):  # noqa: F811
    """One signed report, a second case that is signed and amended, and a third that is open."""
    client = sign_in(pathologist)
    second = reviewed(accession_number="A-1002")
    assert post_signature(client, second).status_code == 302
    report = second.reports.get()
    assert client.post(f"/reports/{report.pk}/amend/", {"reason": "Blasts counted again"}).status_code == 302
    assert post_signature(client, second).status_code == 302
    reviewed(accession_number="A-1003")
    connection.ensure_connection()
    text = "\n".join(connection.connection.iterdump())
    Path("database-1.2.0.sql.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
