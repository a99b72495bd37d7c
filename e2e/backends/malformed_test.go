// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const (
	malformedCases = 100_000 // for each provider
	malformedCalls = 8       // at once
)

// answers is an open adapter whose service gives the answers of a test: to a
// signature by ref i, what stands in next[i].
type answers struct {
	refs    []key.Ref
	next    []atomic.Pointer[specimen]
	backend key.Backend
	// make makes one more case.
	make func(*forge) *specimen
}

func newAnswers() *answers { return &answers{next: make([]atomic.Pointer[specimen], malformedCalls)} }

// TestAnswersAreSoundOrRefused has each adapter read 100,000 random answers and
// judges what comes out as the wallet does. What is a signature by the account
// gets through, as the one canonical form of itself, and nothing else does.
func TestAnswersAreSoundOrRefused(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *answers{
		"aws_kms": answersOfAWS, "azure": answersOfAzure, "gcp_kms": answersOfGoogle, "hashicorp": answersOfVault,
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			var mu sync.Mutex
			seen := map[string]int{}
			var callers sync.WaitGroup
			for i := range malformedCalls {
				callers.Go(func() {
					mine, err := a.judgeMany(t, i, malformedCases/malformedCalls)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					for what, n := range mine {
						seen[what] += n
					}
				})
			}
			callers.Wait()
			total := 0
			var lines []string
			for _, what := range slices.Sorted(maps.Keys(seen)) {
				total += seen[what]
				lines = append(lines, fmt.Sprintf("%6d %s", seen[what], what))
			}
			t.Logf("%d cases:\n%s", total, strings.Join(lines, "\n"))
		})
	}
}

// judgeMany runs n cases one after the other, and counts them by kind and
// result.
func (a *answers) judgeMany(t *testing.T, i, n int) (map[string]int, error) {
	f := newForge(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	seen := map[string]int{}
	for range n {
		c := a.make(f)
		a.next[i].Store(c)
		sig, err := a.backend.SignDigest(t.Context(), a.refs[i], c.digest)
		got, err := c.judge(sig, err)
		if err != nil {
			return seen, fmt.Errorf("%s: %w\nanswer %q\nr %x\ns %x", c.kind, err, c.answer, c.r, c.s)
		}
		seen[c.kind+": "+got.String()]++
	}
	return seen, nil
}

// judge does with an answer what the wallet does.
func (c *specimen) judge(sig key.Signature, err error) (verdict, error) {
	got := sound
	var final secp.Signature
	if err == nil {
		final, err = secp.FinishHinted(c.address, c.digest, sig.R, sig.S, sig.Hint)
	} else if sig.R != [32]byte{} || sig.S != [32]byte{} {
		return got, fmt.Errorf("a signature came with the error: %w", err)
	}
	switch {
	case err == nil:
		if err := secp.Check(c.address, c.digest, final); err != nil {
			return got, fmt.Errorf("accepted wrongly: %w", err)
		}
		low := new(big.Int).Set(c.s)
		if low.Cmp(half()) > 0 {
			low.Sub(order(), low)
		}
		if new(big.Int).SetBytes(final.R[:]).Cmp(c.r) != 0 || new(big.Int).SetBytes(final.S[:]).Cmp(low) != 0 {
			return got, fmt.Errorf("accepted r %x, s %x", final.R, final.S)
		}
	case errors.Is(err, secp.ErrWrongKey):
		got = foreign
	case errors.Is(err, key.ErrBadResponse) && !key.Transient(err):
		got = broken
	default:
		return got, fmt.Errorf("refused in an unknown way: %w", err)
	}
	if got != c.want && !(c.want == soundOrBroken && (got == sound || got == broken)) {
		return got, fmt.Errorf("it is %s and should be %s: %v", got, c.want, err)
	}
	return got, nil
}
