// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
	"github.com/holiman/uint256"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	app   = auth.Principal{Name: "app:u0caller00", Membership: "u0member00", Environment: "u0environ0"}
	alice = auth.Principal{Name: "person:alice"}
	bob   = auth.Principal{Name: "key:u0bob00000"}
	carol = auth.Principal{Name: "person:carol"}
	owner = policy.Owner{Consortium: "u0consort0", Environment: "u0environ0", Membership: "u0member00", Wallet: "main", Service: "u0service0"}
)

func mac(b []byte) []byte {
	h := hmac.New(sha256.New, []byte("the key of this test's rows"))
	h.Write(b)
	return h.Sum(nil)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a time that the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// rig is one book on a store of its own.
type rig struct {
	*testing.T
	dir   string
	db    *store.DB
	book  *approval.Book
	clock *clock
}

func newRig(t *testing.T, change ...func(*approval.Config)) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), clock: &clock{at: time.Now()}}
	var err error
	r.db, err = store.OpenSQLite(context.Background(), store.Config{Dir: r.dir})
	must(t, err)
	t.Cleanup(func() { _ = r.db.Close() })
	cfg := approval.Config{Store: r.db, MAC: mac, Deployment: "test", Now: r.clock.now, Poll: 20 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	r.book, err = approval.New(cfg)
	must(t, err)
	return r
}

// twoOf asks for two of the approvers of the test.
func twoOf() []policy.Ask {
	return []policy.Ask{{Rule: "service:u0service0/large", Needed: 2, Expires: time.Hour, Approvers: policy.Approvers{
		Names: []string{alice.Name, bob.Name, app.Name}, Roles: []auth.Role{auth.Admin}, Addresses: []common.Address{signerAddress(7), signerAddress(8)},
	}}}
}

func signerKey(n int) *ecdsa.PrivateKey { k, _ := nodetest.Key(n); return k }

func signerAddress(n int) common.Address { return crypto.PubkeyToAddress(signerKey(n).PublicKey) }

// payment is a transaction as the manager puts it before the policy.
func payment(wei int64) policy.Request {
	to := common.HexToAddress("0x00000000000000000000000000000000000000aa")
	t := types.NewTx(&types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Gas: 50_000, To: &to, Value: big.NewInt(wei), Data: []byte{1, 2, 3},
		GasFeeCap: big.NewInt(3_000_000_000), GasTipCap: big.NewInt(1_000_000_000),
		AccessList: types.AccessList{{Address: to, StorageKeys: []common.Hash{{1}}}},
	})
	return policy.Request{
		Principal: app, Owner: owner, ChainID: big.NewInt(1337), Account: signerAddress(0), Action: audit.SendTransaction, Transaction: t,
		ID: store.NewID(), FeeCeiling: big.NewInt(6_000_000_000), Asked: policy.Asked{Hash: [32]byte{byte(wei), byte(wei >> 8)}},
	}
}

// message is one that somebody wants signed.
func message(text string) policy.Request {
	return policy.Request{
		Principal: app, Owner: owner, ChainID: big.NewInt(1337), Account: signerAddress(0), Action: audit.SignMessage,
		Message: []byte(text), ID: store.NewID(),
	}
}

// ask puts a request and expects that it waits.
func (r *rig) ask(req policy.Request, asks []policy.Ask) *policy.PendingError {
	r.Helper()
	grant, pending, err := r.book.Find(r.Context(), req, asks)
	if err != nil || pending == nil || grant != nil {
		r.Fatalf("got grant %v, pending %v, error %v; want that it waits", grant, pending, err)
	}
	return pending
}

// denied puts a request and returns why it is denied.
func (r *rig) denied(req policy.Request, asks []policy.Ask) string {
	r.Helper()
	grant, pending, err := r.book.Find(r.Context(), req, asks)
	var denied *policy.DeniedError
	if !errors.As(err, &denied) {
		r.Fatalf("got grant %v, pending %v, error %v; want a denial", grant, pending, err)
	}
	return denied.Verdict.Reason
}

func (r *rig) vote(id string, who auth.Principal, v approval.Verdict, roles ...auth.Role) (approval.View, error) {
	return r.book.Vote(context.Background(), approval.Ballot{Approval: id, Who: who, Verdict: v, Roles: roles})
}

// signed votes by a signature of the n-th key over what change makes of what
// there is to sign.
func (r *rig) signed(id string, n int, v approval.Verdict, change func(*apitypes.TypedData)) (approval.View, error) {
	r.Helper()
	row, err := r.db.Approval(r.Context(), id)
	must(r.T, err)
	data, err := r.book.TypedData(row, v)
	must(r.T, err)
	if change != nil {
		change(&data)
	}
	digest, _, err := apitypes.TypedDataAndHash(data)
	must(r.T, err)
	sig, err := crypto.Sign(digest, signerKey(n))
	must(r.T, err)
	sig[64] += 27
	return r.book.Vote(r.Context(), approval.Ballot{Approval: id, Who: carol, Verdict: v, Signature: sig})
}

// state is that of a request's row.
func (r *rig) state(id string) store.ApprovalState {
	r.Helper()
	a, err := r.db.Approval(r.Context(), id)
	must(r.T, err)
	return a.State
}

// sql changes rows as somebody with the database does.
func (r *rig) sql(text string, args ...any) {
	r.Helper()
	must(r.T, execSQL(r.dir, text, args...))
}

// everyKind is one request of each kind that can be asked for.
func everyKind() map[string]policy.Request {
	legacy, access, send, blob, code := payment(1), payment(2), payment(3), payment(4), payment(5)
	to := common.HexToAddress("0x00000000000000000000000000000000000000bb")
	legacy.Transaction = types.NewTx(&types.LegacyTx{Gas: 21_000, To: &to, Value: big.NewInt(5), GasPrice: big.NewInt(7)})
	legacy.FeeCeiling = big.NewInt(9)
	access.Transaction = types.NewTx(&types.AccessListTx{ChainID: big.NewInt(1337), Gas: 60_000, Data: []byte{0x60}, Value: new(big.Int), GasPrice: big.NewInt(7)})
	blob.Transaction = types.NewTx(&types.BlobTx{
		ChainID: uint256.NewInt(1337), Gas: 21_000, To: to, Value: uint256.NewInt(1), GasFeeCap: uint256.NewInt(9), GasTipCap: uint256.NewInt(1),
		BlobFeeCap: uint256.NewInt(4), BlobHashes: []common.Hash{{1, 2}},
	})
	code.Transaction = types.NewTx(&types.SetCodeTx{
		ChainID: uint256.NewInt(1337), Gas: 60_000, To: to, Value: uint256.NewInt(1), GasFeeCap: uint256.NewInt(9), GasTipCap: uint256.NewInt(1),
		AuthList: []types.SetCodeAuthorization{{ChainID: *uint256.NewInt(1337), Address: to, Nonce: 3, R: *uint256.NewInt(1), S: *uint256.NewInt(1)}},
	})
	sign := payment(6)
	sign.Action, sign.Asked = audit.SignTransaction, policy.Asked{}
	typed, document := message(""), message("")
	typed.Action, typed.Message, typed.TypedData = audit.SignTypedData, nil, permit()
	document.Action, document.Message = audit.SignDocument, nil
	document.Document = &policy.Document{SHA256: [32]byte{9}, Size: 12, Name: "contract.pdf", MediaType: "application/pdf"}
	return map[string]policy.Request{
		"legacy": legacy, "access list": access, "dynamic fee": send, "blob": blob, "set code": code, "sign only": sign,
		"message": message("hello"), "binary message": message("\x00\x01"), "typed data": typed, "document": document,
	}
}

// permit is an EIP-2612 permit.
func permit() *apitypes.TypedData {
	return &apitypes.TypedData{
		Types: apitypes.Types{
			"EIP712Domain": {{Name: "name", Type: "string"}, {Name: "version", Type: "string"}, {Name: "chainId", Type: "uint256"}, {Name: "verifyingContract", Type: "address"}},
			"Permit":       {{Name: "owner", Type: "address"}, {Name: "spender", Type: "address"}, {Name: "value", Type: "uint256"}, {Name: "nonce", Type: "uint256"}, {Name: "deadline", Type: "uint256"}},
		},
		PrimaryType: "Permit",
		Domain: apitypes.TypedDataDomain{
			Name: "", Version: "1", ChainId: (*math.HexOrDecimal256)(big.NewInt(1337)), VerifyingContract: signerAddress(3).Hex(),
		},
		Message: apitypes.TypedDataMessage{
			"owner": signerAddress(0).Hex(), "spender": signerAddress(4).Hex(), "value": new(big.Int).Lsh(big.NewInt(1), 255),
			"nonce": big.NewInt(0), "deadline": big.NewInt(1_900_000_000),
		},
	}
}

// maxFee is what approvers were shown as the most per gas.
func maxFee(t *testing.T, v approval.View) *big.Int {
	t.Helper()
	var q approval.Request
	must(t, json.Unmarshal(v.Request, &q))
	n, ok := new(big.Int).SetString(q.Transaction.MaxFeePerGas, 10)
	if !ok {
		t.Fatalf("%q is no number", q.Transaction.MaxFeePerGas)
	}
	return n
}
