// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// Costs are the two things that no signer gets around.
type Costs struct {
	SignRecover time.Duration `json:"sign_recover_ns"` // one signature and the check that it recovers, on one core
	Sync        time.Duration `json:"sync_ns"`         // append 4 KiB to a file and sync its data: the floor of a commit
}

func singleCosts(dir string) (Costs, error) {
	sign, err := signCost()
	if err != nil {
		return Costs{}, err
	}
	sync, err := syncCost(dir)
	return Costs{SignRecover: sign, Sync: sync}, err
}

func signCost() (time.Duration, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return 0, err
	}
	digest := crypto.Keccak256([]byte("bench"))
	started, n := time.Now(), 0
	for ; time.Since(started) < 500*time.Millisecond; n++ {
		signature, err := crypto.Sign(digest, key)
		if err != nil {
			return 0, err
		}
		if _, err := crypto.Ecrecover(digest, signature); err != nil {
			return 0, err
		}
		digest = crypto.Keccak256(signature)
	}
	return time.Since(started) / time.Duration(n), nil
}

func syncCost(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page, took := make([]byte, 4096), make([]time.Duration, 0, 100)
	for end := time.Now().Add(2 * time.Second); len(took) < cap(took) && time.Now().Before(end); {
		started := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := syncData(f); err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
