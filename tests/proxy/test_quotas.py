"""Quotas: exact over many processes in Redis, a share each without it, leases that end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis import Redis

from proxy.quotas import LEASE_US, NO_REQUESTS, NO_SLOTS, NO_TOKENS, OK, Demand, Quota, Quotas

MINUTE_US = 60_000_000
# Long enough for a slow machine to ask twice in it.
SHORT_US = 800_000


def run(scenario: Callable[[Quotas], Awaitable[None]], *, redis_away: bool = False) -> None:
    async def main() -> None:
        quotas = Quotas()
        if redis_away:
            quotas.rest_until = float("inf")
        quotas.start()
        try:
            await scenario(quotas)
        finally:
            await quotas.close()

    asyncio.run(main())


async def granted(quotas: Quotas, demand: Demand) -> None:
    """Ask until there is room, well before any lease or rate makes some by itself."""
    for _ in range(int(LEASE_US / 2e6 / 0.02)):
        if (await quotas.ask(demand)).verdict == OK:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("there is no room")


@pytest.fixture(params=[False, True], ids=["with Redis", "without"])
def away(request: pytest.FixtureRequest, redis_server: object) -> bool:
    return bool(request.param)


def request_of(quota: Quota, **more: object) -> Demand:
    return Demand(quota=quota, requests=1, **more)  # type: ignore[arg-type]


class TestRequests:
    def test_exactly_the_limit_passes_at_once(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            asks = [quotas.ask(request_of(Quota("a", rpm=10))) for _ in range(50)]
            verdicts = [level.verdict for level in await asyncio.gather(*asks)]
            assert (verdicts.count(OK), verdicts.count(NO_REQUESTS)) == (10, 40)

        run(scenario, redis_away=away)

    def test_owners_do_not_share(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            for owner in ("a", "b"):
                assert (await quotas.ask(request_of(Quota(owner, rpm=1)))).verdict == OK
                refused = await quotas.ask(request_of(Quota(owner, rpm=1)))
                assert refused.verdict == NO_REQUESTS
                assert 0 < refused.wait_us <= MINUTE_US

        run(scenario, redis_away=away)

    def test_what_is_given_back_can_be_taken_again(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", rpm=1)
            for _ in range(3):
                assert (await quotas.ask(request_of(quota))).verdict == OK
                quotas.note(Demand(quota=quota, check=False, requests=-1))

        run(scenario, redis_away=away)

    def test_looking_takes_nothing(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            for _ in range(5):
                level = await quotas.ask(Demand(quota=Quota("a", rpm=2, tpm=7)))
                assert (level.left, level.tokens_left) == (2, 7)

        run(scenario, redis_away=away)

    def test_a_flushed_redis_forgets_its_script_and_goes_on(self, redis_server: Redis) -> None:
        async def scenario(quotas: Quotas) -> None:
            await quotas.ask(request_of(Quota("a", rpm=5)))
            redis_server.script_flush()
            assert (await quotas.ask(request_of(Quota("a", rpm=5)))).left == 3

        run(scenario)


class TestTokens:
    def test_an_empty_bucket_refuses_and_takes_no_request(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", rpm=5, tpm=100)
            assert (await quotas.ask(request_of(quota))).verdict == OK
            quotas.note(Demand(quota=quota, check=False, tokens=150))
            refused = await quotas.ask(request_of(quota))
            assert (refused.verdict, refused.left) == (NO_TOKENS, 4)
            # 51 tokens have to come back, at 100 a minute.
            assert 25_000_000 < refused.tokens_wait_us <= 31_000_000

        run(scenario, redis_away=away)


class TestSlots:
    def test_no_more_than_there_are(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", slots=3)
            asks = [
                quotas.ask(Demand(quota=quota, lease=str(n), lease_us=LEASE_US)) for n in range(9)
            ]
            verdicts = [level.verdict for level in await asyncio.gather(*asks)]
            assert (verdicts.count(OK), verdicts.count(NO_SLOTS)) == (3, 6)
            quotas.note(Demand(quota=quota, check=False, lease="0", lease_us=-1))
            again = await quotas.ask(Demand(quota=quota, lease="x", lease_us=LEASE_US))
            assert again.verdict == OK

        run(scenario, redis_away=away)

    def test_a_lease_that_nobody_renews_ends(self, redis_server: Redis) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", slots=1)
            ask = Demand(quota=quota, lease="1", lease_us=SHORT_US)
            assert (await quotas.ask(ask)).verdict == OK
            other = Demand(quota=quota, lease="2", lease_us=SHORT_US)
            assert (await quotas.ask(other)).verdict == NO_SLOTS
            await granted(quotas, other)

        run(scenario)

    def test_a_renewed_lease_goes_on(self, redis_server: Redis) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", slots=1)
            await quotas.ask(Demand(quota=quota, lease="1", lease_us=SHORT_US))
            quotas.renew()
            await asyncio.sleep(SHORT_US / 1e6 + 0.1)
            refused = await quotas.ask(Demand(quota=quota, lease="2", lease_us=SHORT_US))
            assert refused.verdict == NO_SLOTS

        run(scenario)

    def test_a_lease_that_was_given_back_is_not_renewed(self, redis_server: Redis) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", slots=1)
            await quotas.ask(Demand(quota=quota, lease="1", lease_us=LEASE_US))
            quotas.note(Demand(quota=quota, check=False, lease="1", lease_us=-1))
            quotas.renew()
            other = Demand(quota=quota, lease="2", lease_us=LEASE_US)
            assert (await quotas.ask(other)).verdict == OK

        run(scenario)

    def test_what_nobody_waits_for_any_more_is_given_back(self, away: bool) -> None:
        async def scenario(quotas: Quotas) -> None:
            quota = Quota("a", rpm=1, slots=1)
            ask = Demand(quota=quota, requests=1, lease="1", lease_us=LEASE_US)
            task = asyncio.ensure_future(quotas.ask(ask))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await granted(quotas, ask)

        run(scenario, redis_away=away)

    def test_the_end_of_a_lease_is_within_a_minute(self) -> None:
        assert LEASE_US < MINUTE_US


class TestShare:
    def test_a_limit_is_divided_among_the_processes(self) -> None:
        async def scenario(quotas: Quotas) -> None:
            quotas.share.processes = 4
            quota = Quota("a", rpm=8, slots=4)
            asks = [quotas.ask(request_of(quota)) for _ in range(5)]
            verdicts = [level.verdict for level in await asyncio.gather(*asks)]
            assert verdicts.count(OK) == 2
            slots = [
                quotas.ask(Demand(quota=quota, lease=str(n), lease_us=LEASE_US)) for n in range(3)
            ]
            assert [level.verdict for level in await asyncio.gather(*slots)].count(OK) == 1

        run(scenario, redis_away=True)
