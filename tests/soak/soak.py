"""A node under waves of calls for a while: what it holds must not grow.

    python3 tests/soak/soak.py target/release/trunkline [--calls 2000] [--minutes 20] [--waves 20] [--json FILE]

Starts one gateway and one emulated Cartesia, then `trunkline call --calls` once for each wave. Callers interrupt; every call is
recorded on a tape, which is deleted between waves as an operator's retention would. After each wave, when no call is live, memory
and descriptors of the gateway are read from /proc. It fails if a call was lost, if the last quarter of the waves needs noticeably
more than the second one, or if a task panicked. The first quarter is left out: caches and the allocator fill up.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

CLIP = "fixtures/audio/question.wav"
# Growth between the second and the last quarter that is no leak: an allocator's own ups and downs.
MEMORY_SLACK_KIB = 2048
THREADS_SLACK = 4
PATIENCE_S = 30


def start(command, scratch, name, **more):
    log = open(scratch / f"{name}.log", "w")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=scratch, **more)


def metrics(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def until_quiet(url):
    end = time.monotonic() + PATIENCE_S
    while metrics(url)["trunkline_calls"] > 0:
        if time.monotonic() > end:
            sys.exit("error: calls are live long after their end")
        time.sleep(0.2)


def held(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    field = {line.split(":")[0]: line.split(":")[1].split()[0] for line in status.splitlines() if ":" in line and line.split(":")[1].split()}
    return {"rss_kib": int(field["VmRSS"]), "threads": int(field["Threads"]), "files": len(os.listdir(f"/proc/{pid}/fd"))}


def wave(binary, url, calls, seconds, clip):
    """One wave: calls that begin over half of it and last the other half."""
    each = max(seconds / 2, 2)
    ramp = max(1, round(calls / max(seconds - each, 1)))
    command = [binary, "call", url.replace("http", "ws") + "/twilio/media", "--calls", str(calls), "--ramp", str(ramp)]
    command += ["--each-ms", str(round(each * 1000)), "--caller", clip, "--speak-every-ms", "7000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 60)
    if done.returncode != 0:
        sys.exit(f"error: the wave failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--waves", type=int, default=20)
    parser.add_argument("--json", type=pathlib.Path)
    given = parser.parse_args()
    binary, clip = os.path.abspath(given.binary), os.path.abspath(CLIP)
    each_wave, seconds = max(1, given.calls // given.waves), given.minutes * 60 / given.waves
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        tapes = scratch / "tapes"
        tapes.mkdir()
        vendor = start([binary, "emulate", "cartesia", "--listen", "127.0.0.1:0"], scratch, "vendor")
        voice = vendor.stdout.readline().split()[-1]
        environment = {
            "TRUNKLINE__SPEECH__CHAIN": "cartesia local",
            "TRUNKLINE__SPEECH__CARTESIA__URL": voice,
            "TRUNKLINE__SPEECH__CARTESIA__API_KEY": "any",
            "TRUNKLINE__TAPE__DIR": str(tapes),
            "TRUNKLINE__LOG__LEVEL": "warn",
        }
        gateway = start([binary, "serve", "--listen", "127.0.0.1:0"], scratch, "gateway", env=environment)
        try:
            url = gateway.stdout.readline().strip()
            rows = []
            for n in range(given.waves):
                begun = time.monotonic()
                report = wave(binary, url, each_wave, seconds, clip)
                until_quiet(url)
                for tape in tapes.iterdir():
                    tape.unlink()
                rows.append({"wave": n + 1, "report": report, **held(gateway.pid)})
                row = rows[-1]
                print(f"wave {n + 1:3}  {row['rss_kib']:7} KiB  {row['files']:3} files  {row['threads']:2} threads", flush=True)
                time.sleep(max(0, seconds - (time.monotonic() - begun)))
            counts = metrics(url)
        finally:
            for process in (gateway, vendor):
                process.terminate()
            code = gateway.wait(60)
            vendor.wait(60)
        log = (scratch / "gateway.log").read_text()
    judge(rows, counts, each_wave * given.waves, code, log)
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, "counts": counts}))


def judge(rows, counts, calls, code, log):
    quarter = max(1, len(rows) // 4)
    second, last = rows[quarter : 2 * quarter] or rows[:1], rows[-quarter:]
    most = lambda some, what: max(row[what] for row in some)
    ended = {name.split('"')[1]: value for name, value in counts.items() if name.startswith("trunkline_calls_ended_total")}
    refused = sum(value for name, value in counts.items() if name.startswith("trunkline_refused_total"))
    problems = []
    if ended["carrier_stopped"] != calls or sum(ended.values()) != calls:
        problems.append(f"{calls} calls were made, and ended so: {ended}")
    if refused or counts["trunkline_task_panics_total"] or counts["trunkline_tape_lines_lost_total"]:
        problems.append("calls were refused, a task panicked, or a tape has holes")
    if most(last, "rss_kib") > most(second, "rss_kib") + MEMORY_SLACK_KIB:
        problems.append("memory grows")
    if most(last, "files") > most(second, "files"):
        problems.append("files grow")
    # Threads for blocking work come and go.
    if most(last, "threads") > most(second, "threads") + THREADS_SLACK:
        problems.append("threads grow")
    if code != 0:
        problems.append(f"the gateway ended with code {code}")
    print(
        f"{calls} calls; memory {most(second, 'rss_kib')} -> {most(last, 'rss_kib')} KiB, "
        f"files {most(second, 'files')} -> {most(last, 'files')}, threads {most(second, 'threads')} -> {most(last, 'threads')}; "
        f"underruns {counts['trunkline_underruns_total']:.0f}, barge-ins {counts['trunkline_barge_ins_total']:.0f}"
    )
    if problems:
        print(log[-2000:], file=sys.stderr)
        sys.exit("error: " + "; ".join(problems))


if __name__ == "__main__":
    main()
