// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"encoding/hex"
	"errors"
	"math/big"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// testMethod is the name of a document's signature among the methods, which is no
// method of JSON-RPC.
const testMethod = "document"

// PolicyTestMethods are the methods that a policy can be tested with.
func PolicyTestMethods() []string {
	return []string{
		"eth_sendTransaction", "eth_signTransaction", "eth_sendRawTransaction", "eth_sign", "personal_sign",
		"eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4", testMethod,
	}
}

// testRequest is what the judge would be asked.
func (p *Platform) testRequest(ctx context.Context, who auth.Access, r row, t PolicyTest) (policy.Request, error) {
	out := policy.Request{
		ID: store.NewID(), // reserved for by nobody
		Owner: policy.Owner{
			Consortium: r.Consortium, Environment: r.Environment, Membership: r.Membership, Wallet: r.wallet(), Service: r.ID,
		},
	}
	var err error
	if out.Principal, err = p.testPrincipal(ctx, who, r, t.Principal); err != nil {
		return out, err
	}
	if out.ChainID, err = p.chainOf(ctx, r); err != nil {
		return out, err
	}
	params, err := testParams(t.Params)
	if err != nil {
		return out, err
	}
	switch t.Method {
	case "eth_sendTransaction", "eth_signTransaction":
		return out, testTransaction(&out, t.Method, params)
	case "eth_sendRawTransaction":
		return out, testRaw(&out, params)
	case "eth_sign":
		return out, testMessage(&out, params, 0, 1)
	case "personal_sign":
		if _, err := addressIn(params, 1); err != nil {
			return out, testMessage(&out, params, 0, 1)
		}
		return out, testMessage(&out, params, 1, 0)
	case "eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4":
		return out, testTypedData(&out, params)
	case testMethod:
		return out, testDocument(&out, params)
	}
	return out, invalid("method", "want one of %s", strings.Join(PolicyTestMethods(), ", "))
}

// testPrincipal is whose request it would be. Rules can name anybody, so anybody
// may be asked about; but an app credential has to be one of the service's, or the
// caller would learn of others.
func (p *Platform) testPrincipal(ctx context.Context, who auth.Access, r row, name string) (auth.Principal, error) {
	if name == "" {
		return who.Principal, nil
	}
	if !printable(name, 300) {
		return auth.Principal{}, invalid("principal", "want a name like app:<id>, cert:<identity>, key:<id>, person:<subject> or anonymous")
	}
	kind, id, _ := strings.Cut(name, ":")
	if kind != "app" && kind != "cert" {
		return auth.Principal{Name: name}, nil
	}
	if kind == "app" {
		cred, err := p.byID(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if r.declared == nil || isID(id) { // or the answer would tell which ids there are
				return auth.Principal{}, noSuchCred()
			}
		case err != nil:
			return auth.Principal{}, err
		case cred.kind() != AppCreds || cred.Membership != r.Membership || cred.Environment != r.Environment:
			return auth.Principal{}, noSuchCred()
		}
	}
	return auth.Principal{Name: name, Membership: r.Membership, Environment: r.Environment}, nil
}

func noSuchCred() error {
	return invalid("principal", "the membership has no such app credential in this environment")
}

// chainOf is the chain that the service signs for.
func (p *Platform) chainOf(ctx context.Context, r row) (*big.Int, error) {
	if r.declared != nil {
		return new(big.Int).SetUint64(r.declared.Node.ChainID), nil
	}
	n, err := p.byID(ctx, r.lane().node)
	return new(big.Int).SetUint64(n.data.ChainID), err
}

func testParams(text []byte) ([]strictjson.Value, error) {
	v, err := strictjson.Parse(text)
	if err != nil {
		return nil, invalid("params", "is %s", err)
	}
	if v.Kind != strictjson.Array || len(v.Elems) == 0 {
		return nil, invalid("params", "want a list, as the method takes it")
	}
	return v.Elems, nil
}

// testTransaction fills in what is left out with the least that there is: fees of
// 0, and the gas that any such transaction needs. Nobody asks a node here.
func testTransaction(out *policy.Request, method string, params []strictjson.Value) error {
	a, err := tx.ParseArgs(params[0])
	if err != nil {
		return invalid("params[0]", "%s", err)
	}
	zero := new(big.Int)
	if a.GasPrice == nil {
		if a.MaxPriorityFeePerGas == nil {
			a.MaxPriorityFeePerGas = zero
		}
		if a.MaxFeePerGas == nil {
			a.MaxFeePerGas = a.MaxPriorityFeePerGas
		}
	}
	if a.MaxFeePerBlobGas == nil && (len(a.Blobs) > 0 || len(a.BlobHashes) > 0) {
		a.MaxFeePerBlobGas = big.NewInt(1)
	}
	if a.Gas == nil {
		enough := uint64(1 << 40)
		a.Gas = &enough
		t, err := a.Unsigned(out.ChainID, 0)
		if err != nil {
			return invalid("params[0]", "%s", err)
		}
		least := max(tx.IntrinsicGas(t), tx.FloorGas(t.Data()))
		a.Gas = &least
	}
	nonce := uint64(0)
	if a.Nonce != nil {
		nonce = *a.Nonce
	}
	if out.Transaction, err = a.Unsigned(out.ChainID, nonce); err != nil {
		return invalid("params[0]", "%s", err)
	}
	out.Account, out.Action = a.From, audit.SendTransaction
	if method == "eth_signTransaction" {
		out.Action = audit.SignTransaction
	}
	return nil
}

func testRaw(out *policy.Request, params []strictjson.Value) error {
	raw, err := bytesIn(params, 0)
	if err != nil {
		return err
	}
	t, from, err := tx.DecodeRaw(raw)
	if err != nil {
		return invalid("params[0]", "%s", err)
	}
	out.Transaction, out.Account, out.Action, out.Presigned = t, from, audit.SendTransaction, true
	return nil
}

func testMessage(out *policy.Request, params []strictjson.Value, account, data int) (err error) {
	if out.Account, err = addressIn(params, account); err != nil {
		return err
	}
	out.Message, err = bytesIn(params, data)
	out.Action = audit.SignMessage
	return err
}

func testTypedData(out *policy.Request, params []strictjson.Value) (err error) {
	if out.Account, err = addressIn(params, 0); err != nil {
		return err
	}
	if len(params) < 2 {
		return invalid("params", "want the account and the typed data")
	}
	typed, err := tx.ParseTypedData(params[1])
	if err != nil {
		return invalid("params[1]", "%s", err)
	}
	if err := typed.CheckChain(out.ChainID); err != nil {
		return invalid("params[1]", "%s", err)
	}
	out.TypedData, out.Action = &typed.Data, audit.SignTypedData
	return nil
}

// testDocument reads what stands in the body of …/signatures.
func testDocument(out *policy.Request, params []strictjson.Value) error {
	b := body{params[0]}
	if b.Kind != strictjson.Object {
		return invalid("params[0]", "want an object with account, sha256, size, name and media_type")
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(b.Get("sha256").Text, "0x"))
	if err != nil || len(sum) != 32 {
		return invalid("params[0].sha256", "want 64 hex digits")
	}
	size, err := strconv.ParseInt(b.Get("size").Text, 10, 64)
	if err != nil || size < 0 {
		return invalid("params[0].size", "want a number of bytes")
	}
	if !common.IsHexAddress(b.Get("account").Text) {
		return invalid("params[0].account", "want an address: 0x and 40 hex digits")
	}
	out.Account, out.Action = common.HexToAddress(b.Get("account").Text), audit.SignDocument
	out.Document = &policy.Document{
		SHA256: [32]byte(sum), Size: size, Name: b.Get("name").Text, MediaType: b.Get("media_type").Text,
	}
	return nil
}

func bytesIn(params []strictjson.Value, i int) ([]byte, error) {
	field := "params[" + strconv.Itoa(i) + "]"
	if i >= len(params) {
		return nil, invalid(field, "is missing")
	}
	digits, ok := strings.CutPrefix(params[i].Text, "0x")
	data, err := hex.DecodeString(digits)
	if !ok || err != nil || params[i].Kind != strictjson.String {
		return nil, invalid(field, "want 0x and hex digits of whole bytes")
	}
	return data, nil
}

func addressIn(params []strictjson.Value, i int) (common.Address, error) {
	b, err := bytesIn(params, i)
	if err != nil || len(b) != common.AddressLength {
		return common.Address{}, invalid("params["+strconv.Itoa(i)+"]", "want an address: 0x and 40 hex digits")
	}
	return common.Address(b), nil
}
