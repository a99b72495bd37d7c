// SPDX-License-Identifier: Apache-2.0
//
// Checks a bundle of a signed document with libraries that know nothing of the
// signer: jose for the JWS, ethers for the personal message.
//
//     node document.mjs FILE BUNDLE

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { compactVerify, importJWK } from 'jose'
import { computeAddress, hexlify, verifyMessage } from 'ethers'

const equal = (got, want, what) => {
  if (got !== want) throw new Error(`${what}: got ${String(got)}, want ${String(want)}`)
}
const [file, path] = process.argv.slice(2)
const bundle = JSON.parse(readFileSync(path, 'utf8'))
const manifest = JSON.parse(bundle.manifest)
const key = await importJWK(bundle.public_key, 'ES256K')
const options = { algorithms: ['ES256K'] }
const base64url = (bytes) => Buffer.from(bytes).toString('base64url')
const flip = (bytes, bit) => {
  const other = Uint8Array.from(bytes)
  other[bit >> 3] ^= 1 << (bit & 7)
  return other
}
const joseTakes = (jws) => compactVerify(jws, key, options).then(() => true, () => false)
const ethersTakes = (text, signature) => {
  try {
    return verifyMessage(text, signature) === manifest.signer
  } catch {
    return false
  }
}

const checks = [
  ['the manifest names the file', () => {
    const text = readFileSync(file)
    equal(createHash('sha256').update(text).digest('hex'), manifest.sha256, 'sha256')
    equal(text.length, manifest.size, 'size')
    equal(manifest.version, 'hsmsigner-document-v1', 'version')
  }],
  ['the key is the signer\'s', () => {
    const point = Buffer.concat([Buffer.from([4]), Buffer.from(bundle.public_key.x, 'base64url'), Buffer.from(bundle.public_key.y, 'base64url')])
    equal(computeAddress(hexlify(point)), manifest.signer, 'address')
    equal(bundle.public_key.kid, manifest.signer, 'kid')
  }],
  ['jose verifies the JWS', async () => {
    const { payload, protectedHeader } = await compactVerify(bundle.jws, key, options)
    equal(Buffer.from(payload).toString('utf8'), bundle.manifest, 'payload')
    equal(JSON.stringify(protectedHeader), JSON.stringify({ alg: 'ES256K', kid: manifest.signer, typ: 'hsmsigner-document-v1' }), 'header')
  }],
  ['jose refuses it with any bit flipped', async () => {
    const parts = bundle.jws.split('.').map((part) => Buffer.from(part, 'base64url'))
    let flipped = 0
    for (let n = 0; n < parts.length; n++) {
      for (let bit = 0; bit < parts[n].length * 8; bit++, flipped++) {
        const jws = parts.map((part, i) => base64url(i === n ? flip(part, bit) : part)).join('.')
        equal(await joseTakes(jws), false, `part ${n}, bit ${bit}`)
      }
    }
    console.log(`# ${flipped} bits`)
  }],
  ['ethers recovers the signer', () => equal(verifyMessage(bundle.manifest, bundle.eip191), manifest.signer, 'signer')],
  ['ethers recovers another one with any bit flipped', () => {
    const signature = Buffer.from(bundle.eip191.slice(2), 'hex')
    const text = Buffer.from(bundle.manifest, 'utf8')
    let flipped = 0
    // Not of v, of which ethers takes several forms for the same signature.
    for (let bit = 0; bit < 64 * 8; bit++, flipped++) {
      equal(ethersTakes(bundle.manifest, hexlify(flip(signature, bit))), false, `signature, bit ${bit}`)
    }
    for (let bit = 0; bit < text.length * 8; bit += 5, flipped++) { // each takes a millisecond
      equal(ethersTakes(flip(text, bit), bundle.eip191), false, `manifest, bit ${bit}`)
    }
    console.log(`# ${flipped} bits`)
  }],
]

for (const [name, check] of checks) {
  try {
    await check()
    console.log(`ok - ${name}`)
  } catch (err) {
    console.log(`not ok - ${name}`)
    console.error(err)
    process.exit(1)
  }
}
