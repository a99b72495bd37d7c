// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// answers is what a fake node says, by method. A method that is not in it
// does not exist there.
type answers map[string]string

// london is a healthy chain with a base fee of 7 gwei and a tip of 1 gwei.
func london() answers {
	return answers{
		"eth_getBlockByNumber":     `{"number":"0x10","baseFeePerGas":"0x1a13b8600","gasLimit":"0x1c9c380"}`,
		"eth_maxPriorityFeePerGas": `"0x3b9aca00"`,
		"eth_gasPrice":             `"0x1dcd65000"`,
		"eth_blobBaseFee":          `"0x5"`,
		"eth_getCode":              `"0x"`,
		"eth_estimateGas":          `"0xc350"`,
	}
}

func (a answers) with(method, result string) answers {
	a[method] = result
	return a
}

func (a answers) without(methods ...string) answers {
	for _, m := range methods {
		delete(a, m)
	}
	return a
}

// fakeNode is a Chain over JSON-RPC to a server that gives fixed answers. It
// records what was asked.
type fakeNode struct {
	client *rpc.Client
	asked  []string
	params []json.RawMessage
}

func startNode(t *testing.T, a answers) *fakeNode {
	t.Helper()
	n := &fakeNode{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		n.asked, n.params = append(n.asked, req.Method), append(n.params, req.Params)
		w.Header().Set("Content-Type", "application/json")
		result, ok := a[req.Method]
		switch {
		case !ok:
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"the method does not exist"}}`, req.ID)
		case result == "revert":
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":3,"message":"execution reverted: no","data":"0x08c379a0"}}`, req.ID)
		default:
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, req.ID, result)
		}
	}))
	t.Cleanup(server.Close)
	client, err := rpc.Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	n.client = client
	return n
}

func (n *fakeNode) call(ctx context.Context, out any, method string, args ...any) error {
	err := n.client.CallContext(ctx, out, method, args...)
	var code rpc.Error
	if errors.As(err, &code) && code.ErrorCode() == -32601 {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func (n *fakeNode) number(ctx context.Context, method string) (*big.Int, error) {
	var out hexutil.Big
	err := n.call(ctx, &out, method)
	return out.ToInt(), err
}

func (n *fakeNode) SuggestTip(ctx context.Context) (*big.Int, error) {
	return n.number(ctx, "eth_maxPriorityFeePerGas")
}

func (n *fakeNode) GasPrice(ctx context.Context) (*big.Int, error) {
	return n.number(ctx, "eth_gasPrice")
}

func (n *fakeNode) BlobBaseFee(ctx context.Context) (*big.Int, error) {
	return n.number(ctx, "eth_blobBaseFee")
}

func (n *fakeNode) Head(ctx context.Context) (Head, error) {
	var h struct {
		Number, GasLimit hexutil.Uint64
		BaseFeePerGas    *hexutil.Big
	}
	err := n.call(ctx, &h, "eth_getBlockByNumber", "latest", false)
	return Head{Number: uint64(h.Number), BaseFee: h.BaseFeePerGas.ToInt(), GasLimit: uint64(h.GasLimit)}, err
}

func (n *fakeNode) CodeAt(ctx context.Context, addr common.Address) ([]byte, error) {
	var out hexutil.Bytes
	err := n.call(ctx, &out, "eth_getCode", addr, "pending")
	return out, err
}

func (n *fakeNode) EstimateGas(ctx context.Context, a Args) (uint64, error) {
	var out hexutil.Uint64
	err := n.call(ctx, &out, "eth_estimateGas", json.RawMessage(a.CallJSON()), "pending")
	return uint64(out), err
}
