// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	senders = 64
	// presigned bounds what is signed beforehand for the direct way.
	presigned = 30_000
)

// send compares one address's transactions: signed beforehand and sent to the node
// directly, against eth_sendTransaction of the daemon, which orders, signs, stores
// and sends them. The node mines every 100 ms; gas and fees are given.
func send(ctx context.Context, h *host, bin harness.Binaries, length time.Duration) ([]Sample, error) {
	node := startSelf(h, "node")
	direct, err := sendRaw(ctx, node, length)
	if err != nil {
		return nil, err
	}
	node = startSelf(h, "node") // a fresh one: the first has a long chain now
	daemon := startDaemon(h, bin, node)
	from := daemon.Addresses[0]
	body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"%s","to":"%s","value":"0x1","gas":"0x5208","maxFeePerGas":"0x77359400","maxPriorityFeePerGas":"0x1"}]}`, from, receiver())
	before := daemon.CPUTime()
	signed, err := load(ctx, "hsmsigner signs and sends", strings.TrimPrefix(daemon.URL, "http://"), senders, length, func() ([]byte, error) { return body, nil })
	if err != nil {
		return nil, err
	}
	if err := allMined(ctx, node, from, signed.Count); err != nil {
		return nil, err
	}
	// Tracking them to their confirmation belongs to what they cost.
	signed.CPU = (daemon.CPUTime() - before) / time.Duration(signed.Count)
	return []Sample{direct, signed}, nil
}

func receiver() common.Address {
	return common.HexToAddress("0x00000000000000000000000000000000000be11c")
}

func sendRaw(ctx context.Context, node string, length time.Duration) (Sample, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return Sample{}, err
	}
	bodies, err := presign(key)
	if err != nil {
		return Sample{}, err
	}
	var used atomic.Int64
	s, err := load(ctx, "the node directly, signed beforehand", node, senders, length, func() ([]byte, error) {
		if i := used.Add(1) - 1; i < presigned {
			return bodies[i], nil
		}
		return nil, errDone
	})
	if err != nil {
		return Sample{}, err
	}
	return s, allMined(ctx, node, crypto.PubkeyToAddress(key.PublicKey), s.Count)
}

func presign(key *ecdsa.PrivateKey) ([][]byte, error) {
	id, to := big.NewInt(chainID), receiver()
	signer := types.LatestSignerForChainID(id)
	bodies := make([][]byte, presigned)
	for i := range bodies {
		tx, err := types.SignNewTx(key, signer, &types.DynamicFeeTx{
			ChainID: id, Nonce: uint64(i), To: &to, Value: common.Big1, Gas: 21000,
			GasFeeCap: big.NewInt(2e9), GasTipCap: common.Big1,
		})
		if err != nil {
			return nil, err
		}
		raw, err := tx.MarshalBinary()
		if err != nil {
			return nil, err
		}
		bodies[i] = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["%s"]}`, hexutil.Encode(raw))
	}
	return bodies, nil
}

// allMined demands that exactly what was answered is mined: a fast signer that
// loses transactions is not fast.
func allMined(ctx context.Context, node string, from common.Address, want int) error {
	client, err := ethclient.DialContext(ctx, "http://"+node)
	if err != nil {
		return err
	}
	defer client.Close()
	var got uint64
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got, err = client.NonceAt(ctx, from, nil); err != nil {
			return err
		}
		if got == uint64(want) {
			return nil
		}
	}
	return fmt.Errorf("%d transactions mined, %d were answered", got, want)
}
