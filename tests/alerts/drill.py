#!/usr/bin/env python3
"""Every alert of deploy/prometheus/alerts.yml, provoked for real and ended as docs/runbook.md says.

    python3 tests/alerts/drill.py target/release/trunkline [--only NAME]... [--write docs/runbook.md]

Starts a Prometheus (Debian's package) with the rules, their windows shortened to seconds and their thresholds left as they are;
then, for each cause of causes.py, a gateway with its vendors and callers. It waits until the alert fires, applies the remedy, waits
until it is over, and prints a table, which `--write` puts between the marks of the runbook. It takes ten minutes on
two cores that have other things to do. It fails if an alert does not fire, does not end, fires before its cause, or has no cause here.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from causes import DRILLS, Drill, is_root
from world import RULES, Prometheus, Scene, say, until

#: Alerts whose cause nobody outside can bring about, and where the rest of the proof is.
BY_RULES_ALONE = {"TrunklinePanicked": "a fault of the program cannot be provoked from outside; `tests/server/panic.rs` shows its metric"}
MARKS = "<!-- drill:start -->\n", "<!-- drill:end -->"


@dataclass
class Row:
    """What became of one alert in one drill."""

    alert: str
    cause: str
    remedy: str = "-"
    fired: float | None = None
    over: float | None = None
    beside: set[str] = field(default_factory=set)

    def line(self) -> str:
        seconds = ["-" if value is None else f"{value:.0f}" for value in (self.fired, self.over)]
        beside = ", ".join(sorted(name.removeprefix("Trunkline") for name in self.beside)) or "-"
        return f"| {self.alert} | {self.cause} | {seconds[0]} | {self.remedy} | {seconds[1]} | {beside} |"


def known_alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", RULES.read_text(encoding="utf-8"), re.M)


def covered() -> None:
    tried = {alert for drill in DRILLS for alert in drill.alerts} | set(BY_RULES_ALONE)
    if tried != set(known_alerts()):
        sys.exit(f"error: alerts.yml and causes.py differ in {sorted(tried ^ set(known_alerts()))}")


def perform(drill: Drill, binary: str, prometheus: Prometheus, folder: Path) -> list[Row]:
    rows = [Row(alert, drill.cause, drill.remedy) for alert in drill.alerts]
    with Scene(binary, prometheus, folder) as scene:
        steps = drill.perform(scene)
        gateway = next(steps)
        early = prometheus.firing(gateway.instance) & set(drill.alerts)
        if early:
            raise AssertionError(f"{early} fires before its cause")
        begun = time.monotonic()
        next(steps)

        def all_fired() -> bool:
            firing = prometheus.firing(gateway.instance)
            for row in rows:
                row.beside |= firing - {row.alert}
                if row.fired is None and row.alert in firing:
                    row.fired = time.monotonic() - begun
            return all(row.fired is not None for row in rows)

        until(f"{drill.alerts} fires", all_fired)
        if drill.log and drill.log not in gateway.logged():
            raise AssertionError(f"the log has no line {drill.log!r}:\n{gateway.logged()[-2000:]}")
        begun = time.monotonic()
        if next(steps, None) is not None:
            raise AssertionError("a drill has two stops")

        def all_over() -> bool:
            firing = prometheus.firing(gateway.instance)
            for row in rows:
                if row.over is None and row.alert not in firing:
                    row.over = time.monotonic() - begun
            return not firing & set(drill.alerts)

        until(f"{drill.alerts} is over", all_over)
    return rows


def by_rules() -> list[Row]:
    """promtool's tests of the rules as they are, not shortened."""
    subprocess.run(["promtool", "test", "rules", "alerts_test.yml"], cwd=RULES.parent, check=True, timeout=120)
    return [Row(alert, f"by `promtool test rules` only: {why}") for alert, why in BY_RULES_ALONE.items()]


HEAD = "| Alert | Provoked by | fired after, s | Ended by | over after, s | fired beside it |\n|---|---|---|---|---|---|\n"


def table(lines: list[str]) -> str:
    """In the order of the file, with several lines of one alert as they came."""
    order = known_alerts()
    return HEAD + "".join(f"{line}\n" for line in sorted(lines, key=lambda line: order.index(line.split()[1])))


def write(file: Path, rows: list[Row]) -> None:
    """Puts the table into the file. Alerts that were not tried this time (`--only`) keep the lines that they have."""
    before, _, rest = file.read_text(encoding="utf-8").partition(MARKS[0])
    old, _, after = rest.partition(MARKS[1])
    tried, known = {row.alert for row in rows}, set(known_alerts())
    kept = [line for line in old.splitlines() if line.startswith("| Trunkline") and line.split()[1] in known - tried]
    if not after:
        sys.exit(f"error: {file} has no {MARKS[0].strip()} ... {MARKS[1]}")
    version = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    said = f"Tried on {time.strftime('%Y-%m-%d')} with Prometheus {version}.\n\n"
    lines = kept + [row.line() for row in rows]
    file.write_text(before + MARKS[0] + said + table(lines) + MARKS[1] + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="alerts with this in their name")
    parser.add_argument("--write", type=Path, metavar="FILE")
    given = parser.parse_args()
    covered()
    # Whoever ends this ends all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended from outside"))
    rows, failed, binary = by_rules(), [], str(given.binary.resolve())
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "prometheus"
        home.mkdir()
        with Prometheus(home) as prometheus:
            for number, drill in enumerate(DRILLS):
                if given.only and not any(part in alert for part in given.only for alert in drill.alerts):
                    continue
                if drill.needs_root and not is_root():
                    say(f"left out, because it needs root: {drill.cause}")
                    continue
                folder = Path(scratch) / f"{number:02}"
                folder.mkdir()
                try:
                    done = perform(drill, binary, prometheus, folder)
                    rows += done
                    say("; ".join(row.line() for row in done))
                except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError):
                    failed.append(f"{'/'.join(drill.alerts)}: {drill.cause}")
                    say(f"failed: {failed[-1]}\n{traceback.format_exc()}")
    print("\n" + table([row.line() for row in rows]))
    if failed:
        sys.exit("error: failed:\n" + "\n".join(failed))
    if given.write:
        write(given.write, rows)


if __name__ == "__main__":
    main()
