// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"crypto/rand"
	"sync"

	"github.com/ethereum/go-ethereum/common"
)

// Burst lets all clients send at the same time: client i sends work[i]. Each
// outcome is also given to seen as soon as its client has it, from many
// goroutines; seen may be nil. It returns when every client has its answers.
func Burst(ctx context.Context, clients []Client, work [][]Transfer, seen func(Outcome)) []Outcome {
	var (
		mu       sync.Mutex
		outcomes []Outcome
		wg       sync.WaitGroup
	)
	start := make(chan struct{})
	for i, c := range clients {
		wg.Go(func() {
			<-start
			for _, part := range parts(c, work[i]) {
				got := c.Send(ctx, part)
				mu.Lock()
				outcomes = append(outcomes, got...)
				mu.Unlock()
				if seen != nil {
					for _, o := range got {
						seen(o)
					}
				}
			}
		})
	}
	close(start)
	wg.Wait()
	return outcomes
}

// parts cuts the work of a client that does not batch into single requests, so
// that each answer is seen when it arrives.
func parts(c Client, work []Transfer) [][]Transfer {
	if c, ok := c.(*client); ok && c.batch {
		return [][]Transfer{work}
	}
	one := make([][]Transfer, len(work))
	for i := range work {
		one[i] = work[i : i+1]
	}
	return one
}

// Fresh returns an address that nobody has the key of.
func Fresh() common.Address {
	var a common.Address
	_, _ = rand.Read(a[:]) // never fails since Go 1.24
	return a
}

// Hashes are the hashes of the outcomes without error.
func Hashes(outcomes []Outcome) []common.Hash {
	var hashes []common.Hash
	for _, o := range outcomes {
		if o.Err == nil {
			hashes = append(hashes, o.Hash)
		}
	}
	return hashes
}

// Errors counts the outcomes with an error and returns the first.
func Errors(outcomes []Outcome) (count int, first error) {
	for _, o := range outcomes {
		if o.Err != nil {
			if count++; first == nil {
				first = o.Err
			}
		}
	}
	return count, first
}
