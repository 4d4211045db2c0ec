"""The pure parts of the pages' scripts, tested by node where there is one; pages are tested in tests/browser."""

import subprocess

import pytest

from tests.services import ROOT


@pytest.mark.node
def test_the_pure_scripts_do_what_they_say():
    run = subprocess.run(
        ["node", "--test", *sorted(map(str, (ROOT / "tests" / "js").glob("*.test.mjs")))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
