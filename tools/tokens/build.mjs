// SPDX-License-Identifier: Apache-2.0
//
// Writes the Solidity sources of the tokens (contracts/) and compiles them into
// internal/token/artifacts. The same packages give the same bytes on any machine:
//
//     npm ci && node build.mjs          writes them
//     npm ci && node build.mjs --check  fails if a byte of them is different
//
// Nothing is fetched but by npm, in the versions that package-lock.json names.

import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { every } from './sources.mjs'

const require = createRequire(import.meta.url)
const solc = require('solc')
const library = require('@openzeppelin/contracts/package.json')

const here = fileURLToPath(new URL('.', import.meta.url))
const sourceDir = join(here, 'contracts')
const artifactDir = join(here, '../../internal/token/artifacts')

// The EVM of the merge: no PUSH0 and no MCOPY, so that the tokens run on chains
// that never had Shanghai or Cancun, as many private ones.
const settings = {
  optimizer: { enabled: true, runs: 200 },
  evmVersion: 'paris',
  outputSelection: { '*': { '*': ['abi', 'devdoc', 'userdoc', 'evm.bytecode.object'] } },
}

const list = every()
const wanted = new Map() // path → content
for (const t of list) wanted.set(join(sourceDir, `${t.name}.sol`), t.source)
for (const t of list) wanted.set(join(artifactDir, `${t.id}.json`), artifact(t, compile(t)))

const check = process.argv.includes('--check')
const wrong = []
for (const [path, content] of wanted) {
  const same = existsSync(path) && readFileSync(path, 'utf8') === content
  if (!same) wrong.push(path)
  if (!same && !check) {
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, content)
  }
}
for (const [dir, ending] of [[sourceDir, '.sol'], [artifactDir, '.json']]) {
  for (const name of existsSync(dir) ? readdirSync(dir).sort() : []) {
    const path = join(dir, name)
    if (!name.endsWith(ending) || wanted.has(path)) continue
    wrong.push(path)
    if (!check) rmSync(path)
  }
}

const made = `${list.length} tokens with solc ${solc.version()} and @openzeppelin/contracts ${library.version}`
if (check && wrong.length > 0) {
  console.error(`${made}: not what is committed:\n${wrong.join('\n')}\nRun: cd tools/tokens && npm ci && node build.mjs`)
  process.exit(1)
}
console.log(`${made}: ${check ? 'byte for byte what is committed' : `${wrong.length} files written or removed`}`)

// Each token is compiled by itself, so that what is in it depends on its own
// sources only.
function compile(t) {
  const input = { language: 'Solidity', sources: { [`contracts/${t.name}.sol`]: { content: t.source } }, settings }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }))
  if (output.errors) { // a warning counts as well
    for (const e of output.errors) console.error(e.formattedMessage)
    process.exit(1)
  }
  return output.contracts[`contracts/${t.name}.sol`][t.name]
}

function read(path) {
  try {
    return { contents: readFileSync(require.resolve(path), 'utf8') }
  } catch (e) {
    return { error: `${path}: ${e.code ?? e.message}` }
  }
}

function artifact(t, made) {
  const content = {
    contractName: t.name,
    kind: t.kind,
    features: t.features,
    compiler: solc.version(),
    library: `@openzeppelin/contracts ${library.version}`,
    abi: made.abi,
    devdoc: sorted(made.devdoc),
    userdoc: sorted(made.userdoc),
    bytecode: `0x${made.evm.bytecode.object}`,
  }
  // A line for each of these, so that a difference is seen.
  const lines = Object.entries(content).map(([k, v]) => `  ${JSON.stringify(k)}: ${JSON.stringify(v)}`)
  return `{\n${lines.join(',\n')}\n}\n`
}

// sorted orders the keys of objects. What solc gives is ordered already; that is
// not relied upon.
function sorted(v) {
  if (Array.isArray(v)) return v.map(sorted)
  if (v === null || typeof v !== 'object') return v
  return Object.fromEntries(Object.keys(v).sort().map((k) => [k, sorted(v[k])]))
}
