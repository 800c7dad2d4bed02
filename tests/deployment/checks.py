#!/usr/bin/env python3
"""What no tool knows of the files under deploy/: that they agree with the program and with each other.

    checks.py metrics METRICS.txt EXPRESSIONS.yml    names and labels against a scrape; writes the queries of dashboard and runbook as rules
    checks.py dashboard                              the dashboard against Grafana's own types
    checks.py runbook                                a section for each alert and no other, and log lines as the program writes them
    checks.py drain                                  every grace period is longer than the drain before it
    checks.py environment compose|kubernetes|systemd FOLDER    the variables that the program is given there, `NAME=value` a line

Run from the root of the repository. `environment` writes a made-up secret under FOLDER for each file that is named.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

DEPLOY, RUNBOOK = Path("deploy"), Path("docs/runbook.md")
#: Labels that Prometheus adds to whatever it scrapes, and that of a histogram's buckets.
ADDED = {"instance", "job", "le"}
#: What a stop may take beside the drain itself: docs/operations.md.
AFTER_DRAIN_SECONDS = 120
#: Metrics that are not ours.
FOREIGN = ("up", "container_", "ALERTS")


def main() -> None:
    match sys.argv[1:]:
        case ["metrics", scrape, expressions]:
            metrics(Path(scrape).read_text(), Path(expressions))
        case ["dashboard"]:
            dashboard()
        case ["runbook"]:
            runbook()
        case ["drain"]:
            drain()
        case ["environment", where, folder]:
            environment(where, Path(folder))
        case _:
            sys.exit(__doc__)


def fail(text: str) -> None:
    sys.exit(f"error: {text}")


# --- metrics ---------------------------------------------------------------------------------------------------------


def dashboard_expressions() -> list[str]:
    board = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric = re.fullmatch(r"label_values\((.*), *(\w+)\)", variable["query"]["query"])
            found.append(f"count by ({metric[2]}) ({metric[1]})" if metric else variable["query"]["query"])
    return found


def rule_expressions() -> list[str]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def runbook_expressions() -> list[str]:
    """Every query that somebody is told to make, one a line."""
    blocks = re.findall(r"^ *```promql\n(.*?)^ *```$", RUNBOOK.read_text(), re.M | re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def scraped(text: str) -> tuple[dict[str, str], dict[str, dict[str, set[str]]]]:
    """Families with their kinds, and the values of each label that was seen."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    labels: dict[str, dict[str, set[str]]] = {}
    for name, inner in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", text, re.M):
        seen = labels.setdefault(name, {})
        for label, value in re.findall(r'([a-z_]+)="([^"]*)"', inner):
            seen.setdefault(label, set()).add(value)
    return kinds, labels


def documented() -> dict[str, set[str]]:
    """Labels of docs/metrics.md, for families that have no sample before something happens."""
    rows = re.findall(r"^\| `(trunkline_\w+)` \| \w+ \| ([^|]*)\|", Path("docs/metrics.md").read_text(), re.M)
    return {name: set(re.findall(r"`(voice|kind)`", labels)) for name, labels in rows}


def exposed(kinds: dict[str, str], name: str) -> bool:
    """Whether a scrape has samples of that name, by the rules of OpenMetrics."""
    for family, kind in kinds.items():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
        if name in (family + suffix for suffix in suffixes):
            return True
    return False


def metrics(scrape: str, expressions: Path) -> None:
    kinds, seen = scraped(scrape)
    docs = documented()
    board, told, faults, names = dashboard_expressions(), runbook_expressions(), [], set()
    for expression in board + told + rule_expressions():
        for name, matchers in re.findall(r"\b([a-z_]+_[a-z_]+|up)\b(?!\s*[(=!~])(?:\{([^}]*)\})?", expression):
            if name.startswith(FOREIGN) or not name.startswith("trunkline"):
                continue
            names.add(name)
            if not exposed(kinds, name):
                faults.append(f"{name} is no metric of this program: {expression}")
                continue
            known = seen.get(name, {})
            family = docs.get(name) or docs.get(re.sub(r"_(bucket|sum|count)$", "", name)) or set()
            for label, operator, value in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', matchers):
                if label not in ADDED | set(known) | family:
                    faults.append(f"{name} has no label {label}: {expression}")
                elif label in known and "$" not in value:
                    faults += [f"{name} never has {label}={word}" for word in value.split("|") if word not in known[label]]
            for label in re.findall(r"\bby \(([^)]*)\)", expression):
                for word in (part.strip() for part in label.split(",")):
                    if word not in ADDED | set(known) | family | {"alertname"}:
                        faults.append(f"{name} has no label {word}: {expression}")
    if faults:
        fail("\n".join(sorted(set(faults))))
    plain = [e.replace("$__rate_interval", "5m").replace("$instance", ".*") for e in board]
    rules = [{"record": f"query:number_{n}", "expr": expression} for n, expression in enumerate(plain + told)]
    expressions.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    print(f"{len(names)} metrics in {len(board)} queries of the dashboard, {len(told)} of the runbook and {len(rule_expressions())} alerts, all of them exposed")


# --- dashboard -------------------------------------------------------------------------------------------------------


def dashboard() -> None:
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    board = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    lost(board, read, "dashboard")
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        fail("two panels have the same id")
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if taken & cells or at["x"] + at["w"] > 24:
            fail(f"{panel['title']} lies on another panel, or outside")
        taken |= cells
        if panel["type"] != "row" and not (panel["targets"] and panel["description"]):
            fail(f"{panel['title']} has no query or no description")
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    if [source["type"] for source in sources] != ["prometheus"]:
        fail("the data source is not Prometheus")
    print(f"{len(ids)} panels")


def lost(ours: object, read: object, path: str) -> None:
    """A field that Grafana's types do not know is gone after reading."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for key, value in ours.items():
            if key in read:
                lost(value, read[key], f"{path}.{key}")
            elif value not in (None, [], {}, ""):
                fail(f"{path}.{key} is not known to Grafana's types")
    elif isinstance(ours, list) and isinstance(read, list):
        for n, (one, other) in enumerate(zip(ours, read, strict=True)):
            lost(one, other, f"{path}[{n}]")


# --- runbook ---------------------------------------------------------------------------------------------------------


def runbook() -> None:
    text, faults = RUNBOOK.read_text(), []
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    sections = re.findall(r"^### (Trunkline\w+)$", text, re.M)
    for name in sorted(set(rules) ^ set(sections)):
        faults.append(f"{name} has no section in the runbook" if name in rules else f"{name} is no alert")
    if len(sections) != len(set(sections)):
        faults.append("an alert has two sections")
    for name, rule in rules.items():
        if rule["annotations"].get("runbook") != f"{RUNBOOK}#{name.lower()}":
            faults.append(f"{name}: its annotation `runbook` is not {RUNBOOK}#{name.lower()}")
        row = re.search(rf"^\| \[{name}\]\(#{name.lower()}\) \| (\w+) \|", text, re.M)
        if not row or row[1] != rule["labels"]["severity"]:
            faults.append(f"{name}: the table of the runbook has another severity, or no row")
    tried = set(re.findall(r"^\| (Trunkline\w+) \|", text, re.M))
    if tried != set(rules):
        faults.append(f"tests/alerts/drill.py --write was not run since: {sorted(tried ^ set(rules))}")
    source = "\n".join(path.read_text() for path in Path("src").rglob("*.rs"))
    # One word in backquotes is a field; what is longer is the text of a line, or a command of ours.
    quoted = [word for part in re.findall(r"Log: (.*?)(?:\n\n|\Z)", text, re.S) for word in re.findall(r"`([^`]*)`", part)]
    lines = [" ".join(word.split()) for word in quoted if " " in word and not word.startswith("trunkline ")]
    faults += [f"no line of the log reads {line!r}" for line in lines if f'"{line}"' not in source]
    if not lines:
        faults.append("the runbook names no line of the log")
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}
    faults += [f"no heading #{anchor}" for anchor in re.findall(r"\]\(#([^)]*)\)", text) if anchor not in anchors]
    if faults:
        fail("\n".join(faults))
    print(f"{len(rules)} alerts, each with its section; {len(lines)} lines of the log")


# --- drain and environment -------------------------------------------------------------------------------------------


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]


def deployment() -> dict:
    return yaml.safe_load((DEPLOY / "k8s/deployment.yaml").read_text())["spec"]["template"]["spec"]


def unit() -> list[tuple[str, str]]:
    lines = (DEPLOY / "systemd/trunkline.service").read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines if re.match(r"[A-Z]\w+=", line))]


def variables(where: str) -> dict[str, str]:
    match where:
        case "compose":
            return dict(compose()["environment"])
        case "kubernetes":
            (container,) = deployment()["containers"]
            return {entry["name"]: entry.get("value", "10.0.0.7").replace("$(POD_IP)", "10.0.0.7") for entry in container["env"]}
        case "systemd":
            return dict(value.split("=", 1) for key, value in unit() if key == "Environment")
        case _:
            fail(f"no such place: {where}")
            raise AssertionError


def seconds(text: str) -> int:
    """A duration as Compose writes it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def drain() -> None:
    pod = deployment()
    (container,) = pod["containers"]
    grace = {
        "compose": seconds(compose()["stop_grace_period"]),
        "kubernetes": pod["terminationGracePeriodSeconds"] - container["lifecycle"]["preStop"]["sleep"]["seconds"],
        "systemd": int(dict(unit())["TimeoutStopSec"]),
    }
    for where, span in grace.items():
        limit = int(variables(where)["TRUNKLINE__SERVER__DRAIN_S"])
        if span < limit + AFTER_DRAIN_SECONDS:
            fail(f"{where}: a grace of {span} s is not {AFTER_DRAIN_SECONDS} s longer than a drain of {limit} s")
        print(f"{where}: drain {limit} s, grace {span} s")


def environment(where: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given = variables(where)
    for name in [name for name in given if name.endswith("_FILE")]:
        file = folder / Path(given[name]).name
        given[name] = secret(file)
    if where == "systemd":
        for credential in (value.split(":")[0] for key, value in unit() if key == "LoadCredential"):
            secret(folder / credential)
        given["CREDENTIALS_DIRECTORY"] = str(folder)
    if where == "compose":
        mounted = [volume.split(":")[0] for volume in compose()["volumes"]] + [compose()["build"]["dockerfile"]]
        if mounted != ["./settings.toml", "deploy/Dockerfile"]:
            fail(f"the gateway mounts {mounted}")
    for name, value in given.items():
        print(f"{name}={value}")


def secret(file: Path) -> str:
    file.write_text("0123456789abcdef0123456789abcdef")
    file.chmod(0o600)
    return str(file)


if __name__ == "__main__":
    main()
