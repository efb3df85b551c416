"""Signatures are those of Standard Webhooks."""

from __future__ import annotations

from accounts import webhooksigning

# The example of the standard's own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class TestHeaders:
    def test_the_published_example_has_the_published_signature(self) -> None:
        made = webhooksigning.headers(
            event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            body=b'{"test": 2432232314}',
            sent_at_s=1614265330,
            secrets=[SECRET],
        )

        assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        assert made["webhook-timestamp"] == "1614265330"

    def test_each_secret_signs(self) -> None:
        made = webhooksigning.headers(
            event_id="evt_1",
            body=b"{}",
            sent_at_s=1,
            secrets=[SECRET, webhooksigning.new_secret()],
        )

        signatures = made["webhook-signature"].split(" ")
        assert len(set(signatures)) == 2
        assert all(each.startswith("v1,") for each in signatures)


class TestNewSecret:
    def test_none_is_like_another(self) -> None:
        assert len({webhooksigning.new_secret() for _ in range(100)}) == 100
