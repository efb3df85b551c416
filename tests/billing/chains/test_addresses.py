from __future__ import annotations

import pytest

from billing.chains import addresses

# EIP-55, "Test Cases".
PUBLISHED = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


class TestKeccak256:
    def test_it_is_not_the_later_standard(self) -> None:
        empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        assert addresses.keccak256(b"").hex() == empty


class TestChecksummed:
    @pytest.mark.parametrize("address", PUBLISHED)
    def test_it_writes_what_the_standard_publishes(self, address: str) -> None:
        assert addresses.checksummed(address.lower()) == address
        assert addresses.checksummed("0x" + address[2:].upper()) == address

    @pytest.mark.parametrize(
        "text", ["", "0x", "0x12", "52908400098527886E0F7030069857D2E4169EE7", "0x" + "g" * 40]
    )
    def test_what_is_no_address_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="40 hexadecimal"):
            addresses.checksummed(text)


class TestTopic:
    def test_it_is_read_back(self) -> None:
        word = addresses.topic(PUBLISHED[3])
        assert (len(word), addresses.of_topic(word)) == (66, PUBLISHED[3])
