"""
The installation by systemd's units, taken step by step by a user without rights, on a tree that
nobody can write to.

The commands are those of `deploy/systemd`, read from there, in the environment that the units and
`deploy/make-env` give. Not done here: the locked packages are not fetched again (those of this
environment are read), the tests' database has its tables already, and instead of systemd's walls
there is a user who owns nothing but the folder of state.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.conf import settings

from billing.models import Usage
from proxy import heartbeats
from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
HOST = "tollgate.example.org"
# Nobody's: not in the list of users, owner of nothing.
SOMEBODY = 64123
IN_TIME_S = 60
PROXIED = {"host": HOST, "x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7"}
SANDBOX = "uvicorn proxy.sandbox.app:app"
# What a browser is told by every page where the public address is https.
TOLD = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def without_rights() -> dict[str, Any]:
    """How a program is started as somebody; who is not root has no rights as it is."""
    if os.geteuid() != 0:
        return {"umask": 0o077}
    return {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": [], "umask": 0o077}


def can(*command: str) -> bool:
    """Whether somebody without rights can do something."""
    try:
        done = subprocess.run(
            command, cwd="/", check=False, capture_output=True, **without_rights()
        )
    except OSError:
        return False
    return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of systemd's."""

    text: str

    @property
    def commands(self) -> list[list[str]]:
        """What it starts, one after the other."""
        return [shlex.split(line) for line in self._all("ExecStart")]

    @property
    def environment(self) -> dict[str, str]:
        """What it sets itself."""
        words = [word for line in self._all("Environment") for word in shlex.split(line)]
        return dict(word.split("=", 1) for word in words)

    @property
    def folder(self) -> str:
        """Where it starts its commands."""
        return self._all("WorkingDirectory")[0]

    def _all(self, name: str) -> list[str]:
        return re.findall(rf"^{name}=(.*)$", self.text, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with the product in it, below one folder."""

    folder: Path

    @property
    def tree(self) -> Path:
        """In place of /opt/tollgate."""
        return self.folder / "opt"

    @property
    def state(self) -> Path:
        """In place of /var/lib/tollgate, the one place to write to."""
        return self.folder / "state"

    def unit(self, name: str, *, instance: object = "") -> Unit:
        """A unit with the folders of this machine."""
        text = (UNITS / name).read_text().replace("%i", str(instance))
        for theirs, ours in (("/opt/tollgate", self.tree), ("/var/lib/tollgate", self.state)):
            text = text.replace(theirs, str(ours))
        return Unit(text)

    def environment(self, unit: Unit) -> dict[str, str]:
        """What a unit's processes are given, and no more."""
        file = (self.folder / "env").read_text()
        given = dict(line.split("=", 1) for line in file.splitlines())
        private = {"TMPDIR": str(self.folder / "tmp"), "HOME": "/nonexistent"}
        # The interpreter is a copy where somebody cannot start ours.
        found = {"LD_LIBRARY_PATH": str(self.folder / "python" / "lib")}
        return {"PATH": os.defpath, "LANG": "C.UTF-8"} | private | found | given | unit.environment

    def run(self, unit: Unit, *command: str) -> str:
        """Run one command as a unit would; return what it printed."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            cwd=unit.folder,
            env=self.environment(unit),
            capture_output=True,
            text=True,
            check=False,
            **without_rights(),
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def started(self, unit: Unit, *command: str, **extra: str) -> Iterator[None]:
        """A process of a unit's; it goes on until it is told to stop, and stops in time."""
        log = self.folder / f"{Path(command[0]).name}-{command[2]}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=unit.folder,
                env=self.environment(unit) | extra,
                stdout=said,
                stderr=said,
                **without_rights(),
            )
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            code = process.wait(IN_TIME_S)
        assert code in (0, -15), log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()


def interpreter(folder: Path) -> Path:
    """A Python that somebody can start: ours, or a copy where ours is in root's own folder."""
    real = Path(os.path.realpath(sys.executable))
    if can(str(real), "-c", "import json"):
        return real
    library = Path(sysconfig.get_path("stdlib"))
    place = folder / "python"
    left_out = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib")
    shutil.copytree(library, place / "lib" / library.name, ignore=left_out)
    for shared in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython3*.so*"):
        shutil.copy(shared, place / "lib")
    (place / "bin").mkdir()
    return Path(shutil.copy(real, place / "bin"))


def make_environment(*, tree: Path, folder: Path) -> None:
    """The tree's .venv, with the packages that are installed here."""
    python = interpreter(folder)
    packages = Path(sysconfig.get_path("purelib"))
    place = tree / ".venv" / "lib" / packages.parent.name / "site-packages"
    place.parent.mkdir(parents=True)
    if can("test", "-r", str(packages / "django" / "__init__.py")):
        place.symlink_to(packages)
        # Programs that keep what they write to themselves have compiled some: it would be compiled
        # at each start again.
        for kept in packages.rglob("__pycache__"):
            kept.chmod(0o755)
            for compiled in kept.iterdir():
                compiled.chmod(0o644)
    else:
        shutil.copytree(packages, place, symlinks=True)
    programs = tree / ".venv" / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(python)
    (tree / ".venv" / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    for name in ("uvicorn", "celery"):
        script = (Path(sysconfig.get_path("scripts")) / name).read_text()
        (programs / name).write_text(f"#!{programs / 'python'}\n{script.partition(chr(10))[2]}")
        (programs / name).chmod(0o755)


def close(tree: Path) -> None:
    """Let everybody read, and nobody write."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            read = 0o555 if path.is_dir() else 0o444
            path.chmod((path.stat().st_mode | read) & ~0o222)


def contents(tree: Path) -> dict[str, tuple[int, int]]:
    """Every file of a tree with what would tell that it was changed."""
    found = [path for path in (tree, *tree.rglob("*")) if not path.is_symlink()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    # Not pytest's own folder: nobody else may look into that.
    machine = Machine(Path(tempfile.mkdtemp(prefix="tollgate-machine-")))
    machine.folder.chmod(0o755)
    machine.tree.mkdir()
    for name in re.findall(r"^COPY (?!--)(\S+) \./", (ROOT / "Dockerfile").read_text(), re.M):
        put = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        put(ROOT / name, machine.tree / name)
    make_environment(tree=machine.tree, folder=machine.folder)
    close(machine.tree)
    for place in (machine.state, machine.folder / "tmp"):
        place.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(place, SOMEBODY, SOMEBODY)
    yield machine
    for path in (machine.tree, *machine.tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o200)
    shutil.rmtree(machine.folder)


def fill_in(machine: Machine, *, sandbox_url: str) -> None:
    """The operator's file of variables, made and completed as the guide says."""
    file = machine.folder / "env"
    subprocess.run([ROOT / "deploy" / "make-env", HOST, file], check=True, capture_output=True)
    assert file.stat().st_mode & 0o077 == 0
    database = settings.DATABASES["default"]
    place = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
    chosen = {
        "DATABASE_URL": f"postgres://{database['USER']}:{database['PASSWORD']}@{place}",
        "REDIS_URL": settings.REDIS_URL,
        "EMAIL_URL": "smtp+tls://tollgate:password@127.0.0.1:9",
        "SANDBOX_URL": sandbox_url,
        "SANDBOX_TOKEN": "token-of-the-sandbox",
    }
    with file.open("a") as more:
        more.writelines(f"{name}={value}\n" for name, value in chosen.items())


def until(true: Callable[[], object], *, why: Callable[[], str]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + IN_TIME_S
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def status(url: str) -> int:
    """What an address answers; 0 for nothing."""
    try:
        return httpx.get(url, headers=PROXIED, timeout=30, trust_env=False).status_code
    except httpx.TransportError:
        return 0


class TestSomebody:
    def test_cannot_write_where_the_code_is(self, machine: Machine) -> None:
        assert can("test", "-r", str(machine.tree / "manage.py"))
        assert can("touch", str(machine.state / "mine"))
        if os.geteuid() == 0:
            for name in ("new.py", "manage.py", "proxy/new.py", ".venv/bin/uvicorn"):
                assert not can("touch", str(machine.tree / name)), name


class TestImage:
    def test_its_containers_start_what_the_units_start(self, machine: Machine) -> None:
        image = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
        compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
        commands = {"tollgate-web@": json.loads(re.findall(r"^CMD (.*)$", image, re.M)[-1])}
        commands |= {f"tollgate-{name}": compose[name]["command"] for name in ("worker", "beat")}
        for name, command in commands.items():
            [started] = machine.unit(f"{name}.service", instance=8000).commands
            started[0] = Path(started[0]).name
            assert here(started) == here(command), name
        made = machine.unit("tollgate-prepare.service").commands[0][1:]
        assert made == compose["migrate"]["command"][1:]


def here(command: list[str]) -> list[str]:
    """A command without the addresses and folders in which the two differ."""
    return [word for word in command if not word.startswith(("--host=", "--schedule="))]


@pytest.mark.django_db(transaction=True)
class TestUnits:
    def test_they_bring_everything_up_and_a_paid_call_is_answered(self, machine: Machine) -> None:
        port, sandbox_port = free_port(), free_port()
        fill_in(machine, sandbox_url=f"http://127.0.0.1:{sandbox_port}")
        before = contents(machine.tree)
        prepare = machine.unit("tollgate-prepare.service")
        for command in prepare.commands:
            machine.run(prepare, *command)
        python = prepare.commands[0][0]
        seeded = json.loads(machine.run(prepare, python, "manage.py", "seed_demo", "--json"))
        sandbox = [*SANDBOX.split(), f"--port={sandbox_port}"]
        sandbox[0] = str(machine.tree / ".venv" / "bin" / sandbox[0])
        given = {
            "SANDBOX_TOKEN": "token-of-the-sandbox",
            "SANDBOX_LOG": str(machine.state / "sandbox-calls.jsonl"),
        }
        with ExitStack() as running:
            running.enter_context(machine.started(prepare, *sandbox, **given))
            for name in ("tollgate-web@", "tollgate-worker", "tollgate-beat"):
                unit = machine.unit(f"{name}.service", instance=port)
                [command] = unit.commands
                running.enter_context(machine.started(unit, *command))
            self._everything_answers(machine, port, seeded["api_key"])
        assert contents(machine.tree) == before, "somebody wrote where the code is"
        assert not list((machine.folder / "tmp").rglob("*.py*"))

    def _everything_answers(self, machine: Machine, port: int, key: str) -> None:
        def logs() -> str:
            return "\n".join(log.read_text() for log in machine.folder.glob("*.log"))

        url = f"http://127.0.0.1:{port}"
        until(lambda: status(f"{url}/readyz") == 200, why=logs)
        page = httpx.get(f"{url}/login", headers=PROXIED, timeout=60, trust_env=False)
        assert page.status_code == 200, logs()
        assert {name: page.headers[name] for name in TOLD} == TOLD
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for cookie in page.headers.get_list("set-cookie"):
            assert re.match(r"(__Host-csrftoken|__Host-sessionid)=.*; Secure", cookie), cookie
        sheet = re.search(r'href="(/static/[^"]+\.css)"', page.text)
        assert sheet is not None, page.text
        assert status(url + sheet[1]) == 200
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hello"}]},
            trust_env=False,
            timeout=IN_TIME_S,
        )
        assert answer.status_code == 200, (answer.text, logs())
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
        [row] = Usage.objects.all()
        assert row.cost > 0
        until(heartbeats.worker_answers, why=logs)
        until(lambda: any(machine.state.glob("celerybeat-schedule*")), why=logs)
