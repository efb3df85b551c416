"""``python -m tests.fakes.stripe PORT [WEBHOOK_URL SECRET]``."""

from __future__ import annotations

import sys

import uvicorn

from tests.fakes.stripe.app import Fake, build


def main() -> None:
    """Serve until it is stopped."""
    port, *hook = sys.argv[1:]
    url, secret = hook if hook else ("", "")
    fake = Fake(base=f"http://127.0.0.1:{port}", webhook_url=url, secret=secret)
    uvicorn.run(
        build(fake),
        host="127.0.0.1",
        port=int(port),
        log_level="warning",
        ws="none",
        # Clients close what is idle for 5 seconds; the server would at the same moment.
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
