# HSM Signer: administrator of keys. Makes, imports, lists, switches off and deletes
# keys; signs nothing and reads no private key.
#
# The engine is mounted at hsmsigner/ here. For another mount replace every
# "hsmsigner/ at the beginning of a path.

path "hsmsigner/keys" {
  capabilities = ["list"]
}

path "hsmsigner/keys/*" {
  capabilities = ["create", "read", "update", "delete"]
}

# Whoever makes keys must not read them, whatever the mount allows.
path "hsmsigner/keys/+/export" {
  capabilities = ["deny"]
}

path "hsmsigner/wrapping-key" {
  capabilities = ["read"]
}

path "hsmsigner/addresses" {
  capabilities = ["list"]
}

path "hsmsigner/addresses/*" {
  capabilities = ["read"]
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
