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

    function transfer(address to, uint256 value) public returns (bool) {
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
