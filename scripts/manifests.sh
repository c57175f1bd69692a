#!/usr/bin/env bash
# Judges the examples for Kubernetes and compose without a cluster. conf/kubernetes: by the schemas of the oldest
# Kubernetes that it is for and of the newest known, an unknown or repeated key being an error as with `kubectl
# apply --dry-run=server`; what names something else in it (a probe's port, a volume, a selector); and that a
# gateway is guarded there as it should be. conf/compose: by the schema of compose. First of all, copies with one
# mistake each must be refused.
#
# The schemas come from PyPI, once. Where they, or Python's venv, can't be had it says so and ends with 75: nothing was
# judged.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -c 'import ensurepip' 2>/dev/null || {
  root=()
  ((EUID == 0)) || root=(sudo)
  "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv || {
    echo "python3-venv is not here and can't be installed (above is why)." >&2
    exit 75
  }
}
environment=target/manifests
if [[ ! -e $environment/complete ]]; then
  rm -rf "$environment"
  python3 -m venv "$environment"
  fetch() {
    "$environment/bin/pip" install --quiet --disable-pip-version-check "$@" && return
    echo "The schemas can't be fetched from PyPI: $* (above is why)." >&2
    exit 75
  }
  fetch kubernetes-validate==1.37.0
  # For its schema alone.
  fetch --no-deps docker-compose==1.29.2
  touch "$environment/complete"
fi

exec "$environment/bin/python" - <<'PYTHON'
import glob, importlib.util, json, sys
import jsonschema, kubernetes_validate, yaml

OLDEST = "1.30"  # `preStop: sleep` without a feature gate
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
COMPOSE = "conf/compose/compose.yaml"


class Once(yaml.SafeLoader):
    """A key that stands twice is a mistake. Merged ones (`<<`) may be overridden."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


Once.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))


def problems_of_object(item, others):
    """What a schema can't know, in words."""
    spec = item.get("spec", {})
    if item["kind"] == "StatefulSet":
        pod = spec["template"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            yield "the selector does not match the pods' labels"
        if spec["serviceName"] not in [o["metadata"]["name"] for o in others if o["kind"] == "Service"]:
            yield f"no service {spec['serviceName']}"
        if pod.get("serviceAccountName") not in [o["metadata"]["name"] for o in others if o["kind"] == "ServiceAccount"]:
            yield f"no service account {pod.get('serviceAccountName')}"
        for spread in pod.get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= labels.items():
                yield f"the spread over {spread['topologyKey']} does not count these pods"
        volumes = {v["name"]: v for v in pod.get("volumes", []) + [c["metadata"] for c in spec.get("volumeClaimTemplates", [])]}
        for volume in volumes.values():
            config = volume.get("configMap", {}).get("name")
            if config and config not in [o["metadata"]["name"] for o in others if o["kind"] == "ConfigMap"]:
                yield f"no config map {config}"
        used = set()
        for container in pod["containers"]:
            ports = {p["name"] for p in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port not in ports:
                    yield f"{probe}: no port {port}"
            for mount in container["volumeMounts"]:
                used.add(mount["name"])
                if mount["name"] not in volumes:
                    yield f"no volume {mount['name']}"
            guards = container.get("securityContext", {})
            if not guards.get("readOnlyRootFilesystem"):
                yield "the root file system can be written to"
            if guards.get("allowPrivilegeEscalation") is not False or guards.get("capabilities", {}).get("drop") != ["ALL"]:
                yield "the container may gain privileges"
            if "preStop" not in container.get("lifecycle", {}):
                yield "no preStop: new connections would find a closing port"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield "no limit of memory"
        for name in volumes.keys() - used:
            yield f"volume {name} is mounted nowhere"
        if not pod.get("securityContext", {}).get("runAsNonRoot"):
            yield "may run as root"
        if not any(
            o["kind"] == "PodDisruptionBudget" and o["spec"]["selector"]["matchLabels"].items() <= labels.items() for o in others
        ):
            yield "no PodDisruptionBudget"
    gateways = [o["spec"]["template"] for o in others if o["kind"] == "StatefulSet"]
    ports = {p["name"] for g in gateways for c in g["spec"]["containers"] for p in c["ports"]}
    if item["kind"] == "Service":
        if not any(spec["selector"].items() <= g["metadata"]["labels"].items() for g in gateways):
            yield "selects no pod"
        for port in spec["ports"]:
            if port["targetPort"] not in ports:
                yield f"no port {port['targetPort']}"
    if item["kind"] == "NetworkPolicy":
        for rule in spec["ingress"]:
            for port in rule["ports"]:
                if port["port"] not in ports:
                    yield f"no port {port['port']}"


def kubernetes_problems(text, versions=(OLDEST, NEWEST)):
    try:
        items = [item for item in yaml.load_all(text, Loader=Once) if item]
    except yaml.YAMLError as error:
        return [f"{error}".replace("\n", " ")]
    found = []
    for item in items:
        name = f"{item['kind']} {item['metadata']['name']}"
        for version in versions:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(f"{name} ({version}): {error.message}")
            except jsonschema.ValidationError as error:
                found.append(f"{name} ({version}): {'.'.join(map(str, error.absolute_path))}: {error.message}")
    # The rest reads what the schemas ask for.
    if not found:
        for item in items:
            found += [f"{item['kind']} {item['metadata']['name']}: {problem}" for problem in problems_of_object(item, items)]
    return found


with open(importlib.util.find_spec("compose").submodule_search_locations[0] + "/config/compose_spec.json") as file:
    COMPOSE_SCHEMA = jsonschema.Draft7Validator(json.load(file))


def compose_problems(text):
    try:
        project = yaml.load(text, Loader=Once)
    except yaml.YAMLError as error:
        return [f"{error}".replace("\n", " ")]
    found = [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in COMPOSE_SCHEMA.iter_errors(project)]
    services = {} if found else project["services"]
    for name, service in services.items():
        found += [f"{name}: no service {other}" for other in service.get("depends_on", []) if other not in services]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith(("./", "/")) and source not in project.get("volumes", {}):
                found.append(f"{name}: no volume {source}")
    return found


def row(what, verdict, detail=""):
    print(f"  {what:<58} {verdict:<7} {detail[:200]}".rstrip())


failed = False


def must_be_refused(what, check, broken):
    global failed
    found = check(broken)
    failed |= not found
    row(f"refused: {what}", "ok" if found else "WRONG", found[0] if found else "")


def changed(text, old, new):
    if old not in text:
        sys.exit(f"The example no longer has {old!r}, which this changes to see that it is judged.")
    return text.replace(old, new, 1)


manifests = {name: open(name).read() for name in sorted(glob.glob("conf/kubernetes/*.yaml"))}
one, compose = manifests["conf/kubernetes/tollgate.yaml"], open(COMPOSE).read()
for what, old, new in [
    ("a misspelled key", "terminationGracePeriodSeconds", "terminationGracePeriodSecond"),
    ("a key of another place", "periodSeconds: 2, failureThreshold: 60", "seconds: 2, failureThreshold: 60"),
    ("a text for a number", "replicas: 3", "replicas: three"),
    ("a key that stands twice", "  replicas: 3", "  replicas: 3\n  replicas: 4"),
    ("a group that has no such kind", "apiVersion: policy/v1", "apiVersion: policy/v2"),
    ("a probe of a port that is not there", "{ path: /ready, port: admin }", "{ path: /ready, port: operators }"),
    ("a volume that is not there", "{ name: state, mountPath", "{ name: stat, mountPath"),
    ("a selector that selects nothing", "selector: { app.kubernetes.io/name: tollgate }", "selector: { app.kubernetes.io/name: tolgate }"),
    ("a root file system that can be written to", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
]:
    must_be_refused(what, kubernetes_problems, changed(one, old, new))
must_be_refused("a Kubernetes too old for it", lambda text: kubernetes_problems(text, ["1.28"]), one)
must_be_refused("compose: a misspelled key", compose_problems, changed(compose, "stop_grace_period", "stop_grace_perod"))
must_be_refused("compose: a volume that is not there", compose_problems, changed(compose, "state-2:/var", "state-3:/var"))

for name, text in manifests.items():
    found = kubernetes_problems(text)
    failed |= bool(found)
    row(f"{name}, Kubernetes {OLDEST} and {NEWEST}", "failed" if found else "ok", f"{text.count('apiVersion:')} objects")
    for problem in found:
        print(f"    {problem}")
found = compose_problems(compose)
failed |= bool(found)
row(COMPOSE, "failed" if found else "ok")
for problem in found:
    print(f"    {problem}")
sys.exit(failed)
PYTHON
