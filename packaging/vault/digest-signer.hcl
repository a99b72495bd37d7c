# HSM Signer: digest signer, for the daemon and nobody else. Whoever holds it can
# have any 32 bytes signed by the keys that it names.
#
# To name the addresses, put each in place of the * in the paths, in lower case:
# path "hsmsigner/sign/0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".
#
# The engine is mounted at hsmsigner/ here. For another mount replace every
# "hsmsigner/ at the beginning of a path.

path "hsmsigner/addresses" {
  capabilities = ["list"]
}

path "hsmsigner/addresses/*" {
  capabilities = ["read"]
}

path "hsmsigner/sign/*" {
  capabilities = ["update"]
}

# What the policy default has as well, for tokens without it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}

path "sys/capabilities-self" {
  capabilities = ["update"]
}
