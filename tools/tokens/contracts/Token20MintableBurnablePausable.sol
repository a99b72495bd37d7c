// SPDX-License-Identifier: Apache-2.0
// Made by tools/tokens/build.mjs; changes belong into sources.mjs.
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Pausable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Pausable.sol";

/**
 * @title Token20MintableBurnablePausable
 * @notice A fungible token (ERC-20), mintable, burnable, pausable.
 */
contract Token20MintableBurnablePausable is ERC20, ERC20Burnable, ERC20Pausable, Ownable {
    uint8 private immutable _decimals;

    /**
     * @param name_ What the token is called.
     * @param symbol_ Its short name.
     * @param decimals_ How many digits after the point an amount is shown with.
     * @param owner_ Who gets the supply, and who may do what only the owner may.
     * @param supply_ What there is from the beginning, in the smallest unit.
     */
    constructor(string memory name_, string memory symbol_, uint8 decimals_, address owner_, uint256 supply_) ERC20(name_, symbol_) Ownable(owner_) {
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

    /// @notice Stops every transfer, mint and burn until unpause. Only the owner may.
    function pause() public onlyOwner {
        _pause();
    }

    /// @notice Lets transfers, mints and burns go on after pause. Only the owner may.
    function unpause() public onlyOwner {
        _unpause();
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Pausable) {
        super._update(from, to, value);
    }
}
