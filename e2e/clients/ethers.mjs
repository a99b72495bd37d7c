// SPDX-License-Identifier: Apache-2.0
//
// What a program on ethers 6 does with an unlocked account of its node.

import { Contract, ContractFactory, JsonRpcProvider, WebSocketProvider, parseEther, verifyMessage, verifyTypedData } from 'ethers'
import { account, chainId, counter, equal, freshAddress, message, rejects, rpcURL, run, typedData, unlessPlainNode, within, wsURL } from './check.mjs'

const provider = new JsonRpcProvider(rpcURL, undefined, { pollingInterval: 200 })
const signer = await provider.getSigner(account)
const same = (got, want, what) => equal(got.toLowerCase(), want.toLowerCase(), what)
let deployed

await run('ethers', [
  ['lists the account', async () => {
    const addresses = (await provider.listAccounts()).map((s) => s.address.toLowerCase())
    equal(addresses.includes(account), true, 'eth_accounts has the account')
  }],
  ['reads chain id, block, balance and fees through the door', async () => {
    equal(Number((await provider.getNetwork()).chainId), chainId, 'chain id')
    const number = await provider.getBlockNumber()
    equal((await provider.getBlock(number)).number, number, 'block number')
    equal((await provider.getBalance(account)) > 0n, true, 'balance is above 0')
    equal((await provider.getFeeData()).gasPrice > 0n, true, 'gas price is above 0')
  }],
  ['sends a transfer without a nonce and gets its receipt', async () => {
    const to = freshAddress()
    const tx = await signer.sendTransaction({ to, value: parseEther('0.001') })
    const receipt = await tx.wait(1, 30_000)
    equal(receipt.status, 1, 'status')
    equal(receipt.hash, tx.hash, 'hash')
    same(receipt.from, account, 'from')
    equal(await provider.getBalance(to), parseEther('0.001'), 'balance of the receiver')
  }],
  ...unlessPlainNode(['sends ten transfers at once', async () => {
    const to = freshAddress()
    const sent = await Promise.all(Array.from({ length: 10 }, () => signer.sendTransaction({ to, value: 7n })))
    const receipts = await Promise.all(sent.map((tx) => tx.wait(1, 30_000)))
    equal(new Set(receipts.map((r) => r.hash)).size, 10, 'distinct hashes')
    equal(await provider.getBalance(to), 70n, 'balance of the receiver')
  }]),
  ['deploys a contract', async () => {
    deployed = await new ContractFactory(counter.abi, counter.bytecode, signer).deploy(41n)
    await within(deployed.waitForDeployment(), 120_000, 'deployment')
    equal(await deployed.count(), 41n, 'count after the constructor')
  }],
  ['calls and writes the contract', async () => {
    equal(await deployed.echo(message), message, 'echo')
    const receipt = await (await deployed.add(1n)).wait(1, 30_000)
    same(receipt.logs[0].args.by, account, 'by in the event')
    equal(receipt.logs[0].args.count, 42n, 'count in the event')
    equal(await deployed.count(), 42n, 'count after the write')
  }],
  ['is told why a call reverts', () => rejects(() => deployed.refuse.staticCall(), 'refused on purpose', 'static call')],
  ['is told why a transaction would revert', () => rejects(() => new Contract(deployed.target, counter.abi, signer).refuse(), 'refused on purpose', 'send')],
  ['signs a message that verifies', async () => {
    same(verifyMessage(message, await signer.signMessage(message)), account, 'signer of personal_sign')
    same(verifyMessage(message, await signer._legacySignMessage(message)), account, 'signer of eth_sign')
  }],
  ['signs typed data that verifies', async () => {
    const signature = await signer.signTypedData(typedData.domain, typedData.types, typedData.message)
    same(verifyTypedData(typedData.domain, typedData.types, typedData.message, signature), account, 'signer')
  }],
  ['subscribes to new heads over WebSocket', async () => {
    const ws = new WebSocketProvider(wsURL)
    // A transfer makes a block on nodes that mine only when there is something to mine.
    const head = new Promise((resolve) => ws.once('block', resolve))
    await within(ws.getBlockNumber(), 60_000, 'WebSocket answers')
    await (await signer.sendTransaction({ to: freshAddress(), value: 1n })).wait(1, 30_000)
    equal((await within(head, 120_000, 'head')) > 0, true, 'block number')
    await ws.destroy()
  }],
  ['sends over WebSocket', async () => {
    const ws = new WebSocketProvider(wsURL)
    const overWS = await ws.getSigner(account)
    const receipt = await (await overWS.sendTransaction({ to: freshAddress(), value: 3n })).wait(1, 30_000)
    equal(receipt.status, 1, 'status')
    await ws.destroy()
  }],
])
