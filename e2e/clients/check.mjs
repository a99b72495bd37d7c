// SPDX-License-Identifier: Apache-2.0
//
// What every client script shares: its settings, the documents to sign, and the
// line that is printed for each fact that holds. One line per check, "ok - …" or
// "not ok - …", then exit code 0 or 1. A failed check ends the script, since the
// next ones build on it.

import { webcrypto as crypto } from 'node:crypto'
import { readFileSync } from 'node:fs'

const need = (name) => {
  const value = process.env[name]
  if (!value) {
    console.error(`${name} is not set; needed: RPC_URL, WS_URL, ACCOUNT, CHAIN_ID`)
    process.exit(2)
  }
  return value
}

// rpcURL and wsURL are the door; account is an address that the door signs for
// (as eth_accounts prints it, in any letter case); chainId is what it must say.
export const rpcURL = need('RPC_URL')
export const wsURL = need('WS_URL')
export const account = need('ACCOUNT').toLowerCase()
export const chainId = Number(need('CHAIN_ID'))

export const counter = JSON.parse(readFileSync(new URL('./contract/Counter.json', import.meta.url)))

// An address nobody has the key of, different for each run, so that its balance
// is exactly what this run has sent.
export const freshAddress = () =>
  '0x' + Array.from(crypto.getRandomValues(new Uint8Array(20)), (b) => b.toString(16).padStart(2, '0')).join('')

// Not ASCII only: a client, a proxy and a signer must agree on UTF-8.
export const message = 'I agree to the terms of 2026 – Zürich, 署名 ✍'

// Nested struct, array of structs, dynamic and negative values: what EIP-712
// encoders get wrong.
export const typedData = {
  domain: {
    name: 'Ether Mail',
    version: '1',
    chainId,
    verifyingContract: '0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC',
  },
  primaryType: 'Mail',
  types: {
    Person: [
      { name: 'name', type: 'string' },
      { name: 'wallets', type: 'address[]' },
    ],
    Mail: [
      { name: 'from', type: 'Person' },
      { name: 'to', type: 'Person[]' },
      { name: 'contents', type: 'string' },
      { name: 'amount', type: 'int64' },
      { name: 'attachment', type: 'bytes' },
    ],
  },
  message: {
    from: { name: 'Cow', wallets: ['0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826'] },
    to: [{ name: 'Bob', wallets: ['0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB'] }],
    contents: 'Hello, Bob!',
    amount: '-42',
    attachment: '0xdeadbeef',
  },
}

export const domainType = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
]

export const equal = (got, want, what) => {
  if (got !== want) throw new Error(`${what}: got ${String(got)}, want ${String(want)}`)
}

export const within = (promise, milliseconds, what) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${milliseconds} ms`)), milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// rejects demands that fn fails with an error whose text contains `text`.
export const rejects = async (fn, text, what) => {
  try {
    await fn()
  } catch (err) {
    const all = [err?.message, err?.info?.error?.message, err?.cause?.message, err?.details, err?.innerError?.message].join(' | ')
    if (!all.includes(text)) throw new Error(`${what}: the error does not say ${JSON.stringify(text)}: ${all}`)
    return
  }
  throw new Error(`${what}: no error`)
}

// A node with accounts of its own loses transactions that come at once (anvil:
// "transaction already imported"). PLAIN_NODE=1 leaves those checks out, so that
// the scripts themselves can be tried without a signer between.
const plainNode = process.env.PLAIN_NODE === '1'
export const unlessPlainNode = (check) => (plainNode ? [] : [check])

// run does the checks in order. Each gets at most a minute: a test must end.
export const run = async (client, checks) => {
  for (const [name, fn] of checks) {
    const started = Date.now()
    try {
      await within(Promise.resolve().then(fn), 240_000, name)
      console.log(`ok - ${client}: ${name} (${Date.now() - started} ms)`)
    } catch (err) {
      console.log(`not ok - ${client}: ${name}`)
      console.error(err)
      process.exit(1)
    }
  }
  process.exit(0)
}
