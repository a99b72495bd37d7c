// SPDX-License-Identifier: Apache-2.0
// Made by tools/tokens/build.mjs; changes belong into sources.mjs.
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";

/**
 * @title Token20MintableCapped
 * @notice A fungible token (ERC-20), mintable, capped.
 */
contract Token20MintableCapped is ERC20, ERC20Capped, Ownable {
    uint8 private immutable _decimals;

    /**
     * @param name_ What the token is called.
     * @param symbol_ Its short name.
     * @param decimals_ How many digits after the point an amount is shown with.
     * @param owner_ Who gets the supply, and who may do what only the owner may.
     * @param supply_ What there is from the beginning, in the smallest unit.
     * @param cap_ What there can be at most, in the smallest unit.
     */
    constructor(string memory name_, string memory symbol_, uint8 decimals_, address owner_, uint256 supply_, uint256 cap_) ERC20(name_, symbol_) ERC20Capped(cap_) Ownable(owner_) {
        _decimals = decimals_;
        if (supply_ > 0) {
            _mint(owner_, supply_);
        }
    }

    /// @notice How many digits after the point an amount is shown with.
    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    /**
     * @notice Makes new tokens. Only the owner may.
     * @param to Who gets them.
     * @param value How much, in the smallest unit.
     */
    function mint(address to, uint256 value) public onlyOwner {
        _mint(to, value);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        super._update(from, to, value);
    }
}
