// SPDX-License-Identifier: Apache-2.0
//
// What a program on web3.js 4 does with an account of its node.

import { eth, Web3 } from 'web3'
import { account, chainId, counter, domainType, equal, freshAddress, message, rejects, rpcURL, run, typedData, unlessPlainNode, within, wsURL } from './check.mjs'

const web3 = new Web3(rpcURL)
web3.eth.transactionPollingInterval = 200
web3.eth.transactionPollingTimeout = 30_000
const withDomain = { ...typedData, types: { EIP712Domain: domainType, ...typedData.types } }
const same = (got, want, what) => equal(got.toLowerCase(), want.toLowerCase(), what)
let contract

await run('web3', [
  ['lists the account', async () => {
    const addresses = (await web3.eth.getAccounts()).map((a) => a.toLowerCase())
    equal(addresses.includes(account), true, 'eth_accounts has the account')
  }],
  ['reads chain id, block, balance and fees through the door', async () => {
    equal(Number(await web3.eth.getChainId()), chainId, 'chain id')
    equal((await web3.eth.getBlock('latest')).number >= 0n, true, 'block number')
    equal((await web3.eth.getBalance(account)) > 0n, true, 'balance is above 0')
    equal((await web3.eth.getGasPrice()) > 0n, true, 'gas price is above 0')
  }],
  ['sends a transfer without a nonce and gets its receipt', async () => {
    const to = freshAddress()
    const receipt = await web3.eth.sendTransaction({ from: account, to, value: web3.utils.toWei('0.001', 'ether') })
    equal(receipt.status, 1n, 'status')
    same(receipt.from, account, 'from')
    equal(await web3.eth.getBalance(to), 10n ** 15n, 'balance of the receiver')
  }],
  ...unlessPlainNode(['sends ten transfers at once', async () => {
    const to = freshAddress()
    const receipts = await Promise.all(Array.from({ length: 10 }, () => web3.eth.sendTransaction({ from: account, to, value: 7 })))
    equal(new Set(receipts.map((r) => r.transactionHash)).size, 10, 'distinct hashes')
    equal(await web3.eth.getBalance(to), 70n, 'balance of the receiver')
  }]),
  ['deploys a contract', async () => {
    contract = await new web3.eth.Contract(counter.abi).deploy({ data: counter.bytecode, arguments: [41] }).send({ from: account })
    equal(await contract.methods.count().call(), 41n, 'count after the constructor')
  }],
  ['calls and writes the contract', async () => {
    equal(await contract.methods.echo(message).call(), message, 'echo')
    const receipt = await contract.methods.add(1).send({ from: account })
    same(receipt.events.Changed.returnValues.by, account, 'by in the event')
    equal(receipt.events.Changed.returnValues.count, 42n, 'count in the event')
    equal(await contract.methods.count().call(), 42n, 'count after the write')
  }],
  ['is told why a call reverts', () => rejects(() => contract.methods.refuse().call({ from: account }), 'refused on purpose', 'call')],
  ['signs a message that verifies', async () => {
    same(web3.eth.accounts.recover(message, await web3.eth.sign(web3.utils.utf8ToHex(message), account)), account, 'signer of eth_sign')
  }],
  // web3.js sends a password as third parameter, which anvil does not take.
  ...unlessPlainNode(['signs a message with personal_sign', async () => {
    const personal = await web3.eth.personal.sign(web3.utils.utf8ToHex(message), account, '')
    same(web3.eth.accounts.recover(message, personal), account, 'signer of personal_sign')
  }]),
  ['signs typed data that verifies', async () => {
    const signature = await web3.eth.signTypedData(account, withDomain)
    const digest = web3.utils.keccak256(eth.abi.getEncodedEip712Data(withDomain))
    same(web3.eth.accounts.recover(digest, signature, true), account, 'signer')
  }],
  ['subscribes to new heads over WebSocket', async () => {
    const ws = new Web3(wsURL)
    const subscription = await within(ws.eth.subscribe('newBlockHeaders'), 60_000, 'subscription')
    const head = new Promise((resolve, reject) => {
      subscription.on('data', resolve)
      subscription.on('error', reject)
    })
    await web3.eth.sendTransaction({ from: account, to: freshAddress(), value: 1 })
    equal(BigInt((await within(head, 120_000, 'head')).number) > 0n, true, 'block number')
    await subscription.unsubscribe()
    ws.provider.disconnect()
  }],
  ['sends over WebSocket', async () => {
    const ws = new Web3(wsURL)
    const receipt = await ws.eth.sendTransaction({ from: account, to: freshAddress(), value: 3 })
    equal(receipt.status, 1n, 'status')
    ws.provider.disconnect()
  }],
])
