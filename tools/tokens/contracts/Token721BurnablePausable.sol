// SPDX-License-Identifier: Apache-2.0
// Made by tools/tokens/build.mjs; changes belong into sources.mjs.
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Burnable} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Burnable.sol";
import {ERC721Pausable} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Pausable.sol";

/**
 * @title Token721BurnablePausable
 * @notice A non-fungible token (ERC-721), burnable, pausable, of a fixed supply. The first token has the id 1.
 */
contract Token721BurnablePausable is ERC721, ERC721Burnable, ERC721Pausable, Ownable {
    string private _base;

    /// @notice More tokens were asked for at the beginning than 256.
    error TooManyAtFirst(uint256 supply, uint256 most);

    /**
     * @param name_ What the collection is called.
     * @param symbol_ Its short name.
     * @param baseURI_ What each token's URI begins with; its id follows. Empty for no URIs.
     * @param owner_ Who gets the first tokens, and who may do what only the owner may.
     * @param supply_ How many tokens there are from the beginning, with ids from 1; at most 256.
     */
    constructor(string memory name_, string memory symbol_, string memory baseURI_, address owner_, uint256 supply_) ERC721(name_, symbol_) Ownable(owner_) {
        _base = baseURI_;
        if (supply_ > 256) {
            revert TooManyAtFirst(supply_, 256);
        }
        for (uint256 id = 1; id <= supply_; id++) {
            _mint(owner_, id);
        }
    }

    /// @notice What each token's URI begins with.
    function baseURI() public view returns (string memory) {
        return _base;
    }

    function _baseURI() internal view override returns (string memory) {
        return _base;
    }

    /// @notice Stops every transfer, mint and burn until unpause. Only the owner may.
    function pause() public onlyOwner {
        _pause();
    }

    /// @notice Lets transfers, mints and burns go on after pause. Only the owner may.
    function unpause() public onlyOwner {
        _unpause();
    }

    function _update(address to, uint256 tokenId, address auth) internal override(ERC721, ERC721Pausable) returns (address) {
        return super._update(to, tokenId, auth);
    }
}
