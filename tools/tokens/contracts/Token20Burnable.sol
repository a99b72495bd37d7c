// SPDX-License-Identifier: Apache-2.0
// Made by tools/tokens/build.mjs; changes belong into sources.mjs.
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";

/**
 * @title Token20Burnable
 * @notice A fungible token (ERC-20), burnable, of a fixed supply.
 */
contract Token20Burnable is ERC20, ERC20Burnable {
    uint8 private immutable _decimals;

    /**
     * @param name_ What the token is called.
     * @param symbol_ Its short name.
     * @param decimals_ How many digits after the point an amount is shown with.
     * @param owner_ Who gets the supply.
     * @param supply_ What there is from the beginning, in the smallest unit.
     */
    constructor(string memory name_, string memory symbol_, uint8 decimals_, address owner_, uint256 supply_) ERC20(name_, symbol_) {
        _decimals = decimals_;
        if (supply_ > 0) {
            _mint(owner_, supply_);
        }
    }

    /// @notice How many digits after the point an amount is shown with.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }
}
