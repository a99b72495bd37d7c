// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title A box with a number in it
contract Box {
    /// @notice The number is too large for the box
    error TooLarge(uint256 given, uint256 most);

    event Changed(address indexed by, uint256 value, string note);

    uint256 private value;

    constructor(uint256 first) payable {
        value = first;
    }

    /// @notice Put another number into the box
    /// @param next the number
    function set(uint256 next) external {
        if (next > 1000) revert TooLarge(next, 1000);
        value = next;
        emit Changed(msg.sender, next, "set");
    }

    /// @notice The number that is in the box
    function get() external view returns (uint256) {
        return value;
    }

    function share(uint256 parts) external view returns (uint256 each, uint256 rest) {
        return (value / parts, value % parts);
    }

    function refuse(string calldata why) external pure {
        require(false, why);
    }

    function pay() external payable returns (uint256) {
        return address(this).balance;
    }
}
