// SPDX-License-Identifier: Apache-2.0
//
// The Solidity sources of the tokens: one contract for each set of features that
// makes sense, out of the parts of OpenZeppelin's library. A feature that a token
// does not have is not in its bytecode either, and cannot be turned on later.
//
// What is fixed by the order of FEATURES here is relied upon by internal/token.

// The features of a kind, in the order in which names have them.
export const FEATURES = {
  erc20: ['mintable', 'capped', 'burnable', 'pausable'],
  erc721: ['mintable', 'burnable', 'pausable'],
}

// The most tokens that an ERC-721 contract is made with: each costs about 27,000
// gas in one transaction. internal/token says the same.
export const MOST_AT_FIRST = 256

// A cap bounds what is minted later, so it goes with mintable only.
const sensible = (f) => !f.has('capped') || f.has('mintable')

// every is a list of {kind, features, id, name, source}, in a fixed order.
export function every() {
  const list = []
  for (const [kind, all] of Object.entries(FEATURES)) {
    for (let bits = 0; bits < 1 << all.length; bits++) {
      const features = all.filter((_, i) => bits & (1 << i))
      const f = new Set(features)
      if (!sensible(f)) continue
      const id = [kind, ...features].join('-')
      const name = `Token${kind.slice(3)}` + features.map((x) => x[0].toUpperCase() + x.slice(1)).join('')
      list.push({ kind, features, id, name, source: kind === 'erc20' ? erc20(name, f) : erc721(name, f) })
    }
  }
  return list
}

// text joins lines, leaving out those that are false, and those of nested lists.
const text = (...lines) => lines.flat(9).filter((l) => l !== false).join('\n') + '\n'

const head = (imports, title, notice) => [
  '// SPDX-License-Identifier: Apache-2.0',
  '// Made by tools/tokens/build.mjs; changes belong into sources.mjs.',
  'pragma solidity 0.8.30;',
  '',
  imports.sort().map((path) => `import {${path.split('/').pop()}} from "@openzeppelin/contracts/${path}.sol";`),
  '',
  '/**',
  ` * @title ${title}`,
  notice.map((l) => ` * @notice ${l}`),
  ' */',
]

const pausing = [
  '',
  '    /// @notice Stops every transfer, mint and burn until unpause. Only the owner may.',
  '    function pause() public onlyOwner {',
  '        _pause();',
  '    }',
  '',
  '    /// @notice Lets transfers, mints and burns go on after pause. Only the owner may.',
  '    function unpause() public onlyOwner {',
  '        _unpause();',
  '    }',
]

function erc20(name, f) {
  const owned = f.has('mintable') || f.has('pausable')
  const ext = (x) => `token/ERC20/extensions/${x}`
  const parents = ['ERC20', f.has('capped') && 'ERC20Capped', f.has('burnable') && 'ERC20Burnable', f.has('pausable') && 'ERC20Pausable', owned && 'Ownable'].filter(Boolean)
  const updating = ['ERC20', f.has('capped') && 'ERC20Capped', f.has('pausable') && 'ERC20Pausable'].filter(Boolean)
  const init = ['ERC20(name_, symbol_)', f.has('capped') && 'ERC20Capped(cap_)', owned && 'Ownable(owner_)'].filter(Boolean).join(' ')
  const imports = ['token/ERC20/ERC20', f.has('capped') && ext('ERC20Capped'), f.has('burnable') && ext('ERC20Burnable'), f.has('pausable') && ext('ERC20Pausable'), owned && 'access/Ownable'].filter(Boolean)
  return text(
    head(imports, name, [`A fungible token (ERC-20), ${features(f)}.`]),
    `contract ${name} is ${parents.join(', ')} {`,
    '    uint8 private immutable _decimals;',
    '',
    '    /**',
    '     * @param name_ What the token is called.',
    '     * @param symbol_ Its short name.',
    '     * @param decimals_ How many digits after the point an amount is shown with.',
    `     * @param owner_ Who gets the supply${owned ? ', and who may do what only the owner may' : ''}.`,
    '     * @param supply_ What there is from the beginning, in the smallest unit.',
    f.has('capped') && '     * @param cap_ What there can be at most, in the smallest unit.',
    '     */',
    `    constructor(string memory name_, string memory symbol_, uint8 decimals_, address owner_, uint256 supply_${f.has('capped') ? ', uint256 cap_' : ''}) ${init} {`,
    '        _decimals = decimals_;',
    '        if (supply_ > 0) {',
    '            _mint(owner_, supply_);',
    '        }',
    '    }',
    '',
    '    /// @notice How many digits after the point an amount is shown with.',
    '    function decimals() public view override returns (uint8) {',
    '        return _decimals;',
    '    }',
    f.has('mintable') && [
      '',
      '    /**',
      '     * @notice Makes new tokens. Only the owner may.',
      '     * @param to Who gets them.',
      '     * @param value How much, in the smallest unit.',
      '     */',
      '    function mint(address to, uint256 value) public onlyOwner {',
      '        _mint(to, value);',
      '    }',
    ],
    f.has('pausable') && pausing,
    updating.length > 1 && [
      '',
      `    function _update(address from, address to, uint256 value) internal override(${updating.join(', ')}) {`,
      '        super._update(from, to, value);',
      '    }',
    ],
    '}',
  )
}

function erc721(name, f) {
  const owned = f.has('mintable') || f.has('pausable')
  const ext = (x) => `token/ERC721/extensions/${x}`
  const parents = ['ERC721', f.has('burnable') && 'ERC721Burnable', f.has('pausable') && 'ERC721Pausable', owned && 'Ownable'].filter(Boolean)
  const init = ['ERC721(name_, symbol_)', owned && 'Ownable(owner_)'].filter(Boolean).join(' ')
  const imports = ['token/ERC721/ERC721', f.has('burnable') && ext('ERC721Burnable'), f.has('pausable') && ext('ERC721Pausable'), owned && 'access/Ownable'].filter(Boolean)
  return text(
    head(imports, name, [`A non-fungible token (ERC-721), ${features(f)}. The first token has the id 1.`]),
    `contract ${name} is ${parents.join(', ')} {`,
    '    string private _base;',
    f.has('mintable') && '    uint256 private _last;',
    '',
    `    /// @notice More tokens were asked for at the beginning than ${MOST_AT_FIRST}.`,
    '    error TooManyAtFirst(uint256 supply, uint256 most);',
    '',
    '    /**',
    '     * @param name_ What the collection is called.',
    '     * @param symbol_ Its short name.',
    "     * @param baseURI_ What each token's URI begins with; its id follows. Empty for no URIs.",
    `     * @param owner_ Who gets the first tokens${owned ? ', and who may do what only the owner may' : ''}.`,
    `     * @param supply_ How many tokens there are from the beginning, with ids from 1; at most ${MOST_AT_FIRST}.`,
    '     */',
    `    constructor(string memory name_, string memory symbol_, string memory baseURI_, address owner_, uint256 supply_) ${init} {`,
    '        _base = baseURI_;',
    `        if (supply_ > ${MOST_AT_FIRST}) {`,
    `            revert TooManyAtFirst(supply_, ${MOST_AT_FIRST});`,
    '        }',
    '        for (uint256 id = 1; id <= supply_; id++) {',
    '            _mint(owner_, id);',
    '        }',
    f.has('mintable') && '        _last = supply_;',
    '    }',
    '',
    "    /// @notice What each token's URI begins with.",
    '    function baseURI() public view returns (string memory) {',
    '        return _base;',
    '    }',
    '',
    '    function _baseURI() internal view override returns (string memory) {',
    '        return _base;',
    '    }',
    f.has('mintable') && [
      '',
      '    /**',
      '     * @notice Makes the next token. Only the owner may.',
      '     * @dev A contract that gets it has to be an ERC721Receiver.',
      '     * @param to Who gets it.',
      '     * @return tokenId Its id; the event Transfer tells it too.',
      '     */',
      '    function mint(address to) public onlyOwner returns (uint256 tokenId) {',
      '        tokenId = ++_last;',
      '        _safeMint(to, tokenId);',
      '    }',
    ],
    f.has('pausable') && pausing,
    f.has('pausable') && [
      '',
      '    function _update(address to, uint256 tokenId, address auth) internal override(ERC721, ERC721Pausable) returns (address) {',
      '        return super._update(to, tokenId, auth);',
      '    }',
    ],
    '}',
  )
}

// features says in words what a token can do.
function features(f) {
  const list = [...f]
  return list.length === 0 ? 'of a fixed supply' : list.join(', ') + (f.has('mintable') ? '' : ', of a fixed supply')
}
