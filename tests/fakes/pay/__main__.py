"""
``make demo-pay``: the whole product beside stand-ins for those who move real money.

Starts the fake Stripe, and what ``tests.fakes.pay.chains`` brings where that is there: its
``start(folder=...)`` is a context manager that yields environment variables. Then ``make run``
with all of them. Ctrl-C stops everything that was started here.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SECRET = "whsec_demo_of_the_fake"
CHAINS = "tests.fakes.pay.chains"


def main() -> int:
    """Run until Ctrl-C; return the product's exit status."""
    port = int(os.environ.get("PORT") or 8000)
    fake = int(os.environ.get("STRIPE_PORT") or port + 12)
    with ExitStack() as stack:
        stack.callback(_stop, _stripe(fake, webhook=f"http://127.0.0.1:{port}/webhooks/stripe"))
        given = {
            "STRIPE_SECRET_KEY": "sk_test_fake",
            "STRIPE_WEBHOOK_SECRETS": SECRET,
            "STRIPE_API_BASE": f"http://127.0.0.1:{fake}",
        } | _chains(stack)
        print("For commands in another terminal:")
        print("\n".join(f"export {name}={value!r}" for name, value in given.items()), flush=True)
        product = subprocess.Popen(
            [sys.executable, "-m", "embedded.run"],
            cwd=ROOT,
            env={**os.environ, **given, "PYTHONPATH": str(ROOT / "platform")},
        )
        # The terminal tells the whole group; the product decides when it is done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: product.terminate())
        return product.wait()


def _stripe(port: int, *, webhook: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.stripe", str(port), webhook, SECRET],
        cwd=ROOT,
        start_new_session=True,
    )


def _chains(stack: ExitStack) -> dict[str, str]:
    if importlib.util.find_spec(CHAINS) is None:
        return {}
    folder = Path(os.environ.get("DATA_DIR") or "var")
    given: dict[str, str] = stack.enter_context(
        importlib.import_module(CHAINS).start(folder=folder)
    )
    return given


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


if __name__ == "__main__":
    sys.exit(main())
