"""
Settlements on this machine's disk while the database is away.

Each process appends to a file of its own, one line per settlement with its checksum, and
keeps a lock on it. A line counts once fsync has returned. Whoever finds the database back
takes every file that nobody has locked, its own given up first, and removes a file after
each of its lines was answered. A line may be sent twice; settling twice changes nothing.

    NAME.spool      waits for the database
    refused         lines that the ledger refused, for staff
    damaged         lines whose checksum is wrong: a process died while it wrote them
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from common import ids
from proxy.batching import Lane

log = structlog.get_logger(__name__)

T = TypeVar("T")

SUFFIX = ".spool"
REFUSED, DAMAGED = "refused", "damaged"
MOST_AT_ONCE = 500
CHECKSUM_LENGTH = 8


class Entry(Struct, frozen=True):
    """One settlement: when it was written down, whose it is, and all of it."""

    at: float
    id: UUID
    closing: msgspec.Raw

    @property
    def name(self) -> str:
        """The request's id as callers know it."""
        return ids.form("req_", self.id)


class Fate(Enum):
    """What became of an entry that was sent to the ledger."""

    DONE = auto()
    LATER = auto()
    REFUSED = auto()


class Waiting(Struct, frozen=True):
    """What waits on this disk: how many files, how old the oldest line is, what is for staff."""

    files: int
    age_s: float
    refused: int
    damaged: int


Settle = Callable[[list[Entry]], Awaitable[list[Fate]]]


def line_of(entry: Entry) -> bytes:
    """Return an entry as it is written."""
    text = msgspec.json.encode(entry)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def entry_of(line: bytes) -> Entry | None:
    """Return the entry of a line; None if the line is not whole."""
    checksum, text = line[:CHECKSUM_LENGTH], line[CHECKSUM_LENGTH + 1 : -1]
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return msgspec.json.decode(text, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def files(folder: Path) -> list[Path]:
    """Return the files that wait, oldest name first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def entries(path: Path) -> Iterator[Entry]:
    """Read the whole lines of a file that may be written to, or be removed, meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            entry = entry_of(line)
            if entry is not None:
                yield entry


def kept_ids(folder: Path) -> frozenset[UUID]:
    """Return the requests whose settlements wait on this disk."""
    return frozenset(entry.id for path in files(folder) for entry in entries(path))


def waiting(folder: Path) -> Waiting:
    """Say what waits, for those who watch; the oldest line of a file is its first."""
    paths = files(folder)
    firsts = [entry.at for path in paths for entry in [next(entries(path), None)] if entry]
    return Waiting(
        files=len(paths),
        age_s=max(0.0, time.time() - min(firsts)) if firsts else 0.0,
        refused=_count(folder / REFUSED),
        damaged=_count(folder / DAMAGED),
    )


def is_writable(folder: Path) -> bool:
    """Tell whether a process could begin a file here."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _count(path: Path) -> int:
    with suppress(FileNotFoundError, NotADirectoryError), path.open("rb") as file:
        return sum(1 for _ in file)
    return 0


class Spool:
    """
    One process's part of the spool: it writes to its own file and empties all of them.

    Disks are slow: whatever touches one runs in a thread of its own, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lane: Lane[bytes, None] = Lane(self._write, limit=MOST_AT_ONCE)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.emptying = asyncio.Lock()
        self.file: int | None = None
        self.path = folder
        self.size = 0

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.lane.start()

    async def close(self, *, timeout_s: float) -> None:
        """Finish what is being written and leave the file to whoever comes next."""
        await self.lane.stop(timeout_s=timeout_s)
        await self._in_thread(self._give_up)
        self.thread.shutdown(wait=False)

    async def keep(self, id: UUID, closing: bytes) -> None:
        """
        Write a settlement down; it is on the disk when this returns.

        :raises OSError: the disk is full, or the folder cannot be written to
        """
        await self.lane.put(line_of(Entry(time.time(), id, msgspec.Raw(closing))))

    async def has_work(self) -> bool:
        """Tell whether anything waits on this disk, by whomever it was written."""
        return bool(await self._in_thread(files, self.folder))

    async def empty(self, settle: Settle) -> None:
        """
        Settle whatever waits and nobody else is at work on.

        A file is removed only after ``settle`` has given every one of its lines a fate.

        :raises OSError: the folder cannot be read or written to
        """
        async with self.emptying:
            await self._in_thread(self._give_up)
            for path in await self._in_thread(files, self.folder):
                file = await self._in_thread(take, path)
                if file is None:
                    continue
                try:
                    await self._empty_one(file, settle)
                    await self._in_thread(remove, path)
                finally:
                    await self._in_thread(os.close, file)

    async def _empty_one(self, file: int, settle: Settle) -> None:
        offset = 0
        while lines := await self._in_thread(read_lines, file, offset):
            offset += sum(len(line) for line in lines)
            await self._settle_lines(lines, settle)

    async def _settle_lines(self, lines: list[bytes], settle: Settle) -> None:
        found = [(line, entry_of(line)) for line in lines]
        if damaged := [line for line, entry in found if entry is None]:
            log.error("Lines of the settle spool are damaged", count=len(damaged))
            await self._in_thread(self._put_aside, DAMAGED, damaged)
        whole = [(line, entry) for line, entry in found if entry is not None]
        fates = await settle([entry for _, entry in whole])
        refused = [line for (line, _), f in zip(whole, fates, strict=True) if f is Fate.REFUSED]
        if refused:
            await self._in_thread(self._put_aside, REFUSED, refused)
        later = [line for (line, _), f in zip(whole, fates, strict=True) if f is Fate.LATER]
        await asyncio.gather(*map(self.lane.put, later))

    async def _write(self, lines: list[bytes]) -> list[None]:
        await self._in_thread(self._append, b"".join(lines))
        return [None] * len(lines)

    def _append(self, text: bytes) -> None:
        try:
            file = self._open() if self.file is None else self.file
            write_all(file, text)
            os.fsync(file)
            self.size += len(text)
        except OSError:
            self._give_up(torn=True)
            raise

    def _open(self) -> int:
        """Begin a file; it gets its name once it is locked, or others might take it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}"
        fresh = self.folder / name
        self.path = self.folder / (name + SUFFIX)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.file, self.size = os.open(fresh, flags, 0o600), 0
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(self.path)
        sync(self.folder)
        return self.file

    def _give_up(self, torn: bool = False) -> None:
        """
        Let go of the file: the next line begins another, and anybody may empty this one.

        What the disk has of a ``torn`` line is unknown, and no other may follow it.
        """
        file, self.file = self.file, None
        if file is None:
            return
        with suppress(OSError):
            if torn:
                os.ftruncate(file, self.size)
            if self.size == 0:
                remove(self.path)
        os.close(file)

    def _put_aside(self, name: str, lines: list[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self.folder / name, flags, 0o600)
        try:
            write_all(file, b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
            os.fsync(file)
        finally:
            os.close(file)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)


def take(path: Path) -> int | None:
    """Lock a file that nobody holds and open it; None if somebody does, or it is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it before may have emptied and removed it.
        if os.fstat(file).st_nlink:
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def read_lines(file: int, offset: int) -> list[bytes]:
    """Return the next lines, the last one perhaps torn; none at the file's end."""
    with os.fdopen(os.dup(file), "rb") as reader:
        reader.seek(offset)
        return list(islice(reader, MOST_AT_ONCE))


def write_all(file: int, text: bytes) -> None:
    """
    Write all of a text.

    :raises OSError: the disk took only a part of it
    """
    left = memoryview(text)
    while left:
        left = left[os.write(file, left) :]


def remove(path: Path) -> None:
    """Remove a file, for good."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
