// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"encoding/json"
	"fmt"
	"math/big"
	"unicode"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// The domain of what approvers sign (EIP-712). It names no chain, so that a wallet
// may be on any: the chain of the request is a field of the message.
const (
	domainName    = "HSM Signer approval"
	domainVersion = "1"
)

// maxShown is how long a message may be that approvers are shown as text in what
// they sign; a longer one is there by its hash.
const maxShown = 2048

// field is one member of what approvers sign.
type field struct {
	name, kind string
	value      any
}

// TypedData is what an approver signs who approves or rejects by a signature of a
// listed address. It has every field of the request.
func (b *Book) TypedData(a store.Approval, verdict Verdict) (apitypes.TypedData, error) {
	q, err := readRequest(a.Request)
	if err != nil {
		return apitypes.TypedData{}, err
	}
	fields := []field{
		{"verdict", "string", string(verdict)},
		{"id", "string", a.ID},
		{"deployment", "string", b.cfg.Deployment},
		{"wallet", "string", q.Owner.Wallet},
		{"principal", "string", q.Principal.Name},
		{"action", "string", string(q.Action)},
		{"account", "address", q.Account.Hex()},
		{"chainId", "uint256", q.ChainID},
	}
	primary := "MessageApproval"
	switch {
	case q.Transaction != nil:
		primary = "TransactionApproval"
		more, err := q.Transaction.fields()
		if err != nil {
			return apitypes.TypedData{}, err
		}
		fields = append(fields, more...)
	case q.TypedData != nil:
		primary = "TypedDataApproval"
		fields = append(fields, q.TypedData.fields()...)
	case q.Document != nil:
		primary = "DocumentApproval"
		fields = append(
			fields, field{"sha256", "bytes32", q.Document.SHA256.Hex()}, field{"size", "uint256", fmt.Sprint(q.Document.Size)},
			field{"name", "string", q.Document.Name}, field{"mediaType", "string", q.Document.MediaType},
		)
	case q.Message != nil:
		fields = append(
			fields, field{"message", "string", shown(*q.Message)},
			field{"messageHash", "bytes32", crypto.Keccak256Hash(*q.Message).Hex()},
		)
	}
	fields = append(
		fields, field{"requestHash", "bytes32", hashOf(a.Request).Hex()},
		field{"expires", "uint256", fmt.Sprint(a.Expires.Unix())},
	)
	return document(primary, fields), nil
}

// document makes the EIP-712 document of one struct.
func document(primary string, fields []field) apitypes.TypedData {
	d := apitypes.TypedData{
		Types: apitypes.Types{
			"EIP712Domain": {{Name: "name", Type: "string"}, {Name: "version", Type: "string"}},
			primary:        make([]apitypes.Type, 0, len(fields)),
		},
		PrimaryType: primary,
		Domain:      apitypes.TypedDataDomain{Name: domainName, Version: domainVersion},
		Message:     apitypes.TypedDataMessage{},
	}
	for _, f := range fields {
		d.Types[primary] = append(d.Types[primary], apitypes.Type{Name: f.name, Type: f.kind})
		d.Message[f.name] = f.value
	}
	return d
}

// fields of a transaction. Lists stand by the hash of their RLP.
func (t *Transaction) fields() ([]field, error) {
	var stored types.Transaction
	if err := stored.UnmarshalBinary(t.Payload); err != nil {
		return nil, fmt.Errorf("approval: read a stored transaction: %w", err)
	}
	nonce := "next"
	switch {
	case t.Nonce != nil:
		nonce = fmt.Sprint(*t.Nonce)
	case t.Presigned || stored.Nonce() != 0:
		nonce = fmt.Sprint(stored.Nonce())
	}
	to := common.Address{}
	if stored.To() != nil {
		to = *stored.To()
	}
	blobFee := t.MaxFeePerBlobGas
	if blobFee == "" {
		blobFee = "0"
	}
	access, err := hashOfRLP(stored.AccessList())
	if err != nil {
		return nil, err
	}
	authorisations, err := hashOfRLP(stored.SetCodeAuthorizations())
	if err != nil {
		return nil, err
	}
	blobs, err := hashOfRLP(stored.BlobHashes())
	if err != nil {
		return nil, err
	}
	return []field{
		{"transactionType", "uint8", fmt.Sprint(stored.Type())},
		{"createsContract", "bool", stored.To() == nil},
		{"to", "address", to.Hex()},
		{"value", "uint256", stored.Value().String()},
		{"dataHash", "bytes32", crypto.Keccak256Hash(stored.Data()).Hex()},
		{"gas", "uint256", fmt.Sprint(stored.Gas())},
		{"maxFeePerGas", "uint256", t.MaxFeePerGas},
		{"maxPriorityFeePerGas", "uint256", t.MaxPriorityFeePerGas},
		{"maxFeePerBlobGas", "uint256", blobFee},
		{"nonce", "string", nonce},
		{"accessListHash", "bytes32", access},
		{"authorizationListHash", "bytes32", authorisations},
		{"blobsHash", "bytes32", blobs},
	}, nil
}

func hashOfRLP(list any) (string, error) {
	b, err := rlp.EncodeToBytes(list)
	if err != nil {
		return "", fmt.Errorf("approval: encode a list of a transaction: %w", err)
	}
	return crypto.Keccak256Hash(b).Hex(), nil
}

// fields of an EIP-712 document that is to be signed.
func (t *TypedData) fields() []field {
	contract, name, primary := common.Address{}, "", ""
	var d apitypes.TypedData
	if json.Unmarshal(t.Data, &d) == nil {
		contract, name, primary = common.HexToAddress(d.Domain.VerifyingContract), d.Domain.Name, d.PrimaryType
	}
	return []field{
		{"typedDataHash", "bytes32", t.Digest.Hex()},
		{"domainName", "string", name},
		{"verifyingContract", "address", contract.Hex()},
		{"primaryType", "string", primary},
	}
}

// shown is a message for people's eyes: its text if it is one, else hexadecimal.
func shown(m []byte) string {
	if len(m) > maxShown {
		return fmt.Sprintf("(%d bytes, by their hash)", len(m))
	}
	if !utf8.Valid(m) {
		return hexutil.Encode(m)
	}
	for _, r := range string(m) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return hexutil.Encode(m)
		}
	}
	return string(m)
}

// signer is the address whose signature over d this is: r‖s‖v, 65 bytes, v 27, 28,
// 0 or 1, s in the lower half (EIP-2).
func signer(d apitypes.TypedData, signature []byte) (common.Address, error) {
	const want = "want an EIP-712 signature of 65 bytes: r, s and v, which is 27, 28, 0 or 1"
	if len(signature) != crypto.SignatureLength {
		return common.Address{}, fmt.Errorf("the signature has %d bytes: %s", len(signature), want)
	}
	sig := append([]byte(nil), signature...)
	if sig[64] >= 27 {
		sig[64] -= 27
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:64])
	if !crypto.ValidateSignatureValues(sig[64], r, s, true) {
		return common.Address{}, fmt.Errorf("the signature is none of secp256k1 in its lower form: %s", want)
	}
	digest, _, err := apitypes.TypedDataAndHash(d)
	if err != nil {
		return common.Address{}, fmt.Errorf("approval: hash what is to be signed: %w", err)
	}
	key, err := crypto.SigToPub(digest, sig)
	if err != nil {
		return common.Address{}, fmt.Errorf("the signature is nobody's: %s", want)
	}
	return crypto.PubkeyToAddress(*key), nil
}
