// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/accounts/abi/bind"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// useEthclient does what a Go program does: abigen's bind package fills nonce, gas
// and fees itself, lets the door sign with eth_signTransaction, and sends the raw
// bytes, which must come out as one sequence with what the door sends by itself.
func useEthclient(t *testing.T, d door, account common.Address) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	client, err := ethclient.DialContext(ctx, d.wsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := &goClient{ctx, client, account}

	heads := make(chan *types.Header, 16)
	sub, err := client.SubscribeNewHead(ctx, heads)
	if err != nil {
		t.Fatalf("SubscribeNewHead: %v", err)
	}
	defer sub.Unsubscribe()

	for _, check := range []struct {
		name string
		do   func() error
	}{
		{"lists the account", c.listsTheAccount},
		{"reads through the door", func() error { return c.reads(d.chainID) }},
		{"sends a transfer", c.sendsATransfer},
		{"deploys, calls and writes a contract", c.usesAContract},
		{"signs a message", c.signsAMessage},
		{"signs typed data", func() error { return c.signsTypedData(d.chainID) }},
	} {
		if err := check.do(); err != nil {
			t.Fatalf("%s: %v", check.name, err)
		}
		t.Logf("ok - ethclient: %s", check.name)
	}
	select {
	case <-heads:
		t.Log("ok - ethclient: subscribes to new heads")
	case err := <-sub.Err():
		t.Fatalf("subscription ended: %v", err)
	case <-ctx.Done():
		t.Fatal("no head came")
	}
}

type goClient struct {
	ctx     context.Context
	eth     *ethclient.Client
	account common.Address
}

func (c *goClient) call(result any, method string, args ...any) error {
	return c.eth.Client().CallContext(c.ctx, result, method, args...)
}

func (c *goClient) listsTheAccount() error {
	var all []common.Address
	if err := c.call(&all, "eth_accounts"); err != nil {
		return err
	}
	for _, a := range all {
		if a == c.account {
			return nil
		}
	}
	return fmt.Errorf("eth_accounts answers %v, without %s", all, c.account)
}

func (c *goClient) reads(chainID uint64) error {
	id, err := c.eth.ChainID(c.ctx)
	if err != nil {
		return err
	}
	if id.Uint64() != chainID {
		return fmt.Errorf("chain id %d, want %d", id, chainID)
	}
	if _, err := c.eth.BlockByNumber(c.ctx, nil); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	balance, err := c.eth.BalanceAt(c.ctx, c.account, nil)
	if err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	if balance.Sign() <= 0 {
		return fmt.Errorf("balance %d", balance)
	}
	return nil
}

func (c *goClient) sendsATransfer() error {
	to := harness.Fresh()
	var hash common.Hash
	err := c.call(&hash, "eth_sendTransaction", map[string]any{"from": c.account, "to": to, "value": (*hexutil.Big)(big.NewInt(5))})
	if err != nil {
		return err
	}
	receipt, err := bind.WaitMinedHash(c.ctx, c.eth, hash)
	if err != nil {
		return err
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		return fmt.Errorf("receipt has status %d", receipt.Status)
	}
	balance, err := c.eth.BalanceAt(c.ctx, to, nil)
	if err != nil {
		return err
	}
	if balance.Int64() != 5 {
		return fmt.Errorf("the receiver has %d wei, want 5", balance)
	}
	return nil
}

// transactor signs with eth_signTransaction, which answers {raw, tx} as geth does.
// (A bare node such as anvil answers the hex string alone.)
func (c *goClient) transactor() *bind.TransactOpts {
	return &bind.TransactOpts{From: c.account, Context: c.ctx, Signer: func(from common.Address, unsigned *types.Transaction) (*types.Transaction, error) {
		var reply json.RawMessage
		err := c.call(&reply, "eth_signTransaction", map[string]any{
			"from": from, "to": unsigned.To(), "nonce": hexutil.Uint64(unsigned.Nonce()), "gas": hexutil.Uint64(unsigned.Gas()),
			"maxFeePerGas": (*hexutil.Big)(unsigned.GasFeeCap()), "maxPriorityFeePerGas": (*hexutil.Big)(unsigned.GasTipCap()),
			"value": (*hexutil.Big)(unsigned.Value()), "input": hexutil.Bytes(unsigned.Data()),
		})
		if err != nil {
			return nil, fmt.Errorf("eth_signTransaction: %w", err)
		}
		var signed struct {
			Raw hexutil.Bytes      `json:"raw"`
			Tx  *types.Transaction `json:"tx"`
		}
		if reply[0] == '"' {
			err = json.Unmarshal(reply, &signed.Raw)
		} else {
			err = json.Unmarshal(reply, &signed)
		}
		if err != nil {
			return nil, fmt.Errorf("eth_signTransaction answered %s: %w", reply, err)
		}
		tx := new(types.Transaction)
		if err := tx.UnmarshalBinary(signed.Raw); err != nil {
			return nil, err
		}
		if signed.Tx != nil && signed.Tx.Hash() != tx.Hash() {
			return nil, fmt.Errorf("raw is %s, tx is %s", tx.Hash(), signed.Tx.Hash())
		}
		return tx, nil
	}}
}

func (c *goClient) usesAContract() error {
	parsed, bytecode, err := counter()
	if err != nil {
		return err
	}
	_, deployment, contract, err := bind.DeployContract(c.transactor(), parsed, bytecode, c.eth, big.NewInt(41))
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	if _, err := bind.WaitDeployed(c.ctx, c.eth, deployment); err != nil {
		return fmt.Errorf("wait for the deployment: %w", err)
	}
	write, err := contract.Transact(c.transactor(), "add", common.Big1)
	if err != nil {
		return fmt.Errorf("add: %w", err)
	}
	if _, err := bind.WaitMined(c.ctx, c.eth, write); err != nil {
		return fmt.Errorf("wait for add: %w", err)
	}
	var out []any
	if err := contract.Call(&bind.CallOpts{Context: c.ctx}, &out, "count"); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if got := out[0].(*big.Int); got.Int64() != 42 {
		return fmt.Errorf("count is %d, want 42", got)
	}
	refuse, err := parsed.Pack("refuse")
	if err != nil {
		return err
	}
	_, err = c.eth.CallContract(c.ctx, ethereum.CallMsg{From: c.account, To: addressOf(deployment), Data: refuse}, nil)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("refused on purpose")) {
		return fmt.Errorf("a call that reverts: got %v", err)
	}
	return nil
}

func addressOf(deployment *types.Transaction) *common.Address {
	from, err := types.Sender(types.LatestSignerForChainID(deployment.ChainId()), deployment)
	if err != nil {
		return nil
	}
	a := crypto.CreateAddress(from, deployment.Nonce())
	return &a
}

func counter() (abi.ABI, []byte, error) {
	root, err := harness.Root()
	if err != nil {
		return abi.ABI{}, nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "e2e", "clients", "contract", "Counter.json"))
	if err != nil {
		return abi.ABI{}, nil, err
	}
	var artifact struct {
		ABI      json.RawMessage `json:"abi"`
		Bytecode hexutil.Bytes   `json:"bytecode"`
	}
	if err := json.Unmarshal(text, &artifact); err != nil {
		return abi.ABI{}, nil, err
	}
	parsed, err := abi.JSON(bytes.NewReader(artifact.ABI))
	return parsed, artifact.Bytecode, err
}

func (c *goClient) signsAMessage() error {
	message := []byte("I agree – Zürich")
	var signature hexutil.Bytes
	if err := c.call(&signature, "personal_sign", hexutil.Bytes(message), c.account); err != nil {
		return err
	}
	return signedBy(c.account, accounts.TextHash(message), signature)
}

func (c *goClient) signsTypedData(chainID uint64) error {
	document := typedData(chainID)
	digest, _, err := apitypes.TypedDataAndHash(document)
	if err != nil {
		return err
	}
	var signature hexutil.Bytes
	if err := c.call(&signature, "eth_signTypedData_v4", c.account, document.Map()); err != nil {
		return err
	}
	return signedBy(c.account, digest, signature)
}

// typedData is EIP-712's own example.
func typedData(chainID uint64) apitypes.TypedData {
	return apitypes.TypedData{
		Types: apitypes.Types{
			"EIP712Domain": {{Name: "name", Type: "string"}, {Name: "version", Type: "string"}, {Name: "chainId", Type: "uint256"}},
			"Person":       {{Name: "name", Type: "string"}, {Name: "wallet", Type: "address"}},
			"Mail":         {{Name: "from", Type: "Person"}, {Name: "to", Type: "Person"}, {Name: "contents", Type: "string"}},
		},
		PrimaryType: "Mail",
		Domain:      apitypes.TypedDataDomain{Name: "Ether Mail", Version: "1", ChainId: (*math.HexOrDecimal256)(new(big.Int).SetUint64(chainID))},
		Message: apitypes.TypedDataMessage{
			"from":     map[string]any{"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
			"to":       map[string]any{"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
			"contents": "Hello, Bob!",
		},
	}
}

// signedBy recovers the signer of a digest from r‖s‖v with v 27 or 28.
func signedBy(want common.Address, digest, signature []byte) error {
	if len(signature) != crypto.SignatureLength || signature[64] < 27 {
		return fmt.Errorf("signature %x: want 65 bytes with v 27 or 28", signature)
	}
	plain := bytes.Clone(signature)
	plain[64] -= 27
	key, err := crypto.SigToPub(digest, plain)
	if err != nil {
		return err
	}
	if got := crypto.PubkeyToAddress(*key); got != want {
		return fmt.Errorf("signed by %s, want %s", got, want)
	}
	return nil
}
