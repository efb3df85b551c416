from __future__ import annotations

from pathlib import Path

from django.core.mail import EmailMessage
from django.core.mail.backends.filebased import EmailBackend

from embedded.mailbox import Mailbox

LINK = f"http://127.0.0.1:8000/accounts/confirm-email/{'Mg' * 50}:1v/?a=b&c=d"


def send(folder: Path, *, to: str) -> None:
    mail = EmailMessage("Bitte bestätigen", f"Grüße!\n\n{LINK}\n\nBye", "noreply@localhost", [to])
    EmailBackend(file_path=str(folder)).send_messages([mail])


class TestNewLines:
    def test_a_new_message_is_one_line_with_its_whole_link(self, tmp_path: Path) -> None:
        mailbox = Mailbox(folder=tmp_path)
        send(tmp_path, to="ada@example.com")

        assert mailbox.new_lines() == [f"mail to ada@example.com: Bitte bestätigen: {LINK}"]
        assert mailbox.new_lines() == []

    def test_old_mail_is_not_shown_again(self, tmp_path: Path) -> None:
        send(tmp_path, to="old@example.com")

        assert Mailbox(folder=tmp_path).new_lines() == []
