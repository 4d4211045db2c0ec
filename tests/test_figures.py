"""What Prometheus and Grafana are given: every figure of the rules and the dashboard is one that /metrics prints."""

import json
import re
import shutil
import subprocess
from datetime import timedelta

import pytest
import yaml
from django.core.cache import cache
from django.utils import timezone

from leukoweb.analysis.models import Run
from tests.services import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "leukoweb.json").read_text())
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)


@pytest.fixture
def scrape(client, settings):
    """What /metrics prints, as [(name, {label: value}, number)]."""
    settings.METRICS_TOKEN = "scrape-me"

    def ask():
        cache.clear()  # checks and cells of the day are looked at seldom
        answer = client.get("/metrics", headers={"Authorization": "Bearer scrape-me"})
        assert answer.status_code == 200
        return [
            (name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
            for name, labels, value in SAMPLE.findall(answer.content.decode())
        ]

    return ask


def of(samples, name, **labels):
    """The one value of a figure."""
    [value] = [number for found, its, number in samples if found == name and its.items() >= labels.items()]
    return value


@pytest.fixture
def busy(make_case, make_slide, settings, tmp_path):
    """A read slide of two hours ago that took 90 s, a backup of an hour ago."""
    run = make_slide(make_case(), {"NGS": 3, "LYT": 1}).runs.get()
    began = timezone.now() - timedelta(hours=2)
    Run.objects.filter(pk=run.pk).update(queued_at=began, started_at=began, finished_at=began + timedelta(seconds=90))
    settings.LAST_BACKUP_FILE = tmp_path / "last-backup.json"
    made_at = (timezone.now() - timedelta(hours=1)).isoformat()
    settings.LAST_BACKUP_FILE.write_text(json.dumps({"made_at": made_at}))
    return run


@pytest.mark.slow
def test_the_figures_are_those_of_the_rows(scrape, busy, make_case, make_slide):
    seen = scrape()
    assert of(seen, "leukoweb_runs_day", result="done") == 1
    assert of(seen, "leukoweb_run_seconds", quantile="0.95") == 90
    assert of(seen, "leukoweb_cells_day", type="NGS") == 3
    assert of(seen, "leukoweb_cells_day", type="MYO") == 0
    assert 3600 <= of(seen, "leukoweb_backup_age_seconds") < 3660
    assert of(seen, "leukoweb_queue_age_seconds", priority="stat") == 0
    waiting = make_slide(make_case("A-2"), {"NGS": 1}).runs.get()
    at = timezone.now() - timedelta(minutes=7)
    Run.objects.filter(pk=waiting.pk).update(state=Run.State.QUEUED, is_stat=True, queued_at=at)
    Run.objects.filter(pk=busy.pk).update(state=Run.State.FAILED)
    seen = scrape()
    assert 420 <= of(seen, "leukoweb_queue_age_seconds", priority="stat") < 480
    assert of(seen, "leukoweb_runs", state="queued", priority="stat") == 1
    assert of(seen, "leukoweb_runs_day", result="failed") == 1


def test_messages_that_wait_for_somebody_are_counted_by_state(scrape, laboratory, technologist):
    from leukoweb.delivery.models import Interface, Message

    interface = Interface.objects.create(laboratory=laboratory, name="LIS", port=2575, acts_as=technologist)
    for state, attempts in (("held", 0), ("dead", 9), ("queued", 1), ("applied", 1)):
        Message.objects.create(
            interface=interface, is_incoming=state == "held", state=state, attempts=attempts, raw=b"", sha256=state
        )
    seen = scrape()
    by_state = {its["state"]: number for name, its, number in seen if name == "leukoweb_messages"}
    assert by_state == {"queued": 1, "dead": 1, "held": 1, "parked": 0}
    assert of(seen, "leukoweb_results_undelivered") == 2


def test_checks_are_figures_too_and_no_label_holds_what_a_patient_is_known_by(scrape, busy):
    seen = scrape()
    assert of(seen, "leukoweb_check", check="database") == 0
    assert of(seen, "leukoweb_check", check="broker") == 2
    ours = [(name, its) for name, its, _ in seen if name.startswith("leukoweb_")]
    known = {"version", "state", "priority", "result", "quantile", "type", "check"}
    assert {label for _, its in ours for label in its} == known
    assert not re.search("A-1001|Wintermute|M-77", str(ours))


@pytest.mark.parametrize("source", ["alerts", "dashboard"])
def test_every_figure_that_rules_and_dashboard_name_is_one_that_the_product_prints(source, scrape, busy):
    printed = {name for name, *_ in scrape()} | {"up"}  # Prometheus' own: whether the last scrape was answered
    expressions = PANELS if source == "dashboard" else [rule["expr"] for rule in RULES]
    named = {name for text in expressions for name in re.findall(r"\b(?:leukoweb|django)_\w+", text)}
    assert len(named) > 8
    assert named - printed == set()


def test_every_rule_says_how_urgent_it_is_and_what_to_do():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_the_panels_of_the_dashboard_overlap_nowhere():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.promtool
def test_rules_configuration_and_dashboard_are_what_prometheus_reads_and_the_rules_fire_when_they_should(tmp_path):
    shutil.copytree(PROMETHEUS, tmp_path / "rules")
    panels = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(PANELS)]
    (tmp_path / "rules" / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    for command in (
        ["check", "rules", "alerts.yml", "panels.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run(["promtool", *command], cwd=tmp_path / "rules", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
