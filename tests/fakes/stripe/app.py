"""
A stand-in for Stripe's API over real HTTP, with its pages and its signed webhooks.

Idempotency keys are honoured as Stripe does: the same answer again, an error where the
parameters differ. Every call and every object is held against Stripe's description: a call
that Stripe would refuse is refused, and what differs is kept in ``wrong``, which fails tests.
``/_fake`` is for tests: what people and banks do, what goes wrong, and everything that happened.
"""

from __future__ import annotations

import asyncio
import html
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import stripe
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.stripe import description, taxes
from tests.fakes.stripe.bank import Bank, Failure, public
from tests.fakes.stripe.form import Body, parse

PAGE = """<!doctype html><html lang="en"><title>Fake Checkout</title>
<h1>Fake Checkout</h1><p>{what}: {amount}</p>
<form method="post"><label>Card number
<input name="number" value="4242 4242 4242 4242" data-testid="card-number"></label>
<button data-testid="pay">Pay</button></form><p>{message}</p><p><a href="{back}">Back</a></p>"""


class Fake:
    """One account at Stripe."""

    def __init__(self, *, base: str, webhook_url: str = "", secret: str = "") -> None:
        self.base = base
        self.bank = Bank()
        self.answers: dict[str, tuple[str, int, Body]] = {}
        self.calls: list[Body] = []
        self.wrong: list[str] = []
        self.knobs: Body = {
            "webhook_url": webhook_url,
            "secret": secret,
            "duplicate": 1,
            "drop": False,
            "shuffle": False,
            "delay_s": 0.0,
            "refund_status": "succeeded",
            "fail": None,
            "key": "",
            "page": 100,
        }
        self._tasks: set[asyncio.Task[None]] = set()

    # -- The API ----------------------------------------------------------------------------

    async def api(self, request: Request) -> Response:
        """Answer one call of the API."""
        text = (await request.body()).decode() if request.method == "POST" else request.url.query
        path = request.url.path.removeprefix("/v1/")
        self.calls.append({"method": request.method, "path": path})
        if self.knobs["key"] not in request.headers.get("authorization", ""):
            return _error(Failure(401, "api_key_expired", "Expired API key."))
        fault = self.knobs["fail"]
        if fault and path.startswith(fault["path"]) and fault["when"] == "before":
            self._use_up(fault)
            return _error(Failure(500, "api_error", "Broken."))
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        status, body = self._once(
            key, f"{path}?{text}", lambda: self._act(request.method, path, text)
        )
        self._send_news()
        if fault and path.startswith(fault["path"]) and fault["when"] == "after":
            self._use_up(fault)
            return _error(Failure(500, "api_error", "Done, and the answer is lost."))
        return JSONResponse(body, status_code=status)

    def _use_up(self, fault: Body) -> None:
        fault["count"] -= 1
        if fault["count"] <= 0:
            self.knobs["fail"] = None

    def _once(self, key: str, said: str, act: Callable[[], Body]) -> tuple[int, Body]:
        if key in self.answers and key:
            before, status, body = self.answers[key]
            if before != said:
                failure = Failure(400, "idempotency_key_in_use", "Another call had this key.")
                return 400, {"error": failure.body | {"type": "idempotency_error"}}
            return status, body
        try:
            status, body = 200, act()
        except Failure as failure:
            kind = {"type": "invalid_request_error"} | failure.body
            status, body = failure.status, {"error": kind}
        if key:
            self.answers[key] = (said, status, body)
        return status, body

    def _act(self, method: str, path: str, text: str) -> Body:
        wanted = parse(text)
        if why := description.refusal(method, path, wanted):
            self.wrong.append(f"{method} {path}: {why}")
            raise Failure(400, "parameter_unknown", why)
        expand = wanted.pop("expand", [])
        if method == "DELETE" and path.startswith("customers/"):
            return self._checked(self._customer_gone(path.split("/")[1]))
        found = self._made(path, wanted) if method == "POST" else self._read(path, wanted)
        for each in expand:
            if not description.expandable(found, each):
                self.wrong.append(f"{method} {path}: {each} cannot be expanded")
        return self._checked(self.bank.expand(found, expand))

    def _customer_gone(self, name: str) -> Body:
        self.bank.tell("customer.deleted", self.bank.get(name, "customer"))
        self.bank.objects[name] = {"id": name, "object": "customer", "deleted": True}
        return self.bank.objects[name]

    def _checked(self, found: Body) -> Body:
        shown: Body = public(found)
        self.wrong += [each for each in description.faults(shown) if each not in self.wrong]
        return shown

    def _made(self, path: str, wanted: Body) -> Body:
        bank = self.bank
        match path.split("/"):
            case ["customers"]:
                return bank.make("cus", "customer", **wanted)
            case ["checkout", "sessions"]:
                return bank.session(wanted, self.base)
            case ["checkout", "sessions", name, "expire"]:
                return self._expire(bank.get(name, "checkout.session"))
            case ["billing_portal", "sessions"]:
                bank.get(wanted["customer"], "customer")
                return bank.make(
                    "bps", "billing_portal.session", url=f"{self.base}/p/portal", **wanted
                )
            case ["payment_intents"]:
                return self._intent(wanted)
            case ["payment_methods", name, "detach"]:
                found = bank.get(name, "payment_method")
                found["customer"] = None
                bank.tell("payment_method.detached", found)
                return found
            case ["refunds"]:
                return self._refund(
                    bank.get(wanted["payment_intent"], "payment_intent"),
                    int(wanted["amount"]),
                    wanted.get("metadata") or {},
                    status=self.knobs["refund_status"],
                )
            case ["tax", "calculations"]:
                return taxes.calculate(bank, wanted)
        raise Failure(404, "unknown", f"The fake has no POST {path}")

    def _expire(self, session: Body) -> Body:
        if session["status"] != "open":
            raise Failure(400, "", "Only Checkout Sessions with a status of open can be expired.")
        session |= {"status": "expired", "url": None}
        self.bank.tell("checkout.session.expired", session)
        return session

    def _intent(self, wanted: Body) -> Body:
        bank = self.bank
        method = bank.get(wanted["payment_method"], "payment_method")
        if method["customer"] != wanted["customer"]:
            raise Failure(400, "payment_method_unexpected_state", "Not the customer's card.")
        intent = bank.intent(
            amount=int(wanted["amount"]),
            currency=wanted["currency"],
            customer=wanted["customer"],
            metadata=wanted.get("metadata") or {},
            hooks=wanted.get("hooks"),
        )
        bank.pay(intent, method, off_session=wanted.get("off_session") == "true")
        taxes.record(bank, intent)
        return intent

    def _refund(self, intent: Body, amount: int, metadata: Body, *, status: str) -> Body:
        made = self.bank.refund(intent, amount, metadata, status=status)
        taxes.reverse(self.bank, intent, made)
        return made

    def _read(self, path: str, wanted: Body) -> Body:
        bank = self.bank
        match path.split("/"):
            case ["payment_intents", "search"]:
                name = wanted["query"].split("'")[-2]
                rows = [
                    each
                    for each in bank.all("payment_intent")
                    if each["metadata"].get("top_up") == name
                ]
                return _list(rows) | {"object": "search_result"}
            case ["checkout", "sessions"]:
                return _list(
                    [
                        each
                        for each in bank.all("checkout.session")
                        if each["payment_intent"] == wanted["payment_intent"]
                    ]
                )
            case ["events"]:
                rows = [each for each in bank.all("event") if not each["_delivered"]]
                return self._page_of(rows, wanted)
            case ["refunds"]:
                of = "charge" if "charge" in wanted else "payment_intent"
                return _list([each for each in bank.all("refund") if each[of] == wanted[of]])
            case ["balance_transactions"]:
                rows = bank.all("balance_transaction")
                since = int((wanted.get("created") or {}).get("gte") or 0)
                rows = [each for each in rows if each["created"] >= since]
                if "source" in wanted:
                    rows = [each for each in rows if each["source"] == wanted["source"]]
                return _list(rows)
            case [*_, name] if name in bank.objects:
                return bank.objects[name]
        raise Failure(404, "resource_missing", f"No such object: {path}")

    def _page_of(self, rows: list[Body], wanted: Body) -> Body:
        names = [each["id"] for each in rows]
        start = names.index(wanted["starting_after"]) + 1 if "starting_after" in wanted else 0
        end = start + min(int(wanted["limit"]), self.knobs["page"])
        return _list(rows[start:end]) | {"has_more": end < len(rows)}

    # -- Pages ------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page where people pay."""
        session = self.bank.objects[request.path_params["name"]]
        message = ""
        if request.method == "POST":
            number = parse((await request.body()).decode())["number"]
            try:
                self.bank.complete(session, number)
            except Failure as failure:
                message = str(failure)
            self._send_news()
            if not message:
                done = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
                return RedirectResponse(done, status_code=303)
        return HTMLResponse(
            PAGE.format(
                what="Pay" if session["mode"] == "payment" else "Save a card",
                amount=f"${session['amount_total'] / 100:.2f}",
                message=html.escape(message),
                back=html.escape(session["cancel_url"]),
            )
        )

    async def portal(self, request: Request) -> Response:
        """The page of invoices and addresses."""
        return HTMLResponse("<!doctype html><title>Fake portal</title><h1>Customer portal</h1>")

    # -- What tests do ----------------------------------------------------------------------

    async def control(self, request: Request) -> Response:
        """Do what people, banks and the weather do."""
        said = json.loads(await request.body())
        found = self._control(said.pop("do"), said)
        if said.get("quiet"):
            self.bank.news.clear()
        self._send_news()
        return JSONResponse(found)

    def _control(self, what: str, said: Body) -> Any:
        bank = self.bank
        quiet = said.pop("quiet", False)
        match what:
            case "reset":
                knobs = {name: self.knobs[name] for name in ("webhook_url", "secret")}
                self.__init__(base=self.base, **knobs)  # type: ignore[misc]  # begins anew
            case "knobs":
                self.knobs |= said
            case "bank":
                for name, value in said.items():
                    setattr(bank, name, value)
            case "change":
                bank.objects[said["id"]] |= said["facts"]
                return bank.objects[said["id"]]
            case "complete":
                session = bank.objects[said.pop("id")]
                bank.complete(session, said.pop("number"), **said)
                return session
            case "arrive":
                bank.arrive(bank.objects[said["id"]], failed=said["failed"])
            case "expire":
                session = bank.objects[said["id"]]
                session["status"] = "expired"
                bank.tell("checkout.session.expired", session)
            case "stray":
                intent = bank.intent(amount=said["amount"], currency=said["currency"], metadata={})
                bank.settle(intent, bank.card("4242424242424242", None))
                return intent
            case "refund":
                return self._refund(
                    bank.objects[said["id"]], said["amount"], {}, status="succeeded"
                )
            case "end_refund":
                refund = bank.objects[said["id"]]
                bank.end_refund(refund, said["status"])
                taxes.restore(bank, bank.objects[refund["payment_intent"]], refund)
            case "dispute":
                return bank.dispute(said["id"], said.get("amount"), said.get("status", ""))
            case "end_dispute":
                bank.end_dispute(bank.objects[said["id"]], said["status"])
            case "warn":
                return bank.warn(said["id"])
            case "payout":
                return bank.payout(said["amount"])
            case "fail_payout":
                bank.fail_payout(bank.objects[said["id"]])
            case "delete_customer":
                self._customer_gone(said["id"])
            case "state":
                objects = {name: self._checked(each) for name, each in bank.objects.items()}
                return {"objects": objects, "calls": self.calls, "wrong": self.wrong}
        if quiet:
            bank.news.clear()
        return {}

    # -- Webhooks ---------------------------------------------------------------------------

    def _send_news(self) -> None:
        news, self.bank.news = self.bank.news, []
        if not self.knobs["webhook_url"] or self.knobs["drop"]:
            return
        copies = news * int(self.knobs["duplicate"])
        if self.knobs["shuffle"]:
            random.shuffle(copies)
        if copies:
            task = asyncio.ensure_future(self._deliver(copies))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, events: list[Body]) -> None:
        await asyncio.sleep(self.knobs["delay_s"])
        async with httpx.AsyncClient(timeout=10) as client:
            for event in events:
                body = json.dumps(self._checked(event))
                signed = stripe.WebhookSignature.generate_signature_header(
                    body, self.knobs["secret"]
                )
                try:
                    answer = await client.post(
                        self.knobs["webhook_url"],
                        content=body,
                        headers={"stripe-signature": signed, "content-type": "application/json"},
                    )
                except httpx.HTTPError:
                    continue
                event["_delivered"] = event["_delivered"] or answer.is_success


def _list(rows: list[Body]) -> Body:
    return {"object": "list", "data": rows, "has_more": False, "url": "/v1"}


def _error(failure: Failure) -> Response:
    return JSONResponse({"error": failure.body | {"type": "api_error"}}, status_code=failure.status)


def build(fake: Fake) -> Starlette:
    """The application of one account."""

    def route(path: str, serve: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        return Route(path, serve, methods=list(methods))

    return Starlette(
        routes=[
            route("/v1/{path:path}", fake.api, "GET", "POST", "DELETE"),
            route("/c/pay/{name}", fake.page, "GET", "POST"),
            route("/p/{name}", fake.portal, "GET"),
            route("/_fake", fake.control, "POST"),
        ]
    )
