// SPDX-License-Identifier: Apache-2.0

// Package config reads the operator's YAML file into one typed tree.
//
// Reading is strict: unknown keys, missing keys, wrong types, values out of
// range and contradictions are all reported, at once, each with its line. A
// misspelt key is never ignored, since it might be the one that limits what
// may be signed. The package starts nothing and connects to nothing; it reads
// the config file and the secret and certificate files that it names.
//
// A secret never shows: see [Secret].
package config

import (
	"crypto/tls"
	"math/big"
	"time"
)

// Config is a whole config file. It is valid once [Load] has returned it
// without an error, and is not changed after that. All paths are absolute.
type Config struct {
	Path          string // of the file
	Data          string // data: folder of the SQLite database; default ./data
	DefaultWallet string // default_wallet: served at / ; empty if none is
	Log           Log
	Database      Database // database: PostgreSQL, where the rows are not in Data
	Replica       Replica
	Retention     Retention
	Tracing       Tracing
	RPC           RPC
	Admin         Admin
	Webhooks      Webhooks
	Modules       map[string]Module // pkcs11_modules: libraries that wallets may name
	Management    Management
	Seal          Seal
	Audit         Audit
	Policy        Policy // policy: rules for everything that is signed here
	Approvals     Approvals
	Egress        Egress
	Grants        []Grant  // grants: what memberships may use of the operator's
	Wallets       []Wallet // wallets: at least one without management; names are unique
}

// Wallet finds a wallet by its name.
func (c *Config) Wallet(name string) (Wallet, bool) {
	for _, w := range c.Wallets {
		if w.Name == name {
			return w, true
		}
	}
	return Wallet{}, false
}

// Log is how the daemon writes its log.
type Log struct {
	Level  string // level: debug, info, warn or error; default info
	Format string // format: text or json; default text
}

// Auth is how callers of the RPC door prove who they are.
type Auth string

// The kinds of authentication.
const (
	AuthNone  Auth = "none"  // everybody who can connect may sign; on loopback only
	AuthBasic Auth = "basic" // HTTP Basic with one of RPC.Credentials
	AuthMTLS  Auth = "mtls"  // a client certificate signed by TLS.ClientCA
)

// RPC is the JSON-RPC listener.
type RPC struct {
	Listen      string       // listen: host:port; default 127.0.0.1:8545
	Auth        Auth         // auth; default none
	Credentials []Credential // credentials: for auth basic, at least one
	TLS         TLS
	Hosts       []string // hosts: allowed in the Host header beside the listen address and, on loopback, localhost; exact names
	Origins     []string // origins: browser origins that may call, like https://app.example.org; default none
	Methods     []string // methods: passed through to the node beside the built-in list; exact names
	Limits      Limits
	Timeout     time.Duration // timeout: how long eth_sendTransaction waits for an outcome; default 30s
}

// Credential is a name and password for HTTP Basic.
type Credential struct {
	Username string
	Password Secret
}

// Limits bound what callers can make the RPC listener hold in memory.
type Limits struct {
	Body          int64 // body: bytes of one request or WebSocket message; default 1MiB
	Batch         int   // batch: requests in one JSON-RPC batch; default 100
	Requests      int   // requests: in work at the same time, a batch counts once; default 1024
	Connections   int   // connections: open at the same time, WebSockets among them; default 1000
	Subscriptions int   // subscriptions: of one WebSocket; default 100
}

// TLS is the transport security of a listener.
type TLS struct {
	Upstream bool   // tls: upstream: something in front of us ends TLS; we speak plain HTTP
	Cert     string // cert: PEM file with the certificate chain
	Key      string // key: PEM file
	ClientCA string // client_ca: PEM file; with it, every client must show a certificate signed by it
}

// Enabled reports whether the listener itself speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Admin is the listener for operators: metrics and health.
type Admin struct {
	Listen string // listen: host:port; default 127.0.0.1:8080
	TLS    TLS
	Hosts  []string // hosts: as RPC.Hosts
}

// Local reports whether nobody but programs of this machine reaches the listener.
func (a Admin) Local() bool { return isLoopback(a.Listen) && !a.TLS.Upstream }

// Wallet binds the keys of one backend to one node.
type Wallet struct {
	Name            string // name: part of the wallet's URL
	Node            Node
	Details         Details
	Window          int             // window: nonces in flight per account, counted from the node's latest; default 16 on known public chains, else 64
	Confirmations   uint64          // confirmations: blocks on top of a mined transaction until it is final; default 12
	SignTransaction SignTransaction // sign_transaction: what eth_signTransaction answers; default object
	RawOwn          RawOwn          // raw_own: what eth_sendRawTransaction does for an account of this wallet; default adopt
	MaxFeePerGas    *big.Int        // max_fee_per_gas: wei per gas that no transaction may pass; nil for none (the default)
	TxFeeCap        *big.Int        // tx_fee_cap: wei of gas × price that no transaction may pass; default 1 ether; nil for none
	Expires         time.Duration   // expires: an unsent transaction fails after this; default 10m
	BumpAfter       time.Duration   // bump_after: a sent transaction that blocks pass over for this long gets higher fees; 0 for never; default 5m
	FeeCeiling      int             // fee_ceiling: fees that the caller left to us may be raised to this multiple of the first; default 3
	Concurrency     int             // concurrency: signatures asked of the backend at the same time; default 64, for pkcs11 its sessions, for a keystore 8
	Refresh         time.Duration   // refresh: between discoveries of the backend's keys; default 1m
	Webhooks        []Webhook       // webhooks: who is told what becomes of the transactions; default none
	Policy          Policy          // policy: rules for this wallet, beside those at the top of the file; all of them have to allow
}

// SignTransaction says what eth_signTransaction answers.
type SignTransaction string

// The shapes of an eth_signTransaction result.
const (
	SignObject SignTransaction = "object" // {raw, tx}, as geth does
	SignHex    SignTransaction = "hex"    // the raw bytes in hex, as op-signer does
)

// RawOwn says what happens to a raw transaction signed by one of our accounts.
type RawOwn string

// The ways to treat a raw transaction of our own account.
const (
	RawAdopt  RawOwn = "adopt"  // the transaction manager takes it over
	RawRefuse RawOwn = "refuse" // it is an error
)

// Node is the Ethereum node behind a wallet: one, or several of which one is
// used at a time.
type Node struct {
	URL         Secret            // url: http or https. Secret, since a hosted node's URL carries its API key
	WSURL       Secret            // ws_url: ws or wss; default: URL with ws for http
	ChainID     uint64            // chain_id: pinned; the node is refused if it answers another
	Instance    string            // instance: tells development chains with the same genesis apart; default empty
	Timeout     time.Duration     // timeout: of one request; default 10s
	Headers     map[string]Secret // headers: sent with every request
	MaxResponse int64             // max_response: bytes of one answer; default 32MiB
	Poll        time.Duration     // poll: between looks at the chain's head; default 1s

	Endpoints []NodeEndpoint // urls: in place of URL, WSURL and Headers; in the order of preference
	Check     time.Duration  // check: between looks at each of Endpoints; default 2s
	DownAfter time.Duration  // down_after: the one in use is left when it did not answer for so long; default 5s
	MaxLag    uint64         // max_lag: or is more than so many blocks behind another; default 5
	Dwell     time.Duration  // dwell: but for its lag not sooner than so long after a change; default 30s
}

// NodeEndpoint is one of several nodes that serve the same chain.
type NodeEndpoint struct {
	Name    string            // name: shown in place of the URL; default node-1, node-2, … by position
	URL     Secret            // url: as Node.URL; an item of urls that is no mapping is this
	WSURL   Secret            // ws_url: as Node.WSURL
	Headers map[string]Secret // headers: as Node.Headers
}

// Defaults that docs and tests name.
const (
	DefaultListen      = "127.0.0.1:8545"
	DefaultAdminListen = "127.0.0.1:8080"
	PublicWindow       = 16 // geth keeps this many transactions of one sender for certain
	UnknownWindow      = 64 // geth's pool drops gapped transactions above this
)

// ChargesData reports whether a chain charges for a transaction's data in gas,
// so that a plain transfer needs more than 21,000: Arbitrum, zkSync Era, Mantle
// and their test chains.
func ChargesData(id uint64) bool {
	switch id {
	case 300, 324, 5000, 5003, 42161, 42170, 421614:
		return true
	}
	return false
}

// publicChains have pools that strangers compete for; there the nonce window
// stays at what every node keeps.
func publicChain(id uint64) bool {
	switch id {
	case 1, 10, 56, 97, 100, 137, 324, 5000, 8453, 10200, 17000, 42161, 42220, 43113, 43114, 59144,
		80002, 81457, 84532, 421614, 534352, 560048, 11155111, 11155420:
		return true
	}
	return false
}

// Certificate loads the certificate of a listener that speaks TLS.
func (t TLS) Certificate() (tls.Certificate, error) { return tls.LoadX509KeyPair(t.Cert, t.Key) }
