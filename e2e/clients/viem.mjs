// SPDX-License-Identifier: Apache-2.0
//
// What a program on viem does with a JSON-RPC account.

import { createPublicClient, createWalletClient, defineChain, http, parseEther, parseEventLogs, verifyMessage, verifyTypedData, webSocket } from 'viem'
import { account, chainId, counter, equal, freshAddress, message, rejects, rpcURL, run, typedData, unlessPlainNode, within, wsURL } from './check.mjs'

const chain = defineChain({
  id: chainId,
  name: 'under test',
  nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
  rpcUrls: { default: { http: [rpcURL], webSocket: [wsURL] } },
})
// Batching on: viem then sends JSON-RPC arrays.
const transport = http(rpcURL, { batch: true, retryCount: 0 })
const reader = createPublicClient({ chain, transport, pollingInterval: 200 })
const wallet = createWalletClient({ account, chain, transport })
const { abi, bytecode } = counter
const receiptOf = (hash) => reader.waitForTransactionReceipt({ hash, timeout: 120_000 })
let address

await run('viem', [
  ['lists the account', async () => {
    const addresses = (await wallet.getAddresses()).map((a) => a.toLowerCase())
    equal(addresses.includes(account), true, 'eth_accounts has the account')
  }],
  ['reads chain id, block, balance and fees through the door, in one batch', async () => {
    const [id, block, balance, fees] = await Promise.all([
      reader.getChainId(), reader.getBlock(), reader.getBalance({ address: account }), reader.estimateFeesPerGas(),
    ])
    equal(id, chainId, 'chain id')
    equal(block.number >= 0n, true, 'block number')
    equal(balance > 0n, true, 'balance is above 0')
    equal(fees.maxFeePerGas > 0n, true, 'fee cap is above 0')
  }],
  ['sends a transfer without a nonce and gets its receipt', async () => {
    const to = freshAddress()
    const receipt = await receiptOf(await wallet.sendTransaction({ to, value: parseEther('0.001') }))
    equal(receipt.status, 'success', 'status')
    equal(receipt.from.toLowerCase(), account, 'from')
    equal(await reader.getBalance({ address: to }), parseEther('0.001'), 'balance of the receiver')
  }],
  ...unlessPlainNode(['sends ten transfers at once', async () => {
    const to = freshAddress()
    const hashes = await Promise.all(Array.from({ length: 10 }, () => wallet.sendTransaction({ to, value: 7n })))
    equal(new Set(hashes).size, 10, 'distinct hashes')
    await Promise.all(hashes.map(receiptOf))
    equal(await reader.getBalance({ address: to }), 70n, 'balance of the receiver')
  }]),
  ['deploys a contract', async () => {
    const receipt = await receiptOf(await wallet.deployContract({ abi, bytecode, args: [41n] }))
    equal(receipt.status, 'success', 'status')
    address = receipt.contractAddress
    equal(await reader.readContract({ address, abi, functionName: 'count' }), 41n, 'count after the constructor')
  }],
  ['calls and writes the contract', async () => {
    equal(await reader.readContract({ address, abi, functionName: 'echo', args: [message] }), message, 'echo')
    const { request } = await reader.simulateContract({ account, address, abi, functionName: 'add', args: [1n] })
    const receipt = await receiptOf(await wallet.writeContract(request))
    const [event] = parseEventLogs({ abi, logs: receipt.logs, eventName: 'Changed' })
    equal(event.args.by.toLowerCase(), account, 'by in the event')
    equal(event.args.count, 42n, 'count in the event')
    equal(await reader.readContract({ address, abi, functionName: 'count' }), 42n, 'count after the write')
  }],
  ['is told why a call reverts', () =>
    rejects(() => reader.readContract({ address, abi, functionName: 'refuse' }), 'refused on purpose', 'call')],
  ['signs a message that verifies', async () => {
    const signature = await wallet.signMessage({ message })
    equal(await verifyMessage({ address: account, message, signature }), true, 'text')
    const raw = await wallet.signMessage({ message: { raw: '0x00ff10' } })
    equal(await verifyMessage({ address: account, message: { raw: '0x00ff10' }, signature: raw }), true, 'bytes')
  }],
  ['signs typed data that verifies', async () => {
    const signature = await wallet.signTypedData(typedData)
    equal(await verifyTypedData({ ...typedData, address: account, signature }), true, 'signature')
  }],
  ['subscribes to new heads over WebSocket', async () => {
    const ws = createPublicClient({ chain, transport: webSocket(wsURL) })
    let unwatch
    const head = new Promise((resolve, reject) => {
      unwatch = ws.watchBlockNumber({ onBlockNumber: resolve, onError: reject, poll: false })
    })
    await within(ws.getBlockNumber(), 60_000, 'WebSocket answers')
    await receiptOf(await wallet.sendTransaction({ to: freshAddress(), value: 1n }))
    equal((await within(head, 120_000, 'head')) > 0n, true, 'block number')
    unwatch()
  }],
  ['sends over WebSocket', async () => {
    const overWS = createWalletClient({ account, chain, transport: webSocket(wsURL) })
    const receipt = await receiptOf(await overWS.sendTransaction({ to: freshAddress(), value: 3n }))
    equal(receipt.status, 'success', 'status')
  }],
])
