// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;

/// @title Orders of a shop
/// @notice Takes orders, and remembers them.
/// @dev What the gateway is tested with: nested tuples, overloads, events with
/// indexed and hashed members, payments, and every way to revert.
contract Orders {
    struct Item {
        string name;
        uint256 price;
        uint8 count;
    }

    struct Order {
        address buyer;
        Item[] items;
        bytes32 mark;
    }

    /// @notice More was asked for than there is.
    error TooMany(uint256 asked, uint256 most);

    event Placed(uint256 indexed number, address indexed buyer, uint256 total);
    event Noted(string indexed topic, string text);

    address public immutable owner;
    uint256 public placed;
    uint256 public paid;
    string public label;

    mapping(uint256 => Order) private orders;

    /// @param name what the shop is called
    constructor(string memory name) payable {
        owner = msg.sender;
        label = name;
    }

    /// @notice Places an order.
    /// @param order what is ordered, and by whom
    /// @return number the order's number, counted from 1
    function place(Order calldata order) external payable returns (uint256 number) {
        number = ++placed;
        paid += msg.value;
        Order storage kept = orders[number];
        kept.buyer = order.buyer;
        kept.mark = order.mark;
        uint256 total;
        for (uint256 i; i < order.items.length; i++) {
            Item calldata item = order.items[i];
            if (item.count > 100) revert TooMany(item.count, 100);
            total += item.price * item.count;
            kept.items.push(item);
        }
        emit Placed(number, order.buyer, total);
    }

    /// @notice Reads an order.
    function orderOf(uint256 number) external view returns (Order memory order, bool known) {
        return (orders[number], number > 0 && number <= placed);
    }

    /// @notice Counts without anything else, for many transactions at once.
    function tick(uint256 mark) external {
        emit Placed(++placed, msg.sender, mark);
    }

    function note(string calldata text) external {
        label = text;
        emit Noted("text", text);
    }

    function note(uint256 number) external {
        placed = number;
        emit Noted("number", "");
    }

    function share(uint256 sum, uint256 among) external pure returns (uint256) {
        return sum / among;
    }

    function refuse(string calldata why) external pure returns (bool) {
        revert(why);
    }
}
