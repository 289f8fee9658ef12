"""What is deployed agrees with the code, with Kafka's topics, and with itself. Nothing here needs a container."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values

from service import auth
from service.errors import Misconfigured
from service.kafka.topics import HEADER_BYTES
from service.metrics import Metrics
from service.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))

RULE_TESTS = sorted((DEPLOY / "prometheus").glob("*_test.yml"))

OF_OTHERS = {"OMP_NUM_THREADS", "POD_NAME", "POD_NAMESPACE"}
"""Variables in a container that are not the service's own: PyTorch reads one, and Kubernetes itself the pod's."""

OF_PROMETHEUS = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Series that Prometheus makes, and its client."""

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def _documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


@cache
def _compose() -> Any:
    return _documents(ROOT / "docker-compose.yml")[0]


@cache
def _manifest(kind: str) -> Any:
    (found,) = [document for path in MANIFESTS for document in _documents(path) if document["kind"] == kind]
    return found


def _pod() -> Any:
    return _manifest("StatefulSet")["spec"]["template"]["spec"]


def _container() -> Any:
    (container,) = _pod()["containers"]
    return container


def _rules() -> list[Any]:
    groups = _documents(DEPLOY / "prometheus" / "alerts.yml")[0]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> Iterator[tuple[str, str]]:
    """Where a PromQL expression is from, and the expression."""
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    yield from _shown()


def _shown() -> Iterator[tuple[str, str]]:
    """Those of the dashboards."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            yield from ((panel["title"], target["expr"]) for target in panel["targets"])
        for variable in dashboard["templating"]["list"]:
            yield variable["label"], variable["query"]["query"]


def _settings() -> dict[str, str]:
    """What the ConfigMap of Kubernetes is made of."""
    (made,) = _manifest("Kustomization")["configMapGenerator"]
    assert made["name"] == _container()["envFrom"][0]["configMapRef"]["name"]
    (name,) = made["envs"]
    return {key: value or "" for key, value in dotenv_values(DEPLOY / "kubernetes" / name).items()}


def _series() -> dict[str, set[str]]:
    """Every series that the service has, and its labels."""
    found = {}
    for instrument in _instruments():
        (family,) = instrument.collect()
        for suffix in _SUFFIXES[family.type]:
            found[family.name + suffix] = {*instrument._labelnames, *(["le"] if suffix == "_bucket" else [])}
    return found


def _instruments() -> list[Any]:
    """Of the service's own metrics."""
    metrics = Metrics()
    return [one for one in vars(metrics).values() if hasattr(one, "collect") and one is not metrics.registry]


def _topics(tmp_path: Path) -> dict[str, dict[str, str]]:
    """The topics that deploy/kafka/create-topics.sh would make with what docker-compose.yml gives it."""
    record = tmp_path / "record"
    stub = tmp_path / "kafka-topics.sh"
    stub.write_text('#!/bin/bash\necho "$@" >> "$RECORD"\n')
    stub.chmod(0o755)
    environment = {**_compose()["services"]["topics"]["environment"], "RECORD": str(record)}
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(
        [shutil.which("bash") or "bash", str(DEPLOY / "kafka" / "create-topics.sh")], env=environment, check=True
    )
    topics = {}
    for line in record.read_text().splitlines():
        options = dict(re.findall(r"--(topic|partitions|replication-factor) (\S+)", line))
        assert {"--create", "--if-not-exists"} <= set(line.split())
        topics[options.pop("topic")] = options | dict(re.findall(r"--config ([\w.]+)=(\S+)", line))
    return topics


def _seconds(duration: str) -> float:
    value, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return float(value) * {"s": 1, "m": 60}[unit]


def _tool(name: str, why: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {why}")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what is watched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_alerts_and_dashboards_ask_for_series_that_the_service_has(where: str, expression: str) -> None:
    series = _series()
    words = set(re.findall(r"\b(?:classifier_\w+|process_\w+|up\b)", expression))
    assert words, f"{where} asks for nothing of the service"
    assert words <= series.keys() | OF_PROMETHEUS


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_alerts_and_dashboards_select_and_group_by_labels_that_exist(where: str, expression: str) -> None:
    series = _series()
    of_the_scrape = {"job", "instance"}
    names = set(re.findall(r"\bclassifier_\w+", expression))
    known = of_the_scrape.union(*(series[name] for name in names))
    for name, selector in re.findall(r"\b(classifier_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= series[name] | of_the_scrape
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(grouping.replace(" ", "").split(",")) <= known


def test_the_dashboard_shows_every_instrument() -> None:
    shown = " ".join(expression for _, expression in _shown())
    families = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in _series()}
    assert {family for family in families if family not in shown} == set()


def test_every_alert_says_what_is_wrong_how_urgent_it_is_and_where_to_read_on() -> None:
    anchors = _runbook_anchors()
    for rule in _rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        path, anchor = rule["annotations"]["runbook_url"].split("#")
        assert ROOT / path == DEPLOY / "RUNBOOK.md", rule["alert"]
        assert anchor in anchors, rule["alert"]
        assert anchor == rule["alert"].lower()


def test_the_runbook_says_which_alerts_are_critical() -> None:
    (named,) = re.findall(r"^Critical, to be looked at now: ([\w,\s]+)\.", _runbook(), re.MULTILINE)
    assert named.replace("\n", " ").split(", ") == [
        rule["alert"] for rule in _rules() if rule["labels"]["severity"] == "critical"
    ]


def test_the_runbook_has_every_metric() -> None:
    rows = {}
    for name, *cells in re.findall(
        r"^\| `(classifier_\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$", _runbook(), re.MULTILINE
    ):
        rows[name] = cells
    exposed = {}
    for instrument in _instruments():
        (family,) = instrument.collect()
        name = family.name + ("_total" if family.type == "counter" else "")
        exposed[name] = [family.type, ", ".join(instrument._labelnames), family.documentation]
    assert rows == exposed


def test_links_within_the_runbook_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", _runbook())) <= _runbook_anchors()


def _runbook() -> str:
    return (DEPLOY / "RUNBOOK.md").read_text()


def _runbook_anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _runbook(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_alert_has_a_rule_test_that_wants_it_to_fire_and_one_that_wants_it_silent() -> None:
    """Whether it does is for promtool to say, in a test below, where there is one."""
    tests = [test for path in RULE_TESTS for test in _documents(path)[0]["tests"]]
    expected = [(one["alertname"], bool(one["exp_alerts"])) for test in tests for one in test["alert_rule_test"]]
    for rule in _rules():
        assert (rule["alert"], True) in expected, f"no test wants {rule['alert']} to fire"
        assert (rule["alert"], False) in expected, f"no test wants {rule['alert']} to be silent"


def test_dashboards_use_the_datasource_that_is_provisioned_and_lie_where_grafana_looks() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    uids = {one["uid"] for path in provisioning.glob("datasources/*.yml") for one in _documents(path)[0]["datasources"]}
    assert DASHBOARDS
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        panels = dashboard["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} <= uids
        assert len({panel["id"] for panel in panels}) == len(panels)
        places = [panel["gridPos"] for panel in panels]
        assert len({(place["x"], place["y"]) for place in places}) == len(places)
        assert all(place["x"] + place["w"] <= 24 for place in places)
    (provider,) = _documents(provisioning / "dashboards" / "atat-broker.yml")[0]["providers"]
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in _compose()["services"]["grafana"]["volumes"]}
    assert ROOT / mounts[provider["options"]["path"]] == DEPLOY / "grafana" / "dashboards"


def test_prometheus_accepts_its_configuration_and_the_alerts_pass_their_tests() -> None:
    promtool = _tool("promtool", "it is in Debian's package prometheus")
    _run(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    _run(promtool, "check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))
    _run(promtool, "test", "rules", *map(str, RULE_TESTS))


def test_alerts_name_the_job_that_prometheus_gives_the_service() -> None:
    jobs = set(re.findall(r'job="([^"]+)"', " ".join(rule["expr"] for rule in _rules())))
    scraped = _documents(DEPLOY / "prometheus" / "prometheus.yml")[0]["scrape_configs"]
    assert jobs == {one["job_name"] for one in scraped}
    assert jobs == {_manifest("Service")["metadata"]["name"]}  # the operator's name for the job
    (target,) = scraped[0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in _compose()["services"]


# --- settings -----------------------------------------------------------------------------------------------------


def _compose_environment() -> dict[str, str]:
    found: dict[str, str] = _compose()["services"]["atat-broker"]["environment"]
    return found


def _kubernetes_environment() -> dict[str, str]:
    """What the container gets; of what Kubernetes fills in only the name."""
    config = _settings()
    return config | {one["name"]: one.get("value", "") for one in _container()["env"]}


def _image_environment() -> dict[str, str]:
    last = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    return dict(re.findall(r"(HTTP_\w+)=(\S+)", "\n".join(re.findall(r"^[^#].*", last, re.MULTILINE))))


@pytest.mark.parametrize("environment", [_compose_environment(), _kubernetes_environment(), _image_environment()])
def test_every_variable_that_the_service_is_given_is_a_setting(environment: dict[str, str]) -> None:
    assert environment
    known = set(Settings.variables())
    for name in environment.keys() - OF_OTHERS:
        assert {name, name.removesuffix("_FILE")} & known or name.startswith("KAFKA_CONFIG_"), name
    assert all(isinstance(value, str) for value in environment.values()), "a number or a boolean needs quotes"


@pytest.mark.parametrize("environment", [_compose_environment(), _kubernetes_environment()])
def test_the_service_accepts_what_it_is_given(environment: dict[str, str]) -> None:
    settings = Settings.from_env({name: value for name, value in environment.items() if not name.endswith("_FILE")})
    assert settings.kafka_bootstrap_servers
    assert settings.kafka_config["auto.offset.reset"].get_secret_value() in {"earliest", "latest"}


def test_nobody_reaches_the_api_by_mistake(tmp_path: Path) -> None:
    image, compose, kubernetes = _image_environment(), _compose_environment(), _kubernetes_environment()
    assert Settings.from_env(image).http_host == "127.0.0.1"  # of the container: it starts, and nobody reaches it
    for opened in (image | {"HTTP_HOST": compose["HTTP_HOST"]}, image | {"HTTP_HOST": kubernetes["HTTP_HOST"]}):
        with pytest.raises(Misconfigured, match="HTTP_TOKENS_FILE"):
            auth.tokens(Settings.from_env(opened))
    assert auth.tokens(Settings.from_env(image | compose)) is None  # published on loopback only, as a test below says
    tokens = tmp_path / Path(kubernetes["HTTP_TOKENS_FILE"]).name
    text = _manifest("Secret")["stringData"][tokens.name]
    tokens.write_text(text.replace("REPLACE", sha256(b"token").hexdigest()))
    found = auth.tokens(Settings.from_env(image | {"HTTP_TOKENS_FILE": str(tokens)}))
    assert found is not None
    assert found.holder("token") == "operator"
    assert "HTTP_OPEN" not in kubernetes


def test_the_service_is_given_time_to_drain_before_it_is_killed() -> None:
    drain = Settings.from_env(_compose_environment()).drain_seconds
    assert _seconds(_compose()["services"]["atat-broker"]["stop_grace_period"]) > drain
    assert _pod()["terminationGracePeriodSeconds"] > float(_kubernetes_environment()["DRAIN_SECONDS"])


def test_a_worker_keeps_its_transactional_id_when_it_comes_back() -> None:
    variables = {one["name"]: one for one in _container()["env"]}
    assert variables["KAFKA_TRANSACTIONAL_ID"]["value"] == "$(POD_NAMESPACE)-$(POD_NAME)"
    for name in ("namespace", "name"):
        assert variables[f"POD_{name.upper()}"]["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.{name}"
    assert _compose_environment()["KAFKA_TRANSACTIONAL_ID"]


def test_secrets_reach_the_service_as_files_of_the_secret_that_is_mounted() -> None:
    keys = set(_manifest("Secret")["stringData"])
    (mount,) = [one for one in _container()["volumeMounts"] if one["name"] == "secrets"]
    files = {name: Path(value) for name, value in _kubernetes_environment().items() if name.endswith("_FILE")}
    assert {path.parent for path in files.values()} == {Path(mount["mountPath"])}
    assert {path.name for path in files.values()} == keys
    (volume,) = [one for one in _pod()["volumes"] if one["name"] == "secrets"]
    assert volume["secret"]["secretName"] == _manifest("Secret")["metadata"]["name"]
    assert all("REPLACE" in value for value in _manifest("Secret")["stringData"].values())
    authentication = _manifest("TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {one["key"] for one in authentication} <= keys


# --- Kafka and Redis ----------------------------------------------------------------------------------------------


def test_the_topics_that_are_made_are_those_that_the_service_uses_and_pass_its_check(tmp_path: Path) -> None:
    topics = _topics(tmp_path)
    settings = Settings.from_env(_compose_environment())
    names = [*settings.input_topics, settings.kafka_output_topic, settings.kafka_dead_letter_topic]
    assert sorted(names) == sorted(topics)
    assert {topic["cleanup.policy"] for topic in topics.values()} == {"delete"}
    largest = max(int(topics[name]["max.message.bytes"]) for name in settings.input_topics)
    assert int(topics[settings.kafka_dead_letter_topic]["max.message.bytes"]) >= largest + HEADER_BYTES


def test_the_longest_dead_letter_passes_the_producers_own_limit(tmp_path: Path) -> None:
    longest = int(_topics(tmp_path)["dead-letters"]["max.message.bytes"])
    for environment in (_compose_environment(), _kubernetes_environment()):
        assert int(environment["KAFKA_CONFIG_MESSAGE_MAX_BYTES"]) >= longest


def test_there_are_never_more_workers_than_partitions(tmp_path: Path) -> None:
    scaled = _manifest("ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]
    config = _settings()
    assert scaled["minReplicaCount"] <= scaled["maxReplicaCount"]
    assert scaled["maxReplicaCount"] <= int(_topics(tmp_path)[config["KAFKA_INPUT_TOPICS"]]["partitions"])
    assert scaled["scaleTargetRef"]["name"] == _manifest("StatefulSet")["metadata"]["name"]
    assert trigger["metadata"]["consumerGroup"] == config["KAFKA_GROUP_ID"]
    assert "topic" not in trigger["metadata"]  # all that the group reads: there may be several
    assert trigger["metadata"]["bootstrapServers"] == config["KAFKA_BOOTSTRAP_SERVERS"]


def test_topics_appear_only_when_they_are_made() -> None:
    assert _compose()["services"]["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_cache_refuses_rather_than_forgets() -> None:
    command = _compose()["services"]["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--maxmemory"]


# --- containers ---------------------------------------------------------------------------------------------------


def test_the_compose_file_follows_the_compose_specification() -> None:
    checker = _tool("check-jsonschema", "the Python package of that name has the specification's schema")
    _run(checker, "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml"))


def test_compose_publishes_on_loopback_only_and_mounts_what_exists() -> None:
    for name, service in _compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert source in _compose()["volumes"] or (ROOT / source).exists(), f"{name} mounts {source}"


def test_every_server_says_whether_it_is_healthy_and_is_waited_for() -> None:
    services = _compose()["services"]
    once = {"topics": "service_completed_successfully"}
    for name, service in services.items():
        assert name in once or "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert how["condition"] == once.get(needed, "service_healthy")


def test_the_image_has_all_that_it_copies_and_runs_as_nobody_in_particular() -> None:
    text = (ROOT / "Dockerfile").read_text()
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) == _pod()["securityContext"]["runAsUser"] > 0
    assert "--constraint constraints.txt" in text


def test_kubernetes_asks_the_addresses_that_the_api_has() -> None:
    container = _container()
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.from_env({}).http_port
    assert _pod()["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_kubernetes_manifests_belong_together() -> None:
    listed = set(_manifest("Kustomization")["resources"])
    assert listed == {path.name for path in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
    labels = _manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert _manifest("StatefulSet")["spec"]["selector"]["matchLabels"] == labels
    assert _manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert _manifest("Service")["spec"]["selector"] == labels
    assert _manifest("ServiceMonitor")["spec"]["selector"]["matchLabels"] == _manifest("Service")["metadata"]["labels"]
    assert _manifest("StatefulSet")["spec"]["serviceName"] == _manifest("Service")["metadata"]["name"]
    (image,) = _manifest("Kustomization")["images"]
    assert image["name"] == _container()["image"]
    pod = _manifest("Deployment")["spec"]["template"]  # of commands: like a worker's, but no worker
    assert pod["metadata"]["labels"] != labels
    (commands,) = pod["spec"]["containers"]
    for key in ("image", "envFrom", "volumeMounts", "securityContext"):
        assert commands[key] == _container()[key]
    assert all(one in _container()["env"] for one in commands["env"])
    assert pod["spec"]["securityContext"] == _pod()["securityContext"]


def test_kubernetes_scales_by_the_lag_of_the_workers_own_group() -> None:
    settings, (trigger,) = _settings(), _manifest("ScaledObject")["spec"]["triggers"]
    taken = {}
    for replacement in _manifest("Kustomization")["replacements"]:
        setting = replacement["source"]["fieldPath"].removeprefix("data.")
        ((target,),) = (one["fieldPaths"] for one in replacement["targets"])
        taken[target.removeprefix("spec.triggers.0.metadata.")] = setting
    assert taken.keys() == {"bootstrapServers", "consumerGroup"}
    assert {name: settings[setting] for name, setting in taken.items()}.items() <= trigger["metadata"].items()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_containers_health_is_what_healthz_says(status: int, code: int) -> None:
    class Healthz(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Healthz) as server:
        Thread(target=server.handle_request).start()
        assert _healthcheck(str(server.server_port)) == code


def test_a_worker_without_http_counts_as_healthy_and_one_that_does_not_answer_does_not() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        closed = str(server.server_port)
    assert _healthcheck("none") == 0
    assert _healthcheck(closed) == 1


def _healthcheck(port: str) -> int:
    environment = {"HTTP_PORT": port, "http_proxy": "http://127.0.0.1:9"}
    script = str(DEPLOY / "healthcheck.py")
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, check=False).returncode
