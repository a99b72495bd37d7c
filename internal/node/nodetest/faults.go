// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// Any stands for every method where a fault takes a method's name.
const Any = "*"

// Forever is the n of a fault that does not end by itself.
const Forever = -1

// RPCError is a JSON-RPC error object.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func (e *RPCError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// refusal is how geth words an error of its own (rpc/errors.go: -32000).
func refusal(format string, args ...any) *RPCError {
	return &RPCError{Code: -32000, Message: fmt.Sprintf(format, args...)}
}

// hooks script what the chain does. Guarded by Chain.mu.
type hooks struct {
	revert   func(*types.Transaction) bool
	send     func(*types.Transaction) *RPCError
	estimate func(json.RawMessage) (uint64, error)
	call     func(json.RawMessage) ([]byte, error)
	forget   int
	lies     map[common.Address]lie
	gasPrice *uint64
}

type lie struct{ latest, pending uint64 }

// faults are what happens to requests at the wire, whatever the chain thinks.
type faults struct {
	mu       sync.Mutex
	count    map[string]int
	drop     map[string]int
	fail     map[string]*failure
	garbage  map[string]*reply
	delay    map[string]time.Duration
	hang     map[string]chan struct{}
	refuse   atomic.Bool
	requests atomic.Int64
}

type failure struct {
	err *RPCError
	n   int
}

// reply is a whole HTTP answer in place of a JSON-RPC one.
type reply struct {
	status int
	body   []byte
	size   int64 // of an oversized answer; 0: body
	n      int
}

func (f *faults) init() {
	f.count = make(map[string]int)
	f.drop = make(map[string]int)
	f.fail = make(map[string]*failure)
	f.garbage = make(map[string]*reply)
	f.delay = make(map[string]time.Duration)
	f.hang = make(map[string]chan struct{})
}

func (f *faults) calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[method]
}

func (f *faults) counted(method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[method]++
}

// spend uses up one of n, unless n is Forever.
func spend(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return *n == Forever
}

func (f *faults) dropped(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []string{method, Any} {
		if n, ok := f.drop[m]; ok && spend(&n) {
			f.drop[m] = n
			return true
		}
	}
	return false
}

func (f *faults) failed(method string) *RPCError {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []string{method, Any} {
		if x := f.fail[m]; x != nil && spend(&x.n) {
			return x.err
		}
	}
	return nil
}

func (f *faults) replaced(method string) *reply {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []string{method, Any} {
		if x := f.garbage[m]; x != nil && spend(&x.n) {
			return x
		}
	}
	return nil
}

// waits returns how long a method has to wait, and a channel to wait for.
func (f *faults) waits(method string) (time.Duration, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hang := f.hang[method]
	if hang == nil {
		hang = f.hang[Any]
	}
	return max(f.delay[method], f.delay[Any]), hang
}

func (f *faults) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ch := range f.hang {
		close(ch)
	}
	clear(f.hang)
}

// Drop makes the next n calls of a method lose their answer: the node carries
// them out and cuts the connection. A batch is cut if any of its calls is.
func (e *Endpoint) Drop(method string, n int) { e.faults.set(func(f *faults) { f.drop[method] = n }) }

// Fail answers the next n calls of a method with an error, without carrying
// them out. A nil error ends it.
func (e *Endpoint) Fail(method string, err *RPCError, n int) {
	e.faults.set(func(f *faults) {
		if delete(f.fail, method); err != nil {
			f.fail[method] = &failure{err, n}
		}
	})
}

// Delay makes every call of a method take this much longer; 0 ends it.
func (e *Endpoint) Delay(method string, d time.Duration) {
	e.faults.set(func(f *faults) { f.delay[method] = d })
}

// Hang keeps every call of a method from being carried out until the returned
// function is called, or the caller gives up, or the chain is closed.
func (e *Endpoint) Hang(method string) (release func()) {
	ch := make(chan struct{})
	e.faults.set(func(f *faults) { f.hang[method] = ch })
	var once sync.Once
	return func() {
		once.Do(func() {
			e.faults.set(func(f *faults) {
				if f.hang[method] == ch {
					delete(f.hang, method)
					close(ch)
				}
			})
		})
	}
}

// Garbage answers the next n requests that call a method with these bytes,
// after carrying them out.
func (e *Endpoint) Garbage(method string, body []byte, n int) { e.HTTP(method, 200, body, n) }

// HTTP answers the next n requests that call a method with this status and
// body, after carrying them out.
func (e *Endpoint) HTTP(method string, status int, body []byte, n int) {
	e.faults.set(func(f *faults) { f.garbage[method] = &reply{status: status, body: body, n: n} })
}

// Oversize answers the next n requests that call a method with a well-formed
// response of about size bytes, of unannounced length.
func (e *Endpoint) Oversize(method string, size int64, n int) {
	e.faults.set(func(f *faults) { f.garbage[method] = &reply{status: 200, size: size, n: n} })
}

// RefuseConn resets all connections and every new one, until it is called with
// false.
func (e *Endpoint) RefuseConn(refuse bool) {
	e.faults.refuse.Store(refuse)
	if refuse {
		e.cutAll()
	}
}

// ClearFaults ends all of Drop, Fail, Delay, Hang, Garbage, HTTP, Oversize and
// RefuseConn.
func (e *Endpoint) ClearFaults() {
	e.faults.refuse.Store(false)
	e.faults.release()
	e.faults.set(func(f *faults) {
		clear(f.drop)
		clear(f.fail)
		clear(f.garbage)
		clear(f.delay)
	})
}

func (f *faults) set(change func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// SetChainID turns the node into one of another chain: it answers this id and
// takes only transactions signed for it. Blocks, accounts and pool stay.
func (c *Chain) SetChainID(id uint64) { c.chainID.Store(id) }

// LieNonce makes eth_getTransactionCount answer these for an address, until
// TellTruth.
func (c *Chain) LieNonce(addr common.Address, latest, pending uint64) {
	c.script(func(h *hooks) {
		h.lies = maps.Clone(h.lies)
		if h.lies == nil {
			h.lies = make(map[common.Address]lie)
		}
		h.lies[addr] = lie{latest, pending}
	})
}

// TellTruth ends LieNonce for an address.
func (c *Chain) TellTruth(addr common.Address) {
	c.script(func(h *hooks) { delete(h.lies, addr) })
}

// Forget makes the next n sends that the pool would take get their hash as
// answer without being pooled, as geth does with its local tracker.
func (c *Chain) Forget(n int) { c.script(func(h *hooks) { h.forget = n }) }

// DropFromPool forgets a pooled transaction and says whether there was one.
// Its successors stay, as gapped ones.
func (c *Chain) DropFromPool(hash common.Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byHash[hash]
	if p == nil {
		return false
	}
	c.remove(p.from, p.tx.Nonce())
	return true
}

// OnEstimate answers eth_estimateGas; it gets the call object. An *RPCError
// goes out as it is. nil: intrinsic gas.
func (c *Chain) OnEstimate(f func(call json.RawMessage) (uint64, error)) {
	c.script(func(h *hooks) { h.estimate = f })
}

// OnCall answers eth_call likewise. nil: no data.
func (c *Chain) OnCall(f func(call json.RawMessage) ([]byte, error)) {
	c.script(func(h *hooks) { h.call = f })
}

// OnSend may refuse a transaction that is well signed, before the pool's own
// rules; it must not call back into the chain.
func (c *Chain) OnSend(f func(*types.Transaction) *RPCError) {
	c.script(func(h *hooks) { h.send = f })
}

// OnMine says which transactions revert; it must not call back into the chain.
func (c *Chain) OnMine(reverts func(*types.Transaction) bool) {
	c.script(func(h *hooks) { h.revert = reverts })
}

// SetGasPrice makes eth_gasPrice answer this, wei per gas.
func (c *Chain) SetGasPrice(wei uint64) { c.script(func(h *hooks) { h.gasPrice = &wei }) }

func (c *Chain) script(change func(*hooks)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.hooks)
}
