// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// The contract that every client deploys: a constructor argument, a read, a
/// write with an event, an echo of a dynamic argument, and a call that reverts
/// with a reason.
contract Counter {
    uint256 public count;

    event Changed(address indexed by, uint256 count);

    constructor(uint256 start) {
        count = start;
    }

    function add(uint256 n) external {
        count += n;
        emit Changed(msg.sender, count);
    }

    function echo(string calldata text) external pure returns (string memory) {
        return text;
    }

    function refuse() external pure {
        revert("refused on purpose");
    }
}
