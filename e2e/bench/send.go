// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/bench/stub"
	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const senders = 64

// send measures the whole way of a transaction: accept, nonce, sign, check, store,
// send, track. Gas and fees are given, so the node is asked for nothing that it
// would not be asked for by any signer.
func send(ctx context.Context, b *bench, p *Part) error {
	d, node, s := b.sending("hsmsigner on SQLite", setup{Keys: harness.NewKeys(b.h, 1)}, senders)
	s.during = b.profiled("send", d)
	pg, err := b.postgres(ctx)
	if err != nil {
		return err
	}
	dp, nodeP, sp := b.sending("hsmsigner on PostgreSQL", setup{Keys: harness.NewKeys(b.h, 1), Database: pg.url}, senders)
	sp.nodes = append(sp.nodes, pg)
	sp.during = b.profiled("send-postgres", dp)
	if p.Samples, err = b.compare(ctx, b.length, s, sp); err != nil {
		return err
	}
	for i, least := range []float64{.35, .2} {
		one := &p.Samples[i]
		core, _ := middle(one.Core)
		p.atLeast(one.Name+": of one core's sign+recover rate", one.ofCore(), least)
		p.note("%s: at this cost the processors could do %.0f/s, %.2f of a core's sign+recover (%.0f/s)", one.Name, one.limit(), one.limit()/core, core)
	}
	return errors.Join(sound(node, s), sound(nodeP, sp))
}

// sending starts a stub node and a daemon in front of it, and makes the load for
// the daemon's addresses.
func (b *bench) sending(name string, o setup, clients int) (*daemon, own, *side) {
	node := startSelf(b.h, "stub")
	o.Node = node.address
	d := b.startDaemon(o)
	t := target{Addresses: []string{d.Address}, Conns: clients, Hashes: true, Requests: transfers(d.Address, o.Keys.Addresses)}
	return d, node, &side{name: name, target: t, daemons: []process{d.Process}, nodes: []process{node.Process}}
}

// transfers makes one request per sender, with gas and fees and without nonce.
func transfers(host string, from []common.Address) [][]byte {
	requests := make([][]byte, len(from))
	for i, a := range from {
		requests[i] = httpPost(host, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"%s","to":"%s","value":"0x1","gas":"0x5208","maxFeePerGas":"0x77359400","maxPriorityFeePerGas":"0x1"}]}`,
			strings.ToLower(a.Hex()), strings.ToLower(stub.Receiver(a).Hex())))
	}
	return requests
}

// sound demands that exactly what was answered is mined, once, by the right
// senders, without a gap: a fast signer that loses transactions is not fast.
func sound(node own, sides ...*side) error {
	var hashes []common.Hash
	for _, s := range sides {
		for _, a := range s.kept {
			hashes = append(hashes, a.Hashes...)
		}
	}
	want := len(hashes)
	digest := stub.Digest(hashes)
	var v stub.Verdict
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * stub.Interval) {
		text, err := call(node.address, "bench_check", "")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return fmt.Errorf("bench_check: %w", err)
		}
		if v.Mined >= want || len(v.Wrong) > 0 {
			break
		}
	}
	switch {
	case len(v.Wrong) > 0:
		return fmt.Errorf("the chain is not sound (%d findings): %s", len(v.Wrong), v.Wrong[0])
	case v.Mined != want || v.Pending != 0:
		return fmt.Errorf("%d transactions are mined and %d wait, %d were answered", v.Mined, v.Pending, want)
	case v.Digest != digest:
		return errors.New("other transactions are mined than were answered")
	}
	return nil
}
