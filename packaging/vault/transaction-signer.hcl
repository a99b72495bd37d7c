# HSM Signer: transaction signer, for people and other programs. Signs whole
# transactions, which Vault decodes and encodes itself, and no bare digests.
#
# To name the addresses, put each in place of the * in the paths, in lower case:
# path "hsmsigner/sign-transaction/0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".
#
# The engine is mounted at hsmsigner/ here. For another mount replace every
# "hsmsigner/ at the beginning of a path.

path "hsmsigner/addresses" {
  capabilities = ["list"]
}

path "hsmsigner/addresses/*" {
  capabilities = ["read"]
}

path "hsmsigner/sign-transaction/*" {
  capabilities = ["update"]
}
