"""What ships in docker/: no engine runs here, so everything is read and checked instead."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metrics import Metrics
from app.security import OPEN_PATHS
from app.settings import OPENCHARACTER_8B, TINY, Settings

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
Yaml = dict[str, Any]  # whatever the file holds


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: `word` in capitals, `value` on one line."""

    word: str
    value: str


@dataclass(frozen=True)
class Stage:
    """A `FROM` with what follows it."""

    name: str
    image: str
    instructions: list[Instruction]

    def all(self, word: str) -> list[str]:
        return [instruction.value for instruction in self.instructions if instruction.word == word]


def parse_dockerfile(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Global arguments, and stages in order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, value = line.split(None, 1)
        if word == "FROM":
            image, _, name = value.partition(" AS ")
            stages.append(Stage(name, image, []))
        elif stages:
            stages[-1].instructions.append(Instruction(word, value))
        else:
            assert word == "ARG"
            key, _, default = value.partition("=")
            arguments[key] = default
    return arguments, stages


def tool(name: str) -> str:
    """A program that the development packages bring."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} isn't installed"
    return found


def load_yaml(path: str) -> Yaml:
    value: Yaml = yaml.safe_load((DOCKER / path).read_text())
    return value


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parse_dockerfile((DOCKER / "Dockerfile").read_text())[1]


@pytest.fixture(scope="module")
def compose() -> Yaml:
    return load_yaml("compose.yaml")


def lineage(stages: list[Stage], name: str) -> list[Stage]:
    """The stage and those that it is made from, first to last."""
    by_name = {stage.name: stage for stage in stages}
    line = [by_name[name]]
    while line[0].image in by_name:
        line.insert(0, by_name[line[0].image])
    return line


def test_dockerfile_has_nothing_for_hadolint_to_say() -> None:
    done = subprocess.run([tool("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_base_image_is_pinned_to_a_release() -> None:
    arguments, stages = parse_dockerfile((DOCKER / "Dockerfile").read_text())
    names = {stage.name for stage in stages}
    images = {re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], stage.image) for stage in stages} - names
    assert images
    assert all(re.fullmatch(r"python:3\.(11|12|13)\.\d+-slim-\w+", image) for image in images)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_image_runs_the_server_as_nobody_special(stages: list[Stage], target: str) -> None:
    line = lineage(stages, target)
    assert line[-1].instructions[-1] == Instruction("USER", "10001:10001")
    assert [value for stage in line for value in stage.all("CMD")][-1] == '["python", "-m", "app", "serve"]'
    assert any("/health" in value for stage in line for value in stage.all("HEALTHCHECK"))
    assert any("/data" in value for stage in line for value in stage.all("VOLUME"))


def test_health_check_needs_no_key() -> None:
    assert "/health" in OPEN_PATHS


def test_every_stage_is_used(stages: list[Stage]) -> None:
    used = {"cpu", "gpu"}
    for stage in stages:
        copied = [re.match(r"--from=(\S+)", value) for value in stage.all("COPY")]
        used |= {stage.image} | {match[1] for match in copied if match}
    assert {stage.name for stage in stages} <= used


def test_copied_files_exist_and_are_let_through(stages: list[Stage]) -> None:
    let_in = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copies = [value.split() for stage in stages for value in stage.all("COPY") if not value.startswith("--from")]
    sources = {source for words in copies for source in words[:-1]}
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_nothing_is_fetched_by_url(stages: list[Stage]) -> None:
    assert not any(stage.all("ADD") for stage in stages)


@pytest.mark.parametrize(("target", "lock"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_packages_are_installed_from_the_lock(stages: list[Stage], target: str, lock: str) -> None:
    packages = next(stage for stage in stages if stage.name == f"packages-{target}")
    installs = [part for run in packages.all("RUN") for part in run.split(" && ") if "pip install" in part]
    assert f"--no-deps --require-hashes --requirement requirements/{lock}.txt" in installs[-1]
    # Torch for the CPU is the one package without hashes: its wheel differs by Python and machine.
    assert [re.search(r"torch==(\S+)", part) is not None for part in installs[:-1]] == [True] * (target == "cpu")


def test_torch_is_the_one_that_the_project_names(stages: list[Stage]) -> None:
    named = re.search(r"torch==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert named is not None
    packages = next(stage for stage in stages if stage.name == "packages-cpu")
    assert f"torch=={named[1]}+cpu" in packages.all("RUN")[0]


def test_compose_follows_the_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    pytest.importorskip("check_jsonschema")
    done = subprocess.run([*check, DOCKER / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_images_are_pinned_and_builds_exist(compose: Yaml, stages: list[Stage]) -> None:
    for name, service in compose["services"].items():
        if "build" in service:
            assert service["build"]["target"] in {stage.name for stage in stages}
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"]), name


def test_compose_refers_to_what_it_declares(compose: Yaml) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in compose["volumes"], source
        assert set(service.get("secrets", ())) <= set(compose.get("secrets", ()))
        assert set(service.get("depends_on", ())) <= set(compose["services"])


def test_compose_requires_every_secret_with_a_sentence(compose: Yaml) -> None:
    text = (DOCKER / "compose.yaml").read_text()
    required = dict(re.findall(r"\$\{(\w+):\?([^}]+)\}", text))
    assert set(required) == {"OPENCHARACTER_API_KEYS", "OPENCHARACTER_METRICS_KEY", "GRAFANA_PASSWORD"}
    assert all(len(sentence) > 20 for sentence in required.values())
    others = set(re.findall(r"\$\{(\w+)[:}]", text)) - set(required)
    assert all(re.search(rf"\$\{{{name}:-", text) for name in others)


def test_compose_configures_the_server_with_settings_it_has(compose: Yaml, stages: list[Stage]) -> None:
    prefix = "OPENCHARACTER_"
    image = {
        word.partition("=")[0] for stage in lineage(stages, "cpu") for env in stage.all("ENV") for word in env.split()
    }
    for name in ("app", "app-gpu"):
        names = {key for key in {*compose["services"][name]["environment"], *image} if key.startswith(prefix)}
        assert {key.removeprefix(prefix).lower() for key in names} <= set(Settings.model_fields)
    models = [compose["services"][name]["environment"]["OPENCHARACTER_MODEL"] for name in ("app", "app-gpu")]
    assert models == [f"${{OPENCHARACTER_MODEL:-{default}}}" for default in (TINY, OPENCHARACTER_8B)]


def test_adapters_are_read_where_their_folder_is_mounted(compose: Yaml) -> None:
    for name in ("app", "app-gpu"):
        service = compose["services"][name]
        [mounted] = [volume for volume in service["volumes"] if "ADAPTERS_FOLDER" in volume]
        folder, _, mode = mounted.partition("}:")[2].partition(":")
        assert mode == "ro"
        # Where no folder is named, the setting is empty, and there are none.
        assert service["environment"]["OPENCHARACTER_ADAPTERS_DIR"] == f"${{ADAPTERS_FOLDER:+{folder}}}"


def test_container_listens_everywhere_and_therefore_has_keys(compose: Yaml) -> None:
    keys = compose["services"]["app"]["environment"]["OPENCHARACTER_API_KEYS"]
    values = {"OPENCHARACTER_API_KEYS": "k" * 16, "OPENCHARACTER_METRICS_KEY": "m" * 16}
    given = re.sub(r"\$\{(\w+):\?[^}]+\}", lambda match: values[match[1]], keys)
    settings = Settings(host="0.0.0.0", api_keys=given)
    assert [key.get_secret_value() for key in settings.api_keys] == list(values.values())


def test_redis_writes_an_append_only_file_to_a_volume(compose: Yaml) -> None:
    redis = compose["services"]["redis"]
    command = " ".join(redis["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert redis["volumes"] == ["redis-data:/data"]
    assert compose["services"]["app"]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_prometheus_presents_a_key_where_the_server_is(compose: Yaml) -> None:
    (job,) = load_yaml("prometheus/prometheus.yaml")["scrape_configs"]
    secret = Path(job["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in compose["services"]["prometheus"]["secrets"]
    (target,) = job["static_configs"][0]["targets"]
    for name in ("app", "app-gpu"):
        assert target.split(":")[0] in compose["services"][name]["networks"]["default"]["aliases"]


def test_grafana_finds_its_datasource_and_dashboard(compose: Yaml) -> None:
    (source,) = load_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = load_yaml("grafana/provisioning/dashboards/opencharacter.yaml")["providers"]
    dashboard = load_dashboard()
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    mounts = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts


def test_dashboard_asks_for_metrics_that_the_server_exports() -> None:
    exported = set(re.findall(r"^# TYPE (\w+)", Metrics().exposition().decode(), re.MULTILINE))
    queries = [target["expr"] for panel in load_dashboard()["panels"] for target in panel["targets"]]
    asked = {re.sub(r"_bucket$", "", name) for query in queries for name in re.findall(r"opencharacter_\w+", query)}
    assert asked - exported == set()
    # A panel for each of them: what isn't looked at needn't be exported.
    assert {name for name in exported if not name.endswith("_created")} - asked == set()


def test_dashboard_panels_do_not_overlap() -> None:
    cells = [
        (column, row)
        for panel in load_dashboard()["panels"]
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24


def load_dashboard() -> Yaml:
    value: Yaml = json.loads((DOCKER / "grafana/dashboards/opencharacter.json").read_text())
    return value
