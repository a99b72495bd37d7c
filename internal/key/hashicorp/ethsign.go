// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// EthsignBackend signs with Kaleido's published plugin
// (github.com/kaleido-io/vault-plugin-secrets-ethsign), which makes and signs
// whole legacy transactions and nothing else. It has traps, and this is what
// keeps out of them:
//
//   - Without a chain id it makes a signature that counts on every chain: one is
//     always sent, above 0.
//   - It drops the sign of a number, takes 90,000 for a missing gas limit, and
//     panics on a malformed number: every number is sent, in decimal, from 0 up.
//   - It knows an address in lower case only.
//   - What it returns is decoded, compared with what was asked for field by
//     field, and its sender recovered, before anybody sees it.
//   - It gives private keys away at export/accounts, and logs one that it does
//     not accept: a token that may read exports is warned about, and nothing is
//     created or imported through it.
type EthsignBackend struct {
	*vault
	publics sync.Map // address in lower case → secp.PublicKey
}

var _ interface {
	key.Backend
	key.TransactionSigner
} = (*EthsignBackend)(nil)

var anyAddress = regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`)

// Keys lists all accounts with one call. The plugin tells nothing but their
// addresses, which stand for their names.
func (b *EthsignBackend) Keys(ctx context.Context, _ string) (key.Page, error) {
	c := call{op: "list keys", path: b.cfg.Mount + "/accounts", right: "list", query: map[string][]string{"list": {"true"}}}
	var list struct {
		Keys []string `json:"keys"`
	}
	if _, err := b.read(ctx, c, &list); err != nil {
		if emptyList(err) {
			return key.Page{}, nil
		}
		return key.Page{}, err
	}
	var page key.Page
	listed := make(map[string]bool, len(list.Keys))
	var exports []string
	for _, text := range list.Keys {
		address := strings.ToLower(text)
		switch {
		case !anyAddress.MatchString(text) || common.HexToAddress(text) == (common.Address{}):
			page.Problems = append(page.Problems, key.Problem{Name: shorten(text), Reason: "the plugin lists it without an address"})
			continue
		case listed[address]:
			continue
		}
		listed[address] = true
		exports = append(exports, "export/accounts/"+address)
		page.Keys = append(page.Keys, key.Key{
			Ref: b.ref(address), Name: address, Address: common.HexToAddress(address), Protection: key.Software, State: key.Enabled,
		})
	}
	b.warnOfExports(ctx, exports)
	return page, nil
}

func shorten(text string) string {
	if text == "" {
		return "(empty)"
	}
	return text[:min(len(text), 64)]
}

// PublicKey recovers the public key from a transaction that it has signed: the
// plugin gives none away otherwise. No chain takes that transaction: its chain
// id is random and of 247 bits, its gas limit is 0 and its nonce is the largest.
func (b *EthsignBackend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "public key"
	if err := b.usable(ctx, op); err != nil {
		return secp.PublicKey{}, err
	}
	address, err := b.address(op, ref)
	if err != nil {
		return secp.PublicKey{}, err
	}
	if known, ok := b.publics.Load(address); ok {
		return known.(secp.PublicKey), nil
	}
	random := make([]byte, 31)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	random[0] = random[0]&0x3f | 0x40
	to := common.HexToAddress(address)
	_, public, err := b.sign(ctx, op, ref, new(big.Int).SetBytes(random), types.NewTx(&types.LegacyTx{
		Nonce: math.MaxUint64, GasPrice: new(big.Int), To: &to, Value: new(big.Int),
	}))
	if err != nil {
		return secp.PublicKey{}, err
	}
	b.publics.Store(address, public)
	return public, nil
}

const whyLegacyOnly = "Kaleido's ethsign plugin signs legacy transactions only"

// SignDigest always refuses, without a call.
func (b *EthsignBackend) SignDigest(ctx context.Context, ref key.Ref, _ [32]byte) (key.Signature, error) {
	const op = "sign"
	if err := b.usable(ctx, op); err != nil {
		return key.Signature{}, err
	}
	if _, err := b.address(op, ref); err != nil {
		return key.Signature{}, err
	}
	return key.Signature{}, &key.CallError{Op: op, Ref: ref, Kind: key.ErrUnsupported, Why: whyLegacyOnly +
		", no messages and no typed data: use HSM Signer's own engine (vault-plugin-hsmsigner)"}
}

// Signable refuses all but legacy transactions.
func (b *EthsignBackend) Signable(unsigned *types.Transaction) error {
	why := ""
	switch {
	case unsigned.Type() != types.LegacyTxType:
		why = fmt.Sprintf("%s, and this one is of type %d: send gasPrice in place of maxFeePerGas and maxPriorityFeePerGas, without an access list, "+
			"or use HSM Signer's own engine (vault-plugin-hsmsigner)", whyLegacyOnly, unsigned.Type())
	case unsigned.GasPrice().Sign() < 0 || unsigned.GasPrice().BitLen() > 256 || unsigned.Value().Sign() < 0 || unsigned.Value().BitLen() > 256:
		why = "the plugin does not take a negative number, nor one of more than 256 bits"
	}
	if why != "" {
		return &key.CallError{Op: "sign transaction", Kind: key.ErrUnsupported, Why: why}
	}
	return nil
}

// SignTransaction costs one call. What it returns has been compared with
// unsigned already, and its sender recovered.
func (b *EthsignBackend) SignTransaction(ctx context.Context, ref key.Ref, chainID *big.Int, unsigned *types.Transaction) (key.RawTransaction, error) {
	raw, _, err := b.sign(ctx, "sign transaction", ref, chainID, unsigned)
	return raw, err
}

func (b *EthsignBackend) sign(ctx context.Context, op string, ref key.Ref, chainID *big.Int, unsigned *types.Transaction) (key.RawTransaction, secp.PublicKey, error) {
	fail := func(err error) (key.RawTransaction, secp.PublicKey, error) {
		return key.RawTransaction{}, secp.PublicKey{}, err
	}
	if err := b.usable(ctx, op); err != nil {
		return fail(err)
	}
	address, err := b.address(op, ref)
	if err != nil {
		return fail(err)
	}
	if err := b.Signable(unsigned); err != nil {
		return fail(err)
	}
	if chainID == nil || chainID.Sign() <= 0 || chainID.BitLen() > 248 {
		return fail(&key.CallError{Op: op, Ref: ref, Kind: key.ErrUnsupported, Why: "the chain id must be above 0 and of at most 248 bits"})
	}
	body, err := json.Marshal(request(chainID, unsigned))
	if err != nil {
		return fail(fmt.Errorf("hashicorp: %s: %w", op, err))
	}
	var answer struct {
		Raw  string `json:"signed_transaction"`
		Hash string `json:"transaction_hash"`
	}
	c := call{op: op, ref: ref, path: b.cfg.Mount + "/accounts/" + address + "/sign", right: "create"}
	reply := json.RawMessage{}
	id, err := b.do(ctx, c, sending(c.path, body), &reply)
	if err != nil {
		if noContent(err) { // what the plugin answers for an account that it does not have
			err = &key.CallError{Op: op, Ref: ref, Kind: key.ErrNotFound, Why: "the plugin has no account of this address"}
		}
		return fail(err)
	}
	bad := func(why string) (key.RawTransaction, secp.PublicKey, error) {
		return fail(&key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: why, RequestID: id})
	}
	if json.Unmarshal(reply, &answer) != nil {
		return bad("the answer is not the ethsign plugin's: check engine")
	}
	raw, err := hexutil.Decode(answer.Raw)
	if err != nil {
		return bad("the answer holds no transaction")
	}
	public, why := compare(raw, answer.Hash, chainID, unsigned, common.HexToAddress(address))
	if why != "" {
		return bad(why)
	}
	return key.RawTransaction{Raw: raw, RequestID: id}, public, nil
}

// request is what the plugin is sent: every field, so that none is filled in.
func request(chainID *big.Int, unsigned *types.Transaction) map[string]string {
	to := "" // creates a contract
	if a := unsigned.To(); a != nil {
		to = lower(*a)
	}
	return map[string]string{
		"to": to, "data": hexutil.Encode(unsigned.Data()), "value": unsigned.Value().String(),
		"nonce": new(big.Int).SetUint64(unsigned.Nonce()).String(), "gas": new(big.Int).SetUint64(unsigned.Gas()).String(),
		"gasPrice": unsigned.GasPrice().String(), "chainId": chainID.String(),
	}
}

// compare decodes what came back, as a node will, and says in what it is not
// the transaction that was asked for, signed by from.
func compare(raw []byte, hash string, chainID *big.Int, want *types.Transaction, from common.Address) (public secp.PublicKey, why string) {
	var got types.Transaction
	if got.UnmarshalBinary(raw) != nil {
		return public, "what came back is no transaction"
	}
	v, r, s := got.RawSignatureValues()
	to := func(t *types.Transaction) string {
		if t.To() == nil {
			return ""
		}
		return t.To().Hex()
	}
	for _, field := range []struct {
		name  string
		equal bool
	}{
		{"type", got.Type() == types.LegacyTxType},
		{"nonce", got.Nonce() == want.Nonce()},
		{"gas price", got.GasPrice().Cmp(want.GasPrice()) == 0},
		{"gas limit", got.Gas() == want.Gas()},
		{"receiver", to(&got) == to(want)},
		{"value", got.Value().Cmp(want.Value()) == 0},
		{"data", string(got.Data()) == string(want.Data())},
		{"replay protection", got.Protected()},
		{"chain id", got.Protected() && got.ChainId().Cmp(chainID) == 0},
		{"hash", strings.EqualFold(hash, got.Hash().Hex())},
	} {
		if !field.equal {
			return public, "the plugin signed another transaction: its " + field.name + " is not the one that was asked for"
		}
	}
	// V = 2·chain id + 35 + recovery id (EIP-155).
	id := new(big.Int).Sub(v, new(big.Int).Add(new(big.Int).Lsh(chainID, 1), big.NewInt(35)))
	if r.BitLen() > 256 || s.BitLen() > 256 || !id.IsUint64() || id.Uint64() > 1 {
		return public, "the plugin's signature is malformed"
	}
	sig := secp.Signature{V: byte(id.Uint64())}
	r.FillBytes(sig.R[:])
	s.FillBytes(sig.S[:])
	digest := [32]byte(types.NewEIP155Signer(chainID).Hash(want))
	if secp.Check(from, digest, sig) != nil {
		return public, "the plugin's signature is not by the account"
	}
	point, err := crypto.Ecrecover(digest[:], sig.Bytes())
	if err != nil {
		return public, "the plugin's signature is not by the account"
	}
	return secp.PublicKey(point[1:]), ""
}
