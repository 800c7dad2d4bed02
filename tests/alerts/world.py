"""What a drill stands on: Prometheus with shortened rules, gateways, vendors and callers, all on loopback and ended with it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
CALLER = ROOT / "fixtures" / "audio" / "question.wav"
#: What the rules wait for, and what they wait for here. Thresholds stay as they are.
WINDOWS = {"[5m]": "[15s]", "[10m]": "[20s]"}
FOR_SECONDS = 5
#: The token that the API, and with it a scrape, wants where there is trust.
API_TOKEN = "an-api-token-of-the-drill"
AUTH_TOKEN = "an-auth-token-of-the-drill"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 45
#: A busy machine makes all of this late: windows, scrapes, restarts. No wait goes on for longer.
PATIENCE_SECONDS = 180


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def until(what: str, holds: Callable[[], bool], limit: float = PATIENCE_SECONDS) -> float:
    """Seconds until it holds."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > limit:
            raise TimeoutError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.25)
    return time.monotonic() - begun


def get(url: str, seconds: float = 5) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {API_TOKEN}"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return answer.read().decode()


class Process:
    """A program, until the end of the `with`. It may be ended and started again with other arguments."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.log = folder / f"{name}.log"
        self.running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        # Nothing of the caller's shell decides what is tried.
        given = {"PATH": os.environ["PATH"], **(environment or {})}
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                command, cwd=self.folder, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.running
        self.running.send_signal(number)

    def kill(self) -> None:
        if self.running:
            self.running.kill()
            self.running.wait()
            self.running = None

    def stop(self) -> None:
        """Asks, and insists if it takes too long."""
        if not self.running:
            return
        self.running.send_signal(signal.SIGCONT)
        self.running.terminate()
        try:
            self.running.wait(STOP_SECONDS_MAX)
            self.running = None
        except subprocess.TimeoutExpired:
            self.kill()

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def answers(self, url: str) -> None:
        def there() -> bool:
            if self.running is None or self.running.poll() is not None:
                raise RuntimeError(f"{self.name} ended:\n{self.logged()[-2000:]}")
            try:
                get(url, 1)
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True

        until(f"{self.name} at {url}", there, START_SECONDS_MAX)


class Gateway(Process):
    """`trunkline serve` on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, binary: str, control: bool, settings: dict[str, str]) -> None:
        super().__init__(folder, "gateway")
        self.binary = binary
        listen = f"127.0.0.1:{free_port()}"
        #: Where it is scraped.
        self.instance = f"127.0.0.1:{free_port()}" if control else listen
        self.url, self.stream = f"http://{self.instance}", f"ws://{listen}/twilio/media"
        self.settings = {
            "SERVER__LISTEN": listen,
            **({"SERVER__CONTROL_LISTEN": self.instance} if control else {}),
            # Longer than any call of a drill: a restart cuts nobody off.
            "SERVER__DRAIN_S": "30",
            "SPEECH__PHRASE_CACHE_MIB": "0",
            "AGENT__SCRIPT__GREETING": "Hello, and thank you for calling. All of our colleagues are busy just now, and will be with you soon.",
            **settings,
        }
        self.serve()

    def serve(self, **changed: str) -> None:
        self.settings.update(changed)
        self.start([self.binary, "serve"], {f"TRUNKLINE__{name}": value for name, value in self.settings.items()})
        self.answers(f"{self.url}/healthz")

    def restart(self, **changed: str) -> None:
        """As an operator does it: it drains, and the next one has the settings that were changed."""
        self.stop()
        self.serve(**changed)


class Vendor(Process):
    """`trunkline emulate` on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, binary: str, kind: str) -> None:
        super().__init__(folder, kind)
        self.binary, self.kind, self.port = binary, kind, free_port()
        path = {"cartesia": "tts/websocket", "stt": "v1/listen"}[kind]
        self.url = f"ws://127.0.0.1:{self.port}/{path}"

    def serve(self, *options: str) -> Self:
        self.stop()
        self.start([self.binary, "emulate", self.kind, "--listen", f"127.0.0.1:{self.port}", *options])
        until(f"{self.name} listens", lambda: listens(self.port), START_SECONDS_MAX)
        return self


class Repeated:
    """Something that happens over and over, until the end of the `with`."""

    def __init__(self, once: Callable[[], None], pause: float = 0.2) -> None:
        self.over = threading.Event()
        self.once, self.pause = once, pause
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.over.is_set():
            self.once()
            self.over.wait(self.pause)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join(PATIENCE_SECONDS)


def calls(binary: str, *arguments: str, environment: dict[str, str] | None = None) -> Repeated:
    """`trunkline call`, again and again. A call that is refused, or finds a gateway that just starts, is part of a drill."""

    def once() -> None:
        # What a call says of its end is not what is judged here.
        subprocess.run(
            [binary, "call", *arguments, "--json"],
            env={"PATH": os.environ["PATH"], **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    return Repeated(once)


def load(binary: str, gateway: Gateway, number: int, seconds: float) -> Repeated:
    """Waves of so many calls at a time, each for so long."""
    each = ["--calls", str(number), "--ramp", str(number), "--each-ms", str(round(seconds * 1000))]
    return calls(binary, gateway.stream, *each, "--caller", str(CALLER), "--speak-every-ms", "9000")


def shortened(rules: str) -> str:
    for window, short in WINDOWS.items():
        rules = rules.replace(window, short)
    rules = re.sub(r"\bfor: \w+", f"for: {FOR_SECONDS}s", rules)
    left = set(re.findall(r"\[\d\w*\]", rules)) - set(WINDOWS.values())
    if left:
        sys.exit(f"error: drill.py does not shorten the window {left}")
    return rules


class Prometheus(Process):
    """The Debian package's, with the rules of deploy/ shortened; it scrapes every second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "prometheus")
        self.port = free_port()
        self.token, self.targets = folder / "metrics_token", folder / "targets.json"
        self.token.write_text(API_TOKEN)
        self.scrape()
        (folder / "alerts.yml").write_text(shortened(RULES.read_text(encoding="utf-8")))
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            "rule_files: [alerts.yml]\n"
            "scrape_configs:\n"
            "  - job_name: trunkline\n"
            f"    authorization: {{credentials_file: {self.token}}}\n"
            f"    file_sd_configs: [{{files: [{self.targets}], refresh_interval: 1s}}]\n"
        )
        listen, storage = f"--web.listen-address=127.0.0.1:{self.port}", f"--storage.tsdb.path={folder / 'tsdb'}"
        self.start(["prometheus", f"--config.file={folder / 'prometheus.yml'}", storage, listen, "--log.level=warn"])
        self.answers(f"http://127.0.0.1:{self.port}/-/ready")

    def scrape(self, *instances: str) -> None:
        self.targets.write_text(json.dumps([{"targets": list(instances)}]))

    def up(self, instance: str) -> bool:
        answer = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/query?query=up"))
        return any(row["metric"]["instance"] == instance and row["value"][1] == "1" for row in answer["data"]["result"])

    def firing(self, instance: str) -> set[str]:
        """Alerts that fire for that gateway, or for none."""
        alerts = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/alerts", 20))["data"]["alerts"]
        mine = (alert["labels"] for alert in alerts if alert["state"] == "firing")
        return {labels["alertname"] for labels in mine if labels.get("instance", instance) == instance}


class Scene(ExitStack):
    """Everything that one drill starts."""

    def __init__(self, binary: str, prometheus: Prometheus, folder: Path) -> None:
        super().__init__()
        self.binary, self.prometheus, self.folder = binary, prometheus, folder

    def gateway(self, control: bool = False, **settings: str) -> Gateway:
        """A gateway that is scraped, on a port of its own for that (`control`) or on its only one."""
        gateway = self.enter_context(Gateway(self.folder, self.binary, control, settings))
        self.prometheus.scrape(gateway.instance)
        until("the first scrape", lambda: self.prometheus.up(gateway.instance))
        until("nothing fires", lambda: not self.prometheus.firing(gateway.instance))
        return gateway

    def vendor(self, kind: str, *options: str) -> Vendor:
        return self.enter_context(Vendor(self.folder, self.binary, kind)).serve(*options)

    def load(self, gateway: Gateway, number: int, seconds: float) -> Repeated:
        return self.enter_context(load(self.binary, gateway, number, seconds))

    def calls(self, *arguments: str, environment: dict[str, str] | None = None) -> Repeated:
        return self.enter_context(calls(self.binary, *arguments, environment=environment))
