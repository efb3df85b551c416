// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// ERC-20 as far as deposits need it; keeps `fee` per cent of each transfer where there is one.
contract Token {
    string public symbol;
    uint8 public immutable decimals;
    uint256 public immutable fee;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor(string memory symbol_, uint8 decimals_, uint256 fee_) {
        symbol = symbol_;
        decimals = decimals_;
        fee = fee_;
        balanceOf[msg.sender] = 1e30;
    }

    function transfer(address to, uint256 value) public virtual returns (bool) {
        require(balanceOf[msg.sender] >= value, "too little");
        uint256 kept = value * fee / 100;
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value - kept;
        balanceOf[address(this)] += kept;
        emit Transfer(msg.sender, to, value - kept);
        if (kept > 0) emit Transfer(msg.sender, address(this), kept);
        return true;
    }

    function transferMany(address[] calldata to, uint256[] calldata values) external {
        for (uint256 i = 0; i < to.length; i++) transfer(to[i], values[i]);
    }
}

// Says that money moved, where there is none.
contract Liar {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function say(address from, address to, uint256 value) external {
        emit Transfer(from, to, value);
    }
}

// Passes ether on: no transaction names its recipient.
contract Forwarder {
    function pass(address payable to) external payable {
        (bool sent, ) = to.call{value: msg.value}("");
        require(sent, "refused");
    }
}

// A dollar whose issuer pauses it, freezes addresses and destroys what lies there.
contract Regulated is Token {
    bool public paused;
    mapping(address => bool) public frozen;

    constructor(string memory symbol_, uint8 decimals_) Token(symbol_, decimals_, 0) {}

    function pause(bool paused_) external {
        paused = paused_;
    }

    function freeze(address who) external {
        frozen[who] = true;
    }

    function destroy(address who) external {
        balanceOf[who] = 0;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        require(!paused && !frozen[msg.sender] && !frozen[to], "not now");
        return super.transfer(to, value);
    }
}

// A token behind a proxy, and what it can become.
contract Coin {
    address internal implementation;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function decimals() external pure virtual returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }
}

contract Recounted is Coin {
    function decimals() external pure override returns (uint8) {
        return 18;
    }
}

contract Proxy {
    address internal implementation;

    constructor(address first) {
        implementation = first;
    }

    function upgrade(address next) external {
        implementation = next;
    }

    fallback() external {
        (bool done, bytes memory answer) = implementation.delegatecall(msg.data);
        require(done, "refused");
        assembly {
            return(add(answer, 32), mload(answer))
        }
    }
}

// The public interface of oracles for sanctions.
contract Sanctions {
    mapping(address => bool) public isSanctioned;

    function list(address who) external {
        isSanctioned[who] = true;
    }
}

// Leaves its ether to somebody who is asked nothing: no transaction and no log names them.
contract Bequest {
    constructor(address payable heir) payable {
        selfdestruct(heir);
    }
}
