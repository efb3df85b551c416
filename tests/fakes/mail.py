"""A mail server that asks for a password, over real SMTP."""

from __future__ import annotations

import base64
import email
import socketserver
import threading
from email.message import Message
from types import TracebackType


class MailServer:
    """``with MailServer("user", "secret") as server: server.url("secret")``."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.passwords = {password}
        self.messages: list[Message] = []
        self.refused: list[str] = []
        mails = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mails._serve(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, password: str) -> str:
        """Its address as EMAIL_URL has it."""
        return f"smtp://{self.user}:{password}@127.0.0.1:{self._server.server_address[1]}"

    @property
    def recipients(self) -> list[str]:
        """To whom mail was taken, in order of the alphabet."""
        return sorted(str(message["to"]) for message in self.messages)

    def _serve(self, session: socketserver.StreamRequestHandler) -> None:
        allowed = False

        def say(line: str) -> None:
            session.wfile.write(f"{line}\r\n".encode())

        say("220 here")
        while line := session.rfile.readline().decode().strip():
            match line.split()[0].upper():
                case "EHLO":
                    say("250-here")
                    say("250 AUTH PLAIN")
                case "AUTH":
                    allowed = self._knows(line.split()[2])
                    say("235 welcome" if allowed else "535 wrong user or password")
                case "MAIL" | "RCPT" | "RSET":
                    say("250 fine" if allowed else "530 sign in first")
                case "DATA":
                    say("354 go on")
                    self.messages.append(email.message_from_bytes(_text(session)))
                    say("250 taken")
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("502 unknown")

    def _knows(self, told: str) -> bool:
        _, user, password = base64.b64decode(told).decode().split("\0")
        if user == self.user and password in self.passwords:
            return True
        self.refused.append(password)
        return False

    def __enter__(self) -> MailServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _text(session: socketserver.StreamRequestHandler) -> bytes:
    lines = iter(session.rfile.readline, b".\r\n")
    return b"".join(line[1:] if line.startswith(b"..") else line for line in lines)
