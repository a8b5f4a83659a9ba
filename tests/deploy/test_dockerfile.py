"""The Dockerfile and the compose file, as far as reading them tells; see also dockerfile_steps."""

from __future__ import annotations

import re
import tomllib
from urllib.parse import urlsplit

import pytest
import yaml

from service.cli import COMMANDS
from service.config.file import load
from tests.deploy.dockerfile import chain, command, inherited, parse
from tests.deploy.expressions import DEPLOY, ROOT

STAGES = parse(ROOT / "Dockerfile")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
TARGETS = {"learner": "8080", "replica": "8081", "edge": "8080"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_role_runs_as_nobody_in_particular_and_says_how_it_is(target):
    uid = inherited(STAGES, target, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", uid)
    probe = inherited(STAGES, target, "HEALTHCHECK")
    (url,) = re.findall(r"http://[\w.:/]+", probe)
    assert urlsplit(url).port == int(TARGETS[target]) == int(inherited(STAGES, target, "EXPOSE"))
    assert urlsplit(url).path == "/v2/health/live"
    assert command(probe)[0] == "python"


@pytest.mark.parametrize("target", TARGETS)
def test_the_entry_point_is_a_command_that_exists_with_its_options(target):
    program, name = command(inherited(STAGES, target, "ENTRYPOINT"))
    assert program == "apical"
    assert name in COMMANDS
    module = __import__(f"service.cli.{name}", fromlist=["command"])
    arguments = command(inherited(STAGES, target, "CMD"))
    module.command.make_context(name, list(arguments))
    # Whoever starts an image by itself is asked for keys.
    assert "0.0.0.0" in arguments
    assert "--insecure" not in arguments


@pytest.mark.parametrize("target", ["replica", "edge"])
def test_two_roles_are_installed_without_torch(target):
    for stage in chain(STAGES, target) + chain(STAGES, f"build-{target}"):
        text = " ".join(arguments for _, arguments in stage.steps)
        assert "torch" not in text.lower()
        assert "learner" not in text


def test_every_extra_that_is_installed_exists():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Dockerfile").read_text())
    assert len(extras) == 3
    for extra in ",".join(extras).split(","):
        assert extra in known


def test_what_is_copied_exists_and_is_not_ignored():
    kept = set((ROOT / ".dockerignore").read_text().split("\n"))
    copied = set()
    for stage in STAGES.values():
        for word, arguments in stage.steps:
            if word == "COPY" and not arguments.startswith("--from="):
                copied |= set(arguments.split()[:-1])
    assert {f"!{path}" for path in copied} == {line for line in kept if line.startswith("!")}
    for path in copied:
        assert (ROOT / path).exists(), path


def test_stages_are_named_pinned_and_used():
    used = {stage.base for stage in STAGES.values()} | TARGETS.keys()
    for stage in STAGES.values():
        for word, arguments in stage.steps:
            if word == "COPY" and (source := re.match(r"--from=([\w-]+)", arguments)):
                used.add(source[1])
        if stage.base not in STAGES:
            assert re.search(r":[^:]*\d|\$\{PYTHON\}", stage.base), stage.base
            assert ":latest" not in stage.base
    assert STAGES.keys() <= used


def test_sources_come_after_the_packages_that_change_seldom():
    for name in ("build-learner", "build-replica", "build-edge"):
        words = [word for word, _ in STAGES[name].steps]
        assert words.index("RUN") < words.index("COPY")


def test_every_role_of_the_compose_file_is_a_stage_and_everything_has_a_pinned_image():
    built = {name: s["build"]["target"] for name, s in SERVICES.items() if "build" in s}
    assert built == {"learner": "learner", "replica-1": "replica", "replica-2": "replica"}
    for name, service in SERVICES.items():
        if name not in built:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_all_ports_are_bound_to_loopback_and_none_twice():
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.rsplit(":", 1)[0] for port in ports}) == len(ports)


def test_mounted_files_exist_and_volumes_are_declared():
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_replicas_cannot_write_what_the_learner_writes():
    for name in ("replica-1", "replica-2"):
        assert SERVICES[name]["volumes"] == ["store:/var/lib/apical/store:ro"]


def test_prometheus_scrapes_every_role_at_the_port_it_listens_on():
    plain = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    targets = {
        target
        for job in plain["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert targets == {
        f"{name}:{TARGETS[s['build']['target']]}" for name, s in SERVICES.items() if "build" in s
    }
    (manager,) = plain["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert manager.split(":")[0] in SERVICES


def test_the_composed_learner_s_configuration_is_valid_and_stores_on_its_volumes():
    configuration = load(DEPLOY / "apical.toml")
    mounts = [volume.split(":")[1] for volume in SERVICES["learner"]["volumes"]]
    assert configuration.storage.store in mounts
    assert configuration.storage.log in mounts
    assert configuration.server.port == 8080


def test_no_registry_is_named():
    for path in (ROOT / "Dockerfile", DEPLOY / "compose.yaml"):
        hosts = {urlsplit(u).hostname for u in re.findall(r"https?://[^\s'\"]+", path.read_text())}
        assert hosts <= {"127.0.0.1"}, path
