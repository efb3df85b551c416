from __future__ import annotations

import pytest
from eth_account import Account

from billing.chains import xpub
from billing.chains.xpub import HARDENED, NotAnXpub
from tests.fakes import wallet

# BIP-32, "Test Vectors": parent, index, child; those that a public key can derive.
VECTORS = [
    (
        "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        1,
        "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
    ),
    (
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        2,
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
    ),
    (
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
        1_000_000_000,
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB",
        0,
        "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
    ),
]


class TestChild:
    @pytest.mark.parametrize(("parent", "index", "wanted"), VECTORS)
    def test_it_derives_what_the_standard_publishes(
        self, parent: str, index: int, wanted: str
    ) -> None:
        assert xpub.child(xpub.parse(parent), index) == xpub.parse(wanted)

    @pytest.mark.parametrize("index", [-1, HARDENED, HARDENED + 1])
    def test_it_refuses_what_no_public_key_can_derive(self, index: int) -> None:
        with pytest.raises(ValueError, match="no index"):
            xpub.child(xpub.parse(VECTORS[0][0]), index)


class TestReceivingAddress:
    def test_a_second_library_derives_the_same_from_the_words(self) -> None:
        Account.enable_unaudited_hdwallet_features()
        node = wallet.account().public
        for index in (0, 1, 2, 19, 4_242, HARDENED - 1):
            theirs = Account.from_mnemonic(wallet.MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
            assert xpub.receiving_address(node, index) == theirs.address

    def test_the_first_is_the_one_that_development_chains_publish(self) -> None:
        node = wallet.account().public
        assert xpub.receiving_address(node, 0) == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


class TestParse:
    def test_it_reads_what_wallets_show(self) -> None:
        node = wallet.account().public
        assert xpub.parse(f" {wallet.xpub(node)}\n") == node

    def test_a_secret_key_is_refused_by_name(self) -> None:
        with pytest.raises(NotAnXpub, match="SECRET"):
            xpub.parse(wallet.xprv(wallet.account()))

    @pytest.mark.parametrize("place", [5, 40, 110])
    def test_a_mistyped_letter_is_noticed(self, place: int) -> None:
        text = VECTORS[0][0]
        other = "2" if text[place] != "2" else "3"
        with pytest.raises(NotAnXpub, match="mistyped"):
            xpub.parse(text[:place] + other + text[place + 1 :])

    @pytest.mark.parametrize("text", ["", "xpub", "0OIl", "x" * 200])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(NotAnXpub):
            xpub.parse(text)
