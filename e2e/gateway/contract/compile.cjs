// SPDX-License-Identifier: Apache-2.0
//
// Compiles Orders.sol and prints Orders.json; see README.md.

const { readFileSync } = require('node:fs')
const solc = require('solc')

const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: 'paris',
  metadata: { bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'devdoc', 'userdoc'] } },
}
const sources = { 'Orders.sol': { content: readFileSync('Orders.sol', 'utf8') } }
const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings })))
if (output.errors) {
  console.error(output.errors)
  process.exit(1)
}
const { abi, evm, devdoc, userdoc } = output.contracts['Orders.sol'].Orders
const artifact = { contractName: 'Orders', compiler: `solc ${solc.version()}`, abi, bytecode: `0x${evm.bytecode.object}`, devdoc, userdoc }
console.log(JSON.stringify(artifact, null, 2))
