// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// runs makes a service that is started.
func (r *rig) runs(more string) *platform.Service {
	r.t.Helper()
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(more))
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	s := r.serviceOf(c.ID)
	r.start(r.p)
	until(r.t, 3*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	return s
}

func TestAccountsAreShownInTheWordsOfTheCommandLine(t *testing.T) {
	r := newRig(t)
	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.stage.accounts = []wallet.Account{{
		Address: common.HexToAddress("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), Ref: "keys/1", Name: "pay", Protection: key.Software,
		State: key.Disabled, Reason: "expired", Tags: map[string]string{"team": "ops"}, Seen: seen,
	}}
	s := r.runs("")
	there := at(home(), s.ID)
	all, err := r.p.Accounts(t.Context(), root(), there, platform.AccountQuery{Balance: true, Nonce: true})
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"address":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed","key_ref":"keys/1","name":"pay","label":"","protection":"software",` +
		`"state":"disabled","state_reason":"expired","tags":{"team":"ops"},"seen_at":"2026-01-02T03:04:05Z","balance":"1208925819614629174706176","nonce":7}]`
	if got := text(all); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	address := r.stage.accounts[0].Address
	a, err := r.p.LabelAccount(t.Context(), root(), there, address, "pay roll")
	if err != nil || a.Label != "pay roll" {
		t.Error(a, err)
	}
	if a, err = r.p.Account(t.Context(), root(), there, address, platform.AccountQuery{}); err != nil || a.Label != "pay roll" || a.Balance != "" || a.Nonce != nil {
		t.Error(a, err)
	}
	_, err = r.p.LabelAccount(t.Context(), root(), there, address, "<b>")
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: label: want at most 64") {
		t.Error(got)
	}
	_, err = r.p.LabelAccount(t.Context(), root(), there, common.Address{9}, "x")
	if got := refused(t, err); got != "not_found: the service has no account "+(common.Address{9}).Hex() {
		t.Error(got)
	}
	report, err := r.p.RefreshAccounts(t.Context(), root(), there)
	if err != nil || text(report) != `{"found":1,"added":0,"missing":0,"problems":[{"name":"old","reason":"its curve is P-256"}]}` {
		t.Error(text(report), err)
	}
	status, err := r.p.Status(t.Context(), root(), there)
	if err != nil || !status.Ready || status.Accounts != 1 || status.Status != "started" || status.Release != "1.2.3" || !status.Backend.OK || status.URLs["http"] == "" {
		t.Error(text(status), err)
	}
}

func TestKeyIsMadeOnlyWithAnAdminCredential(t *testing.T) {
	r := newRig(t)
	s := r.runs("")
	_, err := r.p.CreateAccount(t.Context(), root(), at(home(), s.ID), platform.NewAccount{Name: "new"})
	if got := refused(t, err); got != "unsupported: "+key.ErrUnsupported.Error()+": the configuration has no admin block" {
		t.Error(got)
	}
	patched[*platform.Configuration](r, platform.Configurations, at(home(), s.Details["cloudhsm_id"].(string)), `{"details":{"admin":{"user_secret":"hvs.admin"}}}`)
	until(t, 3*time.Second, "an account", func() bool {
		a, err := r.p.CreateAccount(t.Context(), root(), at(home(), s.ID), platform.NewAccount{Name: "new", Label: "first"})
		return err == nil && a.Name == "new" && a.Label == "first"
	})
}

func TestImportedKeyComesWrappedOrNotAtAll(t *testing.T) {
	r := newRig(t)
	s := r.runs(`,"admin":{"user_secret":"hvs.admin"}`)
	there := at(home(), s.ID)
	with, err := r.p.ImportKey(t.Context(), root(), there)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.p.ImportKey(t.Context(), root(), there); err != nil || again != with {
		t.Error("the key changes", err)
	}
	block, _ := pem.Decode([]byte(with.PublicKey))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := byok.PKCS8(ethcrypto.FromECDSA(private))
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(payload []byte) []byte {
		wrapped, err := byok.RSAAESWrap(public.(*rsa.PublicKey), crypto.SHA256, payload)
		if err != nil {
			t.Fatal(err)
		}
		return wrapped
	}
	a, err := r.p.ImportAccount(t.Context(), root(), there, platform.ImportedAccount{Name: "old", Wrapped: wrap(der)})
	if err != nil || a.Address != ethcrypto.PubkeyToAddress(private.PublicKey).Hex() {
		t.Error(a, err)
	}
	for want, wrapped := range map[string][]byte{
		"invalid: wrapped_key: is missing: want the private key as PKCS#8, wrapped by RSA_AES_KEY_WRAP_SHA_256 under the import key": nil,
		"invalid: wrapped_key: does not open: want what RSA_AES_KEY_WRAP_SHA_256 makes of PKCS#8 under the import key":               ethcrypto.FromECDSA(private),
		"invalid: wrapped_key: opens, but holds no private key of secp256k1 as PKCS#8":                                               wrap(ethcrypto.FromECDSA(private)),
	} {
		_, err := r.p.ImportAccount(t.Context(), root(), there, platform.ImportedAccount{Name: "x", Wrapped: wrapped})
		if got := refused(t, err); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTransactionsAreThoseOfTheServiceOnly(t *testing.T) {
	r := newRig(t)
	s := r.runs("")
	there := at(home(), s.ID)
	mine, theirs := r.tx(s.ID, 1), r.tx("another", 2)
	all, err := r.p.Transactions(t.Context(), root(), there, platform.TransactionQuery{States: []string{"queued"}})
	if err != nil || len(all) != 1 || all[0].ID != mine || all[0].Wallet != s.ID {
		t.Errorf("%s, %v", text(all), err)
	}
	one, err := r.p.Transaction(t.Context(), root(), there, mine)
	if err != nil || one.ID != mine || one.Credential != "app:x" {
		t.Error(text(one), err)
	}
	for _, id := range []string{theirs, strings.Repeat("0", 32), "0x" + strings.Repeat("0", 64), "../x", ""} {
		for what, do := range map[string]func() error{
			"show":     func() error { _, err := r.p.Transaction(t.Context(), root(), there, id); return err },
			"cancel":   func() error { _, err := r.p.CancelTransaction(t.Context(), root(), there, id); return err },
			"speed up": func() error { _, err := r.p.SpeedUpTransaction(t.Context(), root(), there, id, nil, nil); return err },
		} {
			if got := refused(t, do()); got != "not_found: the service has no such transaction" {
				t.Errorf("%s %s: %s", what, id, got)
			}
		}
	}
	if _, err := r.p.CancelTransaction(t.Context(), root(), there, mine); err != nil {
		t.Error(err)
	}
	if _, err := r.p.SpeedUpTransaction(t.Context(), root(), there, mine, big.NewInt(9), nil); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf("[cancel %s %s speed up 9/<nil> %s %s]", s.ID, mine, s.ID, mine)
	if got := fmt.Sprint(r.stage.helped); got != want {
		t.Errorf("helped %s, not %s", got, want)
	}
	_, err = r.p.SpeedUpTransaction(t.Context(), root(), there, mine, big.NewInt(0), nil)
	if got := refused(t, err); got != "invalid: max_fee_per_gas: want a number of wei above 0" {
		t.Error(got)
	}
	_, err = r.p.Transactions(t.Context(), root(), there, platform.TransactionQuery{States: []string{"lost"}})
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: state: is none of offered, queued, ") {
		t.Error(got)
	}
}

// tx stores a transaction of a wallet that is under way.
func (r *rig) tx(walletName string, n byte) string {
	r.t.Helper()
	id := store.NewID()
	sender := "1337-00000000-" + strings.ToLower(common.Address{n}.Hex())
	err := r.db.Write(r.t.Context(), func(w *store.Writer) error {
		if err := w.PutSender(store.Sender{ID: sender, ChainID: 1337, Address: common.Address{n}, Membership: platform.DefaultMembership}); err != nil {
			return err
		}
		return w.InsertTx(store.Tx{ID: id, Wallet: walletName, Credential: "app:x", Sender: sender, Kind: store.UserTx, State: store.Queued})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func TestImportKeyIsOneServicesAndGoesWithIt(t *testing.T) {
	r := newRig(t)
	s := r.runs(`,"admin":{"user_secret":"hvs.admin"}`)
	other := r.serviceOf(s.Details["cloudhsm_id"].(string))
	until(t, 3*time.Second, "the other is started", func() bool { state, _ := r.stateOf(other.ID); return state == platform.Started })
	with, err := r.p.ImportKey(t.Context(), root(), at(home(), s.ID))
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := r.p.ImportKey(t.Context(), root(), at(home(), other.ID)); err != nil || theirs == with {
		t.Error("two services have one key", err)
	}
	block, _ := pem.Decode([]byte(with.PublicKey))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := byok.PKCS8(ethcrypto.FromECDSA(private))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := byok.RSAAESWrap(public.(*rsa.PublicKey), crypto.SHA256, der)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.p.ImportAccount(t.Context(), root(), at(home(), other.ID), platform.ImportedAccount{Name: "x", Wrapped: wrapped})
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: wrapped_key: does not open") {
		t.Error("what was wrapped for one service is taken by another:", got)
	}
	if gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID)); err != nil || !gone {
		t.Fatal(gone, err)
	}
	names, err := r.db.SealedKeys(t.Context())
	if err != nil || strings.Contains(strings.Join(names, " "), s.ID) || !strings.Contains(strings.Join(names, " "), other.ID) {
		t.Error("the keys are", names, err)
	}
}
