// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Costs are the two things that no signer gets around. Each is the median of
// several measurements; a spread is (highest − lowest) / median.
type Costs struct {
	SignRecover time.Duration `json:"sign_recover_ns"` // one signature and the check that it recovers, on one core
	SignSpread  float64       `json:"sign_recover_spread"`
	SignBusy    time.Duration `json:"sign_recover_busy_ns"` // the same while every core does it
	Sync        time.Duration `json:"sync_ns"`              // append 4 KiB to a file and sync its data: the floor of a commit
	SyncP99     time.Duration `json:"sync_p99_ns"`
}

func singleCosts(dir string) (c Costs, err error) {
	if c.SignRecover, c.SignSpread, err = signCost(1); err != nil {
		return c, err
	}
	if c.SignBusy, _, err = signCost(numCPU()); err != nil {
		return c, err
	}
	c.Sync, c.SyncP99, err = syncCost(dir)
	return c, err
}

const (
	signRounds = 7
	signSlice  = 150 * time.Millisecond
)

// signCost is the median of several slices.
func signCost(cores int) (cost time.Duration, spread float64, err error) {
	var perSign []float64
	for range signRounds {
		one, err := signOnce(cores)
		if err != nil {
			return 0, 0, err
		}
		perSign = append(perSign, float64(one))
	}
	median, spread := middle(perSign)
	return time.Duration(median), spread, nil
}

// signOnce is the processor time of a signature and its check, by the functions
// that the keystore and the wallet call. Processor time, and not the clock's, so
// that strangers on the machine do not make the daemon look better.
func signOnce(cores int) (time.Duration, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return 0, err
	}
	address := crypto.PubkeyToAddress(key.PublicKey)
	counts, errs := make([]int, cores), make([]error, cores)
	var wg sync.WaitGroup
	before := ownCPU()
	for core := range cores {
		wg.Go(func() {
			digest := crypto.Keccak256([]byte{byte(core)})
			for end := time.Now().Add(signSlice); time.Now().Before(end); counts[core]++ {
				raw, err := crypto.Sign(digest, key)
				if err == nil {
					_, err = secp.FinishHinted(address, [32]byte(digest), [32]byte(raw[:32]), [32]byte(raw[32:64]), raw[64])
				}
				if err != nil {
					errs[core] = err
					return
				}
				digest = crypto.Keccak256(raw)
			}
		})
	}
	wg.Wait()
	n := 0
	for core, count := range counts {
		if errs[core] != nil {
			return 0, errs[core]
		}
		n += count
	}
	return (ownCPU() - before) / time.Duration(max(1, n)), nil
}

func syncCost(dir string) (median, p99 time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	page, took := make([]byte, 4096), make([]time.Duration, 0, 500)
	for end := time.Now().Add(2 * time.Second); len(took) < cap(took) && time.Now().Before(end); {
		started := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, 0, err
		}
		if err := syncData(f); err != nil {
			return 0, 0, fmt.Errorf("sync: %w", err)
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return quantile(took, .5), quantile(took, .99), nil
}
