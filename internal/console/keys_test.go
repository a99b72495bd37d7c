// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// walletOf makes a wallet of a configuration with these details, and gives the
// path of its accounts.
func (r *rig) walletOf(name, details string) string {
	r.Helper()
	c := r.make(platform.Configurations, fmt.Sprintf(`{"type":"cloudhsm","name":%q,"membership_id":"h0member00","details":%s}`, name, details)).(*platform.Configuration)
	n := r.make(platform.Nodes, fmt.Sprintf(`{"name":%q,"membership_id":"h0member00","chain_id":1,"urls":{"rpc":"https://node.example.org/"}}`, name)).(*platform.Node)
	s := r.make(platform.Services, fmt.Sprintf(`{"service":"cloudhsm","name":%q,"membership_id":"h0member00","details":{"cloudhsm_id":%q,"node_id":%q}}`, name, c.ID, n.ID)).(*platform.Service)
	return home("/wallets/" + s.ID + "/accounts")
}

const (
	vaultAlone = `{"provider":"hashicorp","target_address":"https://vault.example.org","user_secret":"t"`
	withAdmin  = vaultAlone + `,"admin":{"user_secret":"a"}}`
)

func TestKeyIsMadeWithItsOptions(t *testing.T) {
	r := newRig(t)
	r.run.added = &addition{}
	at := r.walletOf("treasury", withAdmin)
	b := r.signedIn(r.root)
	if page := b.get(at).text; !strings.Contains(page, `name="tags"`) || !strings.Contains(page, "Import a key that exists") {
		t.Errorf("the page offers no key: %s", page)
	}
	a := b.send(at+"/new", url.Values{"name": {" till-3 "}, "label": {"Till 3"}, "tags": {"team = pay\r\n\r\nuse=a=b"}})
	to := a.header.Get("Location")
	if a.code != http.StatusSeeOther || !strings.Contains(to, "done=account-made") || !strings.Contains(to, "search="+account.Hex()) {
		t.Fatalf("%d to %s", a.code, to)
	}
	if r.run.added.name != "till-3" || len(r.run.added.tags) != 2 || r.run.added.tags["team"] != "pay" || r.run.added.tags["use"] != "a=b" || r.run.added.private != nil {
		t.Errorf("%+v", r.run.added)
	}
	if page := b.get(to).text; !strings.Contains(page, "has made the key") || !strings.Contains(page, "Till 3") {
		t.Error("the page does not show what was made")
	}
	for _, tags := range []string{"team", "=pay", "a=1\na=2"} {
		a = b.send(at+"/new", url.Values{"name": {"x"}, "tags": {tags}})
		if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Want one tag a line") || !strings.Contains(a.text, `<details class="more" open>`) {
			t.Errorf("%q: %d", tags, a.code)
		}
	}
	r.run.added.err = &key.CallError{Op: "create key", Kind: key.ErrDenied, Why: "the vault has a key of that name"}
	if a = b.send(at+"/new", url.Values{"name": {"x"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "the vault has a key of that name") || !strings.Contains(a.text, `value="x"`) || !strings.Contains(a.text, `<details class="more" open>`) {
		t.Errorf("%d %s", a.code, a.text)
	}
	if r.run.added.count != 1 {
		t.Errorf("%d keys were made", r.run.added.count)
	}
}

// wrap wraps a payload as the page says, under the key that it gives.
func (b *browser) wrap(at string, payload []byte) string {
	b.Helper()
	given := b.get(at + "/import-key")
	block, _ := pem.Decode([]byte(given.text))
	if given.code != http.StatusOK || block == nil || !strings.Contains(given.header.Get("Content-Disposition"), ".pem") {
		b.Fatalf("%d %s", given.code, given.text)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(b, err)
	blob, err := byok.RSAAESWrap(public.(*rsa.PublicKey), crypto.SHA256, payload)
	must(b, err)
	return base64.StdEncoding.EncodeToString(blob)
}

func TestKeyIsImportedWrappedAndInClearRefused(t *testing.T) {
	r := newRig(t)
	r.run.added = &addition{}
	at, other := r.walletOf("treasury", withAdmin), r.walletOf("other", withAdmin)
	b := r.signedIn(r.root)
	page := b.get(at + "/import").text
	for _, want := range []string{"hsmsigner key wrap --for hsmsigner --under import-key-", "RFC 5649", "Refused are a key in clear", at + "/import-key"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
	private := make([]byte, 32)
	_, _ = rand.Read(private)
	private[0] = 1 // less than n
	der, err := byok.PKCS8(private)
	must(t, err)
	wrapped := b.wrap(at, der)
	a := b.send(at+"/import", url.Values{"name": {"old-1"}, "label": {"Old"}, "tags": {"from=paper"}, "wrapped_key": {wrapped[:70] + "\r\n" + wrapped[70:] + "\n"}})
	if to := a.header.Get("Location"); a.code != http.StatusSeeOther || !strings.Contains(to, "done=account-imported") || !strings.Contains(to, account.Hex()) {
		t.Fatalf("%d to %s: %s", a.code, to, a.text)
	}
	if r.run.added.name != "old-1" || !bytes.Equal(r.run.added.private, private) || r.run.added.tags["from"] != "paper" {
		t.Errorf("%+v", r.run.added)
	}

	braced := ""
	for first := byte(0); first != '{'; first = must2(base64.StdEncoding.DecodeString(braced))(t)[0] {
		braced = b.wrap(at, der)
	}
	if a := b.send(at+"/import", url.Values{"name": {"old-2"}, "wrapped_key": {braced}}); a.code != http.StatusSeeOther {
		t.Errorf("a wrapped key that begins as JSON does, as one of 256: %d: %s", a.code, a.text)
	}

	inHex := hex.EncodeToString(private)
	asPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	v3 := `{"version":3,"crypto":{"ciphertext":"` + inHex + `"}}`
	in64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	curve, err := x509.MarshalPKCS8PrivateKey(must2(rsa.GenerateKey(rand.Reader, 2048))(t))
	must(t, err)
	for name, c := range map[string]struct{ key, why string }{
		"none": {"", "Is missing"}, "hex": {inHex, "This looks like a private key in clear"}, "0x": {" 0x" + inHex, "This looks like a private key in clear"},
		"pem": {asPEM, "This looks like a private key in clear"}, "pem in base64": {in64(asPEM), "This looks like a private key in clear"}, "v3": {v3, "This looks like a private key in clear"}, "v3 in base64": {in64(v3), "This looks like a private key in clear"},
		"hex in base64": {in64(inHex), "This looks like a private key in clear"}, "der": {base64.StdEncoding.EncodeToString(der), "too short"}, "no base64": {"***", "not base64"},
		"for another wallet": {b.wrap(other, der), "Does not open"}, "another kind of key": {b.wrap(at, curve), "no private key of secp256k1"},
	} {
		a := b.send(at+"/import", url.Values{"name": {"kept-name"}, "wrapped_key": {c.key}})
		if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, c.why) || !strings.Contains(a.text, `value="kept-name"`) {
			t.Errorf("%s: %d, no %q", name, a.code, c.why)
		}
		for _, shown := range []string{inHex, strings.TrimSpace(c.key)} {
			if shown != "" && shown != "***" && strings.Contains(a.text, shown) {
				t.Errorf("%s: what was sent is shown", name)
			}
		}
	}
	r.run.added.err = &key.CallError{Op: "import key", Kind: key.ErrDenied, Why: "the policy administrator is missing"}
	if a := b.send(at+"/import", url.Values{"name": {"x"}, "wrapped_key": {wrapped}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "the policy administrator is missing") || strings.Contains(a.text, wrapped[:64]) {
		t.Errorf("%d", a.code)
	}
	if r.run.added.count != 2 {
		t.Errorf("%d keys were taken in", r.run.added.count)
	}
}

// must2 is what a function returned that must not fail.
func must2[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T { t.Helper(); must(t, err); return v }
}

func TestWhereNoKeyCanBeMadeThePageSaysWhatToDo(t *testing.T) {
	r := newRig(t)
	plain := r.walletOf("plain", vaultAlone+"}")
	ethsign := r.walletOf("ethsign", vaultAlone+`,"engine":"ethsign"}`)
	b := r.signedIn(r.root)
	for at, why := range map[string]string{plain: "has no admin credential", ethsign: "neither made nor imported"} {
		for _, path := range []string{at, at + "/import"} {
			page := b.get(path).text
			if !strings.Contains(page, why) || strings.Contains(page, "Have the key backend make a key") || strings.Contains(page, `name="wrapped_key"`) {
				t.Errorf("%s: no %q, or a form", path, why)
			}
			if (at == plain) != strings.Contains(page, "Change the configuration") {
				t.Errorf("%s: the way to the configuration", path)
			}
		}
		if a := b.send(at+"/new", url.Values{"name": {"x"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "no admin credential") && !strings.Contains(a.text, "never does it") {
			t.Errorf("%s: %d", at, a.code)
		}
	}
	reader := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"operator"}]}`))
	for _, path := range []string{"/import", "/import-key"} {
		if a := reader.get(plain + path); a.code != http.StatusForbidden {
			t.Errorf("%s: %d", path, a.code)
		}
	}
	if strings.Contains(reader.get(plain).text, "More keys") {
		t.Error("an operator is offered keys")
	}
}

func TestRefreshThatTakesLongIsFollowed(t *testing.T) {
	r := newRig(t)
	r.console.refreshWait = 10 * time.Millisecond
	at := r.walletOf("treasury", withAdmin)
	set := func(p wallet.Progress) {
		r.run.mu.Lock()
		defer r.run.mu.Unlock()
		r.run.listing = p
	}
	set(wallet.Progress{Running: true, Started: time.Now(), Keys: 1200, Problems: 3})
	b := r.signedIn(r.root)
	a := b.send(at+"/refresh", nil)
	if a.code != http.StatusSeeOther || a.header.Get("Location") != at+"?done=accounts-listing" {
		t.Fatalf("%d to %s: %s", a.code, a.header.Get("Location"), a.text)
	}
	if page := b.get(a.header.Get("Location")).text; !strings.Contains(page, `data-live="`+at+`"`) || !strings.Contains(page, "1\u202f200 keys found so far, 3 of them cannot be used") {
		t.Errorf("the page does not follow it: %s", page)
	}
	part := b.get(at, "X-Fragment", "1").text
	if !strings.Contains(part, "found so far") || strings.Contains(part, "<table") {
		t.Errorf("%s", part)
	}
	set(wallet.Progress{Started: time.Now(), Finished: time.Now(), Keys: 9000})
	if part = b.get(at, "X-Fragment", "1").text; !strings.Contains(part, "are listed: 9\u202f000 keys") || !strings.Contains(part, "Show the accounts") {
		t.Errorf("%s", part)
	}
	if page := b.get(at).text; strings.Contains(page, "data-live") {
		t.Error("the page follows what has ended")
	}
	r.console.refreshWait = time.Minute
	if a := b.send(at+"/refresh", nil); a.code != http.StatusOK || !strings.Contains(a.text, "1 key found, 0 of them new") {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestVersionOfAKeyIsShownWhereItIsOne(t *testing.T) {
	const version = "4f1a1f3d9bb14d3bb5a0a3f0d2c109bc"
	for _, c := range []struct{ name, ref, base, version string }{
		{"ops-1/" + version, "https://v.vault.azure.net/keys/ops-1/" + version, "ops-1", version},
		{"ops-1/3", "projects/p/locations/l/keyRings/r/cryptoKeys/ops-1/cryptoKeyVersions/3", "ops-1", "3"},
		{"team/ops-1", "arn:aws:kms:eu-central-1:123456789012:key/1234abcd", "team/ops-1", ""},
		{"ops-1", "hsmsigner/0x52908400098527886E0F7030069857D2E4169EE7", "ops-1", ""},
		{"", "ref", "", ""},
	} {
		if got := versionOf(platform.Account{Name: c.name, KeyRef: c.ref}); got != (keyName{c.base, c.version}) {
			t.Errorf("%s: %+v", c.ref, got)
		}
		if got := middle(c.ref); len([]rune(got)) > 44 || !strings.HasPrefix(c.ref, got[:3]) || !strings.HasSuffix(c.ref, got[len(got)-3:]) {
			t.Errorf("%s: %s", c.ref, got)
		}
	}
}
