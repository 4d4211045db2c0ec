"""The files of a deployment agree with each other and with the settings; no engine runs here, they are parsed."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from django.conf import settings

from tests.services import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = (ROOT / "deploy" / "nginx.conf").read_text()
SETTINGS = (ROOT / "leukoweb" / "settings.py").read_text()
READ_BY_SETTINGS = set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', SETTINGS))
EXAMPLE = (ROOT / ".env.example").read_text()
IN_EXAMPLE = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.M)
SERVICES = COMPOSE["services"]
OURS = ("web", "listener", "worker", "worker-long", "worker-cpu", "worker-cpu-long", "migrate")


def check(data_dir, **environment):
    """Run Django's checks in a fresh process with these variables only; its exit code."""
    env = {"PATH": os.environ["PATH"], "LEUKOWEB_ENV_FILE": "", "LEUKOWEB_DATA_DIR": str(data_dir)} | environment
    return subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True).returncode


def test_every_variable_of_the_settings_is_in_the_example_and_none_is_there_twice_or_for_nothing():
    names = [name for name, _ in IN_EXAMPLE]
    of_compose = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert sorted(names) == sorted(set(names))
    assert set(names) == READ_BY_SETTINGS | of_compose


def test_every_variable_of_the_example_is_explained_above_it():
    lines = EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[A-Z][A-Z0-9_]+=", line):
            above = next(x for x in reversed(lines[:number]) if not re.match(r"(# )?[A-Z][A-Z0-9_]+=", x))
            assert above.startswith("# "), line
            assert not above.startswith("# ---"), line


@pytest.mark.parametrize("kind", ["int", "bool", "str"])
def test_the_defaults_that_the_example_shows_are_those_of_the_settings(kind):
    shown = dict(IN_EXAMPLE)
    for name, default in re.findall(rf'env\.{kind}\(\s*"([A-Z0-9_]+)", ("[^"]*"|\d+|True|False)\)', SETTINGS):
        assert shown[name] == default.strip('"').replace("True", "true").replace("False", "false"), name


@pytest.mark.slow
def test_the_example_is_read_by_the_settings_as_it_stands(tmp_path):
    assert check(tmp_path, LEUKOWEB_ENV_FILE=str(ROOT / ".env.example")) == 0


@pytest.mark.slow
def test_a_typo_in_a_setting_stops_the_start(tmp_path):
    assert check(tmp_path, LEUKOWEB_RUN_HARD_LIMIT_S="half an hour") != 0


def test_every_variable_that_compose_gives_our_programs_is_one_that_the_settings_read():
    for name in OURS:
        given = set(SERVICES[name].get("environment", {})) - {"PROMETHEUS_MULTIPROC_DIR"}  # read by prometheus_client
        assert given <= READ_BY_SETTINGS, (name, given - READ_BY_SETTINGS)


def test_no_secret_has_a_default():
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "PRODUCT_PASSWORD", "BROKER_PASSWORD", "LEUKOWEB_SECRET_KEY"):
        uses = re.findall(rf"(?<!\$)\$\{{{name}([^}}]*)\}}", text)
        assert uses, name
        assert all(use.startswith(":?") for use in uses), name
        assert dict(IN_EXAMPLE)[name] == ""


def test_only_what_changes_tables_is_their_owner():
    owners = {name for name in OURS if "//leukoweb:" in SERVICES[name]["environment"]["DATABASE_URL"]}
    assert owners == {"migrate"}
    assert all("//leukoweb_product:" in SERVICES[name]["environment"]["DATABASE_URL"] for name in set(OURS) - owners)
    assert "./deploy/database.sh:/docker-entrypoint-initdb.d/database.sh:ro" in SERVICES["database"]["volumes"]


def test_every_long_running_service_is_watched_and_comes_back():
    for name, service in SERVICES.items():
        if name != "migrate":
            assert "test" in service["healthcheck"], name
            assert service["restart"] == "unless-stopped", name


def test_services_wait_for_what_they_need():
    assert SERVICES["web"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert SERVICES["worker"]["depends_on"]["broker"]["condition"] == "service_healthy"
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_volumes_and_networks_are_declared_and_what_must_last_lies_on_one():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], source
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert "images:/data" in SERVICES["web"]["volumes"] == SERVICES["worker"]["volumes"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_only_nginx_and_the_listener_for_orders_are_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["listener", "nginx"]
    assert SERVICES["listener"]["profiles"] == ["listen"]


def test_there_is_a_worker_with_a_card_and_one_without():
    [device] = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert (SERVICES["worker"]["profiles"], SERVICES["worker-cpu"]["profiles"]) == (["gpu"], ["cpu"])


@pytest.mark.parametrize("kind", ["worker", "worker-cpu"])
def test_every_queue_has_its_worker_in_compose_and_long_runs_hold_none_of_the_others(kind):
    from django.conf import settings

    [queues] = re.findall(r'^CMD \["celery".*"-Q", "([^"]+)"', stage("worker"), re.M)
    long = SERVICES[f"{kind}-long"]
    assert "command" not in SERVICES[kind]
    taken = [*queues.split(","), *long["command"][long["command"].index("-Q") + 1].split(",")]
    assert taken == [queue.name for queue in settings.CELERY_TASK_QUEUES]
    assert {**long, "command": None} == {**SERVICES[kind], "command": None}


def test_the_broker_keeps_what_it_has_and_evicts_nothing():
    command = " ".join(SERVICES["broker"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_images_are_pinned_and_the_dump_program_is_of_the_database_version():
    for service in (SERVICES["database"], SERVICES["broker"], SERVICES["nginx"]):
        assert re.search(r":\d", service["image"])
    major = re.search(r"postgres:(\d+)", SERVICES["database"]["image"])[1]
    assert f"postgresql-client-{major}" in DOCKERFILE


def stage(name):
    """The lines of one stage of the Dockerfile."""
    return re.search(rf"^FROM \S+ AS {name}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)[1]


def test_the_image_runs_without_root_and_its_wheel_is_built_of_everything_that_the_product_is_made_of():
    assert re.findall(r"^USER (\S+)", stage("web"), re.M)[-1] == "leukoweb"
    assert re.findall(r"^USER (\S+)", stage("worker"), re.M)[-1] == "leukoweb"
    copied = re.findall(r"^COPY (.+) \S+$", stage("build"), re.M)
    ignored = (ROOT / ".dockerignore").read_text().split()
    for part in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "detection", "leukoweb", "templates", "static"):
        assert any(part in line.split() for line in copied), part
        assert (ROOT / part).exists()
        assert part not in ignored
    assert "LEUKOWEB_DATA_DIR=/data" in stage("web")
    assert set(re.findall(r"(LEUKOWEB_\w+)=", DOCKERFILE)) <= READ_BY_SETTINGS


def test_the_web_image_holds_no_network_library_and_only_the_worker_asks_for_its_extra():
    assert not re.search(r"pip install.*(torch|\[(?!traces,s3\]))", stage("web"))
    assert '[worker]"' in stage("worker")
    built = {name: SERVICES[name]["build"]["target"] for name in OURS}
    assert built == {name: "worker" if name.startswith("worker") else "web" for name in OURS}
    for target in set(built.values()):
        assert f" AS {target}\n" in DOCKERFILE
    images = {name: SERVICES[name]["image"] for name in OURS}
    assert images["web"] == images["migrate"]
    assert len({images["web"], images["worker"], images["worker-cpu"]}) == 3


def test_the_profile_without_a_card_builds_a_torch_for_processors_within_the_range_of_the_project():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["worker"]
    named = re.findall(r'"((?:torch|torchvision)>=[^"]+)"', DOCKERFILE)
    assert len(named) == 2
    assert set(named) <= set(wanted)
    assert "ARG TORCH_INDEX=\n" in stage("worker")
    assert SERVICES["worker-cpu"]["build"]["args"]["TORCH_INDEX"].endswith("/whl/cpu}")
    assert "args" not in SERVICES["worker"]["build"]


def test_what_compose_starts_is_in_the_image():
    assert SERVICES["migrate"]["command"][0] == SERVICES["listener"]["command"][0] == "leukoweb"
    assert re.search(r'^CMD \["gunicorn"', stage("web"), re.M)
    assert re.search(r'^CMD \["celery", "-A", "leukoweb", "worker"', stage("worker"), re.M)
    assert not {"command"} & (set(SERVICES["worker"]) | set(SERVICES["worker-cpu"]) | set(SERVICES["web"]))


def test_fonts_of_many_scripts_are_installed_where_reports_are_printed():
    ci = (ROOT / ".ci" / "run").read_text()
    for package in ("fonts-noto-core", "fonts-noto-cjk"):
        assert package in stage("web")
        assert package in ci


def test_nginx_finds_the_web_process_and_lets_the_largest_image_through():
    port = re.search(r"EXPOSE (\d+)", DOCKERFILE)[1]
    assert f"0.0.0.0:{port}" in DOCKERFILE
    assert f"server web:{port};" in NGINX
    largest = max(int(size) for size in re.findall(r"client_max_body_size (\d+)m;", NGINX)) * 2**20
    assert largest > settings.MAX_UPLOAD_BYTES
    assert "X-Forwarded-Proto https" in NGINX
    assert "$remote_addr" in NGINX
    assert SERVICES["web"]["environment"]["LEUKOWEB_BEHIND_PROXY"] == "true"
    mounted = {volume.split(":")[1] for volume in SERVICES["nginx"]["volumes"]}
    for file in re.findall(r"/etc/nginx/\S+/", NGINX):
        assert file.rstrip("/") in mounted


def test_the_ci_script_installs_what_the_tests_start_and_hands_over_to_make():
    script = (ROOT / ".ci" / "run").read_text()
    for package in ("postgresql", "redis-server", "chromium", "poppler-utils", "libpangoft2-1.0-0", "python3-venv"):
        assert re.search(rf"\b{package}\b", script)
    assert script.rstrip().endswith("check\nexec make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["sh", "-n", ROOT / ".ci" / "run"], check=True)
