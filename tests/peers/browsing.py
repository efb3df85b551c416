"""A person at a browser, beside the product: what they click, and what the browser complains of."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from typing import Any, Literal

import httpx
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.product import Product, until

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "correct horse battery staple"
# The browser reports an error page as an error; these are the ones a test asks for.
WANTED_STATUS = re.compile(r"responded with a status of (400|403|404)")
MAIL_WITHIN_S = 30.0
COPIED_WITHIN_S = 30.0
PERIOD_S, TYPED_WITHIN_S = 30, 8
WIDE, NARROW = 1280, 360
Scheme = Literal["light", "dark"]
# What the colours and the width of a screen change; all else is the same in every look.
COLOURS = ("color-contrast", "link-in-text-block")
WIDTHS = ("scrollable-region-focusable", "target-size")
LOOKS: tuple[tuple[int, Scheme, tuple[str, ...]], ...] = (
    (WIDE, "light", ()),
    (WIDE, "dark", COLOURS),
    (NARROW, "dark", COLOURS + WIDTHS),
    (NARROW, "light", WIDTHS),
)
# What another language may break: names of things, and their place on a telephone.
WORDS = (
    "aria-allowed-attr",
    "aria-valid-attr-value",
    "button-name",
    "document-title",
    "duplicate-id-aria",
    "html-has-lang",
    "html-lang-valid",
    "input-button-name",
    "label",
    "link-name",
    "select-name",
    "summary-name",
    "valid-lang",
)
# A colour that is still on its way to the other scheme has a contrast of its own.
SETTLE = """() => document.getAnimations()
    .filter(each => each.effect.getComputedTiming().iterations !== Infinity)
    .forEach(each => each.finish())
"""


@dataclass
class Reader:
    """A page in a browser, and everything it complained about."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """The cookies and permissions of the page."""
        return self.page.context

    def hear(self, message: ConsoleMessage) -> None:
        """Keep errors and refusals of the policy."""
        if message.type in ("error", "warning") and not WANTED_STATUS.search(message.text):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def go(self, path: str) -> None:
        """Open one of the product's pages."""
        self.page.goto(self.base_url + path)

    def sign_in(self, email: str, password: str) -> None:
        """Sign in and arrive at the Overview."""
        self.go("/login")
        self.page.locator("[name=login]").fill(email)
        self.page.locator("[name=password]").fill(password)
        self.page.locator("#submit-login").click()
        self.page.wait_for_url("**/dashboard")

    def sign_up(self, email: str) -> None:
        """Make an account, from a page that offers it, and arrive at the Overview."""
        self.go("/signup")
        self.page.locator("[name=email]").fill(email)
        self.page.locator("[name=password1]").fill(PASSWORD)
        self.page.locator("#submit-signup").click()
        self.page.wait_for_url("**/dashboard")

    def sign_out(self) -> None:
        """Leave, and arrive at the front page."""
        self.go("/dashboard")
        self.page.get_by_test_id("logout").click()
        self.page.wait_for_url(f"{self.base_url}/")

    def prove(self, password: str = PASSWORD) -> None:
        """Give the password once more, as the page asks for it."""
        self.page.wait_for_url("**/reauthenticate/**")
        self.page.locator("[name=password]").fill(password)
        self.page.locator("main form button[type=submit]").first.click()

    def confirm(self, link: str) -> None:
        """Follow the link that proves the address."""
        self.page.goto(link)
        self.page.locator("#submit-confirm").click()
        self.page.wait_for_url("**/dashboard")

    def copied(self) -> str:
        """What was copied last."""
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def copy(self, button: str) -> str:
        """Click what copies; return what was copied, once it is."""
        self.page.evaluate("navigator.clipboard.writeText('')")
        self.page.get_by_test_id(button).click()
        until(lambda: bool(self.copied()), within_s=COPIED_WITHIN_S)
        return self.copied()


def open_page(browser: Browser, product: Product, **look: Any) -> Reader:
    """A browser of somebody new."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | look))
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(30_000)
    reader = Reader(context.new_page(), product.demo["base_url"])
    reader.page.on("console", reader.hear)
    reader.page.on("pageerror", lambda error: reader.complaints.append(str(error)))
    return reader


def code_now(secret: str) -> str:
    """What an authenticator shows, read early enough to be typed (RFC 6238)."""
    while time.time() % PERIOD_S > PERIOD_S - TYPED_WITHIN_S:
        time.sleep(0.2)
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // PERIOD_S)))


def link_in_mail(product: Product, *, to: str) -> str:
    """The link in the newest message to somebody, as soon as there is one."""
    deadline = time.monotonic() + MAIL_WITHIN_S
    while not (links := _links(product, to)):
        assert time.monotonic() < deadline, f"no mail to {to}"
        time.sleep(0.1)
    return links[-1]


def _links(product: Product, to: str) -> list[str]:
    """The first link of each message to somebody, the oldest message first."""
    files = sorted((product.folder / "mail").glob("*.log"), key=lambda path: path.stat().st_mtime)
    found = []
    for path in files:
        message = BytesParser(policy=policy.default).parsebytes(path.read_bytes())
        body = message.get_body(("plain",))
        if message["To"] == to and body is not None:
            found += re.findall(r"https?://\S+", body.get_content())[:1]
    return found


def call(product: Product, key: str, *, model: str = "sandbox/echo") -> httpx.Response:
    """A small paid call."""
    message = {"role": "user", "content": "one two three"}
    return httpx.post(
        f"{product.demo['openai_base_url']}/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json={"model": model, "messages": [message]},
        timeout=30,
    )


def outcome(answer: httpx.Response) -> str:
    """The status of a call, and why it was refused."""
    reason = "" if answer.is_success else f" {answer.json()['error']['reason']}"
    return f"{answer.status_code}{reason}"


def faults(page: Page, *, width: int, axe: str, rules: tuple[str, ...] = ()) -> list[str]:
    """What is too wide, and what axe-core finds serious or critical; by all rules, or by some."""
    found = []
    if page.evaluate("document.documentElement.scrollWidth") > width:
        found.append(f"{page.url} is wider than {width} px")
    # Evaluated by the debugger, so that the page's own policy stays as it is.
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    only = {"runOnly": list(rules)} if rules else {}
    for violation in page.evaluate("only => axe.run(only)", only)["violations"]:
        if violation["impact"] in ("serious", "critical"):
            nodes = [node["html"][:200] for node in violation["nodes"]]
            found.append(f"{page.url}: {violation['id']}: {nodes}")
    return found


def faults_in_every_look(page: Page, *, axe: str) -> list[str]:
    """
    The same of one page wide and narrow, light and dark, without loading it again.

    All rules once; those that colours or width may break in the other looks.
    """
    found = []
    for width, scheme, rules in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.evaluate(SETTLE)
        found += [f"{scheme}: {each}" for each in faults(page, width=width, axe=axe, rules=rules)]
    page.set_viewport_size({"width": WIDE, "height": 900})
    page.emulate_media(color_scheme="light")
    return found
