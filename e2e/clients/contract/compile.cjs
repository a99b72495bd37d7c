// SPDX-License-Identifier: Apache-2.0
//
// Compiles Counter.sol and prints Counter.json; see README.md.

const { readFileSync } = require('node:fs')
const solc = require('solc')

const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: 'paris',
  metadata: { bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
}
const sources = { 'Counter.sol': { content: readFileSync('Counter.sol', 'utf8') } }
const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings })))
if (output.errors) {
  console.error(output.errors)
  process.exit(1)
}
const { abi, evm } = output.contracts['Counter.sol'].Counter
const artifact = { contractName: 'Counter', compiler: `solc ${solc.version()}`, abi, bytecode: `0x${evm.bytecode.object}` }
console.log(JSON.stringify(artifact, null, 2))
