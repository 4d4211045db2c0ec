"""The short form of `make chaos`: it works, and says so."""

import subprocess
import sys

import pytest

from tests import services
from tests.chaos.plan import KINDS, plan


def test_the_same_seed_gives_the_same_faults_and_every_kind_comes():
    assert plan(5, 200) == plan(5, 200) != plan(6, 200)
    assert {fault.kind for fault in plan(5, len(KINDS))} == set(KINDS)


@pytest.mark.nightly
@pytest.mark.services
@pytest.mark.timeout(900)
def test_a_few_faults_lose_nothing():
    if services.postgresql_programs() is None:
        pytest.skip("no PostgreSQL here")
    options = ["--seed", "3", "--faults", "3", "--slides", "3", "--signatures", "1"]
    command = [sys.executable, "-m", "tests.chaos", *options]
    done = subprocess.run(command, cwd=services.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost: 0\ntwice: 0" in done.stdout
