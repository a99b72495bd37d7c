// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/e2e/bench/stub"
	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	ticking   = "tick(uint256)"
	tickingIs = `[{"type":"function","name":"tick","inputs":[{"name":"mark","type":"uint256"}],"outputs":[],"stateMutability":"nonpayable"}]`
)

// gateway measures what it costs to send a transaction to a contract by its name and
// method in place of JSON-RPC with the call encoded already. All make the same
// transactions, by an app credential; the gateway's are kept under an id besides, by
// which a reply is there later. Beside them JSON-RPC with an idempotency key shows
// how much of the difference that is.
func gateway(ctx context.Context, b *bench, p *Part) error {
	plain, err := b.calling(ctx, "eth_sendTransaction", (*daemon).rpcCall)
	if err != nil {
		return err
	}
	keyed, err := b.calling(ctx, "… with an idempotency key", (*daemon).keyedCall)
	if err != nil {
		return err
	}
	keyed.side.target.Keys = new(atomic.Uint64)
	named, err := b.calling(ctx, "POST contracts/clock/tick", (*daemon).gatewayCall)
	if err != nil {
		return err
	}
	if p.Samples, err = b.compare(ctx, b.length, plain.side, keyed.side, named.side); err != nil {
		return err
	}
	p.atMost("times the time of an eth_sendTransaction of the same", p.ratio(0, 2), 1.3, "")
	before, after := p.Samples[0].CPU.Daemon, p.Samples[2].CPU.Daemon
	p.note("the daemon's processor time is %.3f of that of an eth_sendTransaction", float64(after)/float64(before))
	p.note("with an idempotency key an eth_sendTransaction takes %.2f times the time; the gateway %.2f times that", p.ratio(0, 1), p.ratio(1, 2))
	return errors.Join(sound(plain.node, plain.side), sound(keyed.node, keyed.side), sound(named.node, named.side))
}

// caller is a load on a daemon, and its node.
type caller struct {
	node own
	side *side
}

// calling starts a daemon in front of a stub node, and makes the load of what make
// says is to be sent for one account.
func (b *bench) calling(ctx context.Context, name string, make func(d *daemon, ctx context.Context, credential string, k harness.Keys) ([]byte, error)) (c caller, err error) {
	keys := harness.NewKeys(b.h, 1)
	d, node, side := b.sending(name, setup{Keys: keys, Management: true}, senders)
	side.during = b.profiled("gateway-"+strings.Map(letters, name), d)
	credential, err := d.credential(ctx, b.binary(false))
	if err != nil {
		return c, err
	}
	request, err := make(d, ctx, credential, keys)
	side.target.Requests = [][]byte{request}
	return caller{node, side}, err
}

// letters leaves of a name what can stand in that of a file.
func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
		return r
	}
	return -1
}

const gas, maxFee, tip = 100_000, 2_000_000_000, 1

func (d *daemon) rpcCall(_ context.Context, credential string, k harness.Keys) ([]byte, error) {
	from := k.Addresses[0]
	data := hex.EncodeToString(crypto.Keccak256([]byte(ticking))[:4]) + fmt.Sprintf("%064x", 42)
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"%s","to":"%s","data":"0x%s","gas":"%#x","maxFeePerGas":"%#x","maxPriorityFeePerGas":"%#x"}]}`,
		strings.ToLower(from.Hex()), strings.ToLower(stub.Receiver(from).Hex()), data, gas, maxFee, tip)
	return authorised(httpPost(d.Address, body), credential), nil
}

// keyedCall is rpcCall with a key of its own each time.
func (d *daemon) keyedCall(ctx context.Context, credential string, k harness.Keys) ([]byte, error) {
	request, err := d.rpcCall(ctx, credential, k)
	return bytes.Replace(request, []byte("\r\n"), []byte("\r\nIdempotency-Key: "+numbered+"\r\n"), 1), err
}

// gatewayCall has the daemon know the contract, under a name.
func (d *daemon) gatewayCall(ctx context.Context, credential string, k harness.Keys) ([]byte, error) {
	from := k.Addresses[0]
	var made struct{ ID string }
	if err := d.post(ctx, credential, "/abis", `{"abi":`+tickingIs+`}`, &made); err != nil {
		return nil, err
	}
	if err := d.post(ctx, credential, "/abis/"+made.ID+"/"+stub.Receiver(from).Hex()+"?fly-register=clock", "", nil); err != nil {
		return nil, err
	}
	path := fmt.Sprintf("%s/contracts/clock/tick?fly-from=%s&fly-gas=%d&fly-maxfeepergas=%d&fly-maxpriorityfeepergas=%d", gatewayPath, strings.ToLower(from.Hex()), gas, maxFee, tip)
	request := bytes.Replace(httpPost(d.Address, `{"mark":"42"}`), []byte("POST / "), []byte("POST "+path+" "), 1)
	return authorised(request, credential), nil
}

// gatewayPath is where the gateway of the daemon's wallet is.
const gatewayPath = "/bench/gateway"

func authorised(request []byte, credential string) []byte {
	return bytes.Replace(request, []byte("\r\n"), []byte("\r\nAuthorization: "+credential+"\r\n"), 1)
}

// post sends to the daemon's gateway what is not measured.
func (d *daemon) post(ctx context.Context, credential, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.Address+gatewayPath+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", credential)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("gateway %s: %d %s", path, res.StatusCode, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
