"""The virtual environment of the benchmarks: eventbus from this tree, the peers, and matplotlib.

    python -m benchmarks.environment [arguments of python -m benchmarks]

Makes `.venv-bench` with uv where it is installed, else with venv and pip, installs what is missing, and runs the
benchmarks in it. A peer that cannot be installed is noted with the reason, and asked for again the next time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-bench"
NOTES = FOLDER / "not-installed.json"
READY = FOLDER / "installed.json"  # for which folder, and what

WANTED = (
    "blinker",
    "pyee",
    "psygnal",
    "eventsourcing",
    "huey",
    "litequeue",
    "persist-queue",
    "bubus",
    "matplotlib",
)


def not_installed() -> dict[str, str]:
    """Distributions that could not be installed, and why."""
    try:
        found: dict[str, str] = json.loads(NOTES.read_text())
    except (OSError, ValueError):
        return {}
    return found


def python() -> Path:
    """The interpreter of the environment."""
    return FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make() -> None:
    """Make the environment, or complete it. CalledProcessError if eventbus itself cannot be installed."""
    if not (python().exists() and _installed().get("folder") == str(ROOT)):
        shutil.rmtree(FOLDER, ignore_errors=True)
        make_venv()
    ready = _installed()
    project = str((ROOT / "pyproject.toml").stat().st_mtime)
    if ready.get("project") != project:
        print("installing eventbus from this tree ...", file=sys.stderr)
        install("-e", str(ROOT)).check_returncode()
    reasons: dict[str, str] = {}
    for distribution in WANTED:
        if distribution not in ready.get("wanted", "").split():
            print(f"installing {distribution} ...", file=sys.stderr)
            done = install(distribution)
            if done.returncode:
                reasons[distribution] = "could not be installed: " + _last_line(done.stderr)
    NOTES.write_text(json.dumps(reasons))
    installed = " ".join(each for each in WANTED if each not in reasons)
    READY.write_text(json.dumps({"folder": str(ROOT), "project": project, "wanted": installed}))


def _installed() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(READY.read_text())
    except (OSError, ValueError):
        return {}
    return found


def make_venv() -> None:
    """An empty environment."""
    uv = shutil.which("uv")
    if uv and not subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(FOLDER)]).returncode:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)


def install(*what: str) -> subprocess.CompletedProcess[str]:
    """With uv; with pip where that fails, as uv may not reach the index that pip is configured for."""
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", str(python()), *what]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return done
    command = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    return subprocess.run(command, capture_output=True, text=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason was given"


if __name__ == "__main__":
    make()
    sys.exit(subprocess.run([str(python()), "-m", "benchmarks", *sys.argv[1:]], cwd=ROOT).returncode)
