// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// The holder serves the sender through another wallet, and has not got the one
// that a request came in by at another replica.
func TestIdempotencyKeyIsThatOfTheWalletWhereverTheRequestIsStored(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Automine: true}, fast())
	a, b := f.all[0], f.all[1]
	f.unbind(a.w, time.Second)
	other := a.mgr.Bind(Binding{Name: "other", Keys: a.wallet, Node: a.node, ChainID: 1337, Settings: f.set})
	first, err := other.Send(t.Context(), caller, SendRequest{Args: transfer(0, 1), IdempotencyKey: "k"})
	f.must(err)
	second, err := b.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 1), IdempotencyKey: "k"})
	f.must(err)
	if first == second {
		t.Error("answered with another wallet's transaction, and never sent")
	}
	_, err = b.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 2), IdempotencyKey: "k2"})
	f.must(err)
	_, err = other.Send(t.Context(), caller, SendRequest{Args: transfer(0, 3), IdempotencyKey: "k2"})
	f.must(err)
	_, err = other.Send(t.Context(), caller, SendRequest{Args: transfer(0, 8), IdempotencyKey: "k4"})
	f.must(err)
	_, err = b.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 9), IdempotencyKey: "k4"})
	f.must(err)
}

// The same key at two replicas at the same time, the holder has the wallet not.
func TestOneKeyAtTwoReplicasIsOneTransactionWhateverWalletTheHolderHas(t *testing.T) {
	f := newFleet(t, 3, true, nodetest.Options{Automine: true}, fast())
	a, b, c := f.all[0], f.all[1], f.all[2]
	f.unbind(a.w, time.Second)
	other := a.mgr.Bind(Binding{Name: "other", Keys: a.wallet, Node: a.node, ChainID: 1337, Settings: f.set})
	_, err := other.Send(t.Context(), caller, SendRequest{Args: transfer(0, 1)})
	f.must(err)
	for i := range 5 {
		key := string(rune('a' + i))
		type answer struct {
			h   string
			err error
		}
		answers := make(chan answer, 2)
		for _, r := range []*replica{b, c} {
			go func() {
				h, err := r.w.Send(context.WithoutCancel(t.Context()), caller, SendRequest{Args: transfer(0, 5), IdempotencyKey: key})
				answers <- answer{h.Hex(), err}
			}()
		}
		x, y := <-answers, <-answers
		if x.err != nil || y.err != nil || x.h != y.h {
			t.Errorf("%v %v | %v %v", x.h, x.err, y.h, y.err)
		}
	}
}
