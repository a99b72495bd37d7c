// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"math/big"
	"net"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"
)

// startTimeout bounds the wait for a program to answer. Cold starts on a busy
// two-core machine take a few seconds, and many times that beside other tests.
const startTimeout = 2 * time.Minute

// Node is a running Ethereum node that mines by itself.
type Node struct {
	*Process
	URL     string // http://127.0.0.1:…
	WSURL   string // ws://127.0.0.1:…
	ChainID uint64
	RPC     *rpc.Client
	Eth     *ethclient.Client
}

// Rich is the balance in wei that a funded account starts with: 10,000 ether.
func Rich() *big.Int { return new(big.Int).Mul(big.NewInt(10_000), big.NewInt(1e18)) }

// StartAnvil starts anvil, which mines every blockTime, or at once for each
// transaction if blockTime is 0. It has keys of its own, which a door in front of
// it must never use.
func StartAnvil(t T, blockTime time.Duration, fund ...common.Address) *Node {
	t.Helper()
	path, err := Foundry("anvil")
	if err != nil {
		t.Fatalf("%v", err)
	}
	address := FreeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	args := []string{"--host", host, "--port", port, "--accounts", "1"}
	if blockTime > 0 {
		args = append(args, "--block-time", strconv.FormatFloat(blockTime.Seconds(), 'f', -1, 64))
	}
	n := &Node{Process: Start(t, "anvil", path, args...), URL: "http://" + address, WSURL: "ws://" + address}
	n.connect(t)
	for _, a := range fund {
		n.call(t, nil, "anvil_setBalance", a, (*hexutil.Big)(Rich()))
	}
	return n
}

// StartDevnet starts cmd/devnet with a block every period and the given accounts
// funded in its genesis.
func StartDevnet(t T, bin Binaries, period time.Duration, fund ...common.Address) *Node {
	t.Helper()
	address := FreeAddress(t)
	args := []string{"--http", address, "--period", period.String()}
	for _, a := range fund {
		args = append(args, "--fund", a.Hex())
	}
	n := &Node{Process: Start(t, "devnet", bin.Devnet, args...), URL: "http://" + address, WSURL: "ws://" + address}
	n.connect(t)
	return n
}

// connect waits until the node answers, and learns its chain id.
func (n *Node) connect(t T) {
	t.Helper()
	var err error
	if n.RPC, err = rpc.Dial(n.URL); err != nil {
		t.Fatalf("harness: dial %s: %v", n.URL, err)
	}
	t.Cleanup(n.RPC.Close)
	n.Eth = ethclient.NewClient(n.RPC)
	for end := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var id *big.Int
		id, err = n.Eth.ChainID(ctx)
		cancel()
		if err == nil {
			n.ChainID = id.Uint64()
			return
		}
		if n.Ended() || time.Now().After(end) {
			t.Fatalf("harness: node at %s does not answer: %v\n%s", n.URL, err, n.Output())
		}
	}
}

func (n *Node) call(t T, result any, method string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.RPC.CallContext(ctx, result, method, args...); err != nil {
		t.Fatalf("harness: %s: %v", method, err)
	}
}

// Nonce is the count of mined transactions of an address.
func (n *Node) Nonce(t T, a common.Address) uint64 {
	t.Helper()
	var count hexutil.Uint64
	n.call(t, &count, "eth_getTransactionCount", a, "latest")
	return uint64(count)
}

// Head is the number of the latest block.
func (n *Node) Head(t T) uint64 {
	t.Helper()
	var number hexutil.Uint64
	n.call(t, &number, "eth_blockNumber")
	return uint64(number)
}

// Options are those of a daemon in front of this node.
func (n *Node) Options(keys Keys) Options {
	return Options{NodeURL: n.URL, ChainID: n.ChainID, Keys: keys}
}
