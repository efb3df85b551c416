"""The official OpenAI SDK for Python: which error each refusal is, and what is retried."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.conformance.conftest import Sdk
from tests.conformance.shapes import PROVEN, SHAPES, proves
from tests.conformance.stack import MODEL, slow
from tests.conformance.test_openai_chat import says
from tests.fakes.upstream import Call, FakeUpstream, Gate, Reply, error

CLIENT = "openai-python"

IN_TIME_S = 60
MOST_CALLS = 400
MOST_TRIES = 5


def chat(client: openai.OpenAI, model: str = MODEL, **terms: object) -> str | None:
    answer = client.chat.completions.create(
        model=model,
        messages=says("Hello"),
        **terms,  # type: ignore[call-overload]
    )
    text: str | None = answer.choices[0].message.content
    return text


class TestRefusals:
    """What is wrong with the request stays wrong: one request, no more."""

    @proves("error-400")
    def test_a_wrong_parameter(self, sdk: Sdk, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, temperature=9)

        # Our code is an integer; the SDK makes it the text that OpenAI's would be.
        assert (caught.value.code, caught.value.param) == ("400", "temperature")
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["reason"] == "invalid_parameter"
        assert sdk.sent == 1

    @proves("error-401")
    def test_a_wrong_key(self, sdk: Sdk) -> None:
        with sdk.client("sk-tg-nonsense") as client, pytest.raises(openai.AuthenticationError):
            chat(client)
        assert sdk.sent == 1

    @proves("error-402")
    def test_too_little_money(self, sdk: Sdk, client: openai.OpenAI) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            chat(client, "fake/dear")

        error = caught.value
        assert (error.status_code, error.type) == (402, "insufficient_funds")
        assert error.response.headers["x-should-retry"] == "false"
        assert sdk.sent == 1

    @proves("error-403")
    def test_a_scope_that_the_key_lacks(self, sdk: Sdk) -> None:
        with (
            sdk.client(sdk.stack.narrow_key) as client,
            pytest.raises(openai.PermissionDeniedError),
        ):
            chat(client)
        assert sdk.sent == 1

    @proves("error-404")
    def test_a_model_that_is_not_there(self, sdk: Sdk, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            chat(client, "no/such")

        assert caught.value.param == "model"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("no/such")
        assert sdk.sent == 2

    @proves("error-409")
    def test_an_idempotency_key_with_another_body(self, sdk: Sdk, client: openai.OpenAI) -> None:
        once = {"Idempotency-Key": str(uuid.uuid4())}
        first = chat(client, extra_headers=once)
        again = chat(client, extra_headers=once)
        with pytest.raises(openai.ConflictError):
            chat(client, temperature=0.5, extra_headers=once)

        assert first == again == "Hello"
        assert sdk.statuses == [200, 200, 409]

    def test_a_lost_balance_is_told_before_a_stream_begins(
        self, sdk: Sdk, client: openai.OpenAI
    ) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            chat(client, "fake/dear", stream=True)

        assert (caught.value.status_code, sdk.sent) == (402, 1)

    @proves("error-429-cap")
    def test_a_cap_that_is_reached(self, sdk: Sdk) -> None:
        with (
            sdk.client(sdk.stack.capped_key) as client,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            chat(client)

        assert caught.value.body is not None
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert sdk.sent == 1


class TestRetries:
    """What can pass by itself is tried again, as often as the SDK does by default."""

    @proves("error-429")
    def test_a_rate_limit_is_waited_for(self, sdk: Sdk) -> None:
        with sdk.client(sdk.stack.paced_key) as client:
            for _ in range(MOST_TRIES):
                refused = until_refused(lambda: chat(client.with_options(max_retries=0)))
                seconds = int(refused.response.headers["retry-after"])
                sdk.statuses.clear()
                began = time.monotonic()
                assert chat(client) == "Hello"
                if sdk.statuses != [200]:
                    break  # The machine was not so slow that the wait was over by then.

        assert f"after {seconds} second" in refused.message
        assert refused.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert sdk.statuses == [429, 200]
        # The refusal told of the time at which it was given, a moment before.
        assert time.monotonic() - began > seconds * 0.5

    @proves("error-429-reserved")
    def test_a_cap_that_another_call_holds_is_waited_for(
        self, sdk: Sdk, upstream: FakeUpstream
    ) -> None:
        asked, refused = threading.Event(), threading.Event()

        def held(call: Call) -> Reply:
            asked.set()
            return [Gate(refused), *error(500)]

        upstream.script(held, model="slow")
        with (
            sdk.client(sdk.stack.shared_key, max_retries=20) as client,
            ThreadPoolExecutor(1) as pool,
        ):
            other = pool.submit(fail_slowly, client)
            # Not just any call: those that others have given up may still arrive.
            assert asked.wait(IN_TIME_S)
            sdk.refused = refused
            try:
                answered = chat(client)
            finally:
                refused.set()
                upstream.script(slow, model="slow")
            other.result()

        assert answered == "Hello"
        assert 429 in sdk.statuses

    @proves("error-502")
    def test_a_failing_provider_is_asked_three_times(self, sdk: Sdk, client: openai.OpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client, "fake/broken")

        assert caught.value.status_code == 502
        assert sdk.sent == 3

    @proves("timeout")
    def test_a_silent_provider_is_given_up(self, sdk: Sdk) -> None:
        with (
            sdk.client(timeout=0.5, max_retries=1) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            chat(client, "fake/silent")
        assert sdk.sent == 2


class TestStreams:
    @proves("error-stream")
    def test_a_stream_that_breaks_off_raises(self, client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(
            model="fake/cut", messages=says("Hello"), stream=True
        )
        pieces: list[str | None] = []
        with pytest.raises(openai.APIError):
            pieces.extend(chunk.choices[0].delta.content for chunk in stream)

        assert any(pieces)


class TestRequestIds:
    @proves("request-id")
    def test_are_on_answers_and_on_errors(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model=MODEL, messages=says("Hello"))
        with pytest.raises(openai.NotFoundError) as caught:
            chat(client, "no/such")

        assert answer._request_id is not None
        assert answer._request_id.removeprefix("req_") == answer.id.removeprefix("chatcmpl-")
        assert (caught.value.request_id or "").startswith("req_")


class TestTheSuite:
    def test_proves_every_shape(self) -> None:
        import tests.conformance.test_openai_surfaces  # noqa: F401 (its tests name their shapes)

        assert set(SHAPES) - PROVEN == set()


def until_refused(call: Callable[[], object]) -> openai.RateLimitError:
    """Use up what a key may do in a minute."""
    for _ in range(MOST_CALLS):
        try:
            call()
        except openai.RateLimitError as error:
            return error
    raise AssertionError("no limit was found")


def fail_slowly(client: openai.OpenAI) -> None:
    """Make a call that holds money for a while and costs nothing in the end."""
    with pytest.raises(openai.InternalServerError):
        chat(client.with_options(max_retries=0), "fake/slow")
