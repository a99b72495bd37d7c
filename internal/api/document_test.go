// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// notary stands in for what signs documents and proves it: a key and a log of its
// own. Its real one is tested end to end.
type notary struct {
	mu      sync.Mutex
	key     *ecdsa.PrivateKey
	log     note.Signer
	public  string
	records [][]byte
	hashes  []tlog.Hash
	fail    error // in place of signing
	who     []string
}

func newNotary(t *testing.T) *notary {
	t.Helper()
	key, err := crypto.GenerateKey()
	must(t, err)
	private, public, err := note.GenerateKey(nil, "signer.example.org/audit")
	must(t, err)
	log, err := note.NewSigner(private)
	must(t, err)
	return &notary{key: key, log: log, public: public}
}

func (n *notary) address() common.Address { return crypto.PubkeyToAddress(n.key.PublicKey) }

func (n *notary) VerifierKey() string { return n.public }

func (n *notary) SignDocument(_ context.Context, who auth.Principal, name string, account common.Address, d document.Document) (document.Signed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return document.Signed{}, n.fail
	}
	if account != n.address() {
		return document.Signed{}, &wallet.UnknownAccountError{Address: account}
	}
	m, err := document.NewManifest(d, account, name, time.Now())
	if err != nil {
		return document.Signed{}, err
	}
	n.who = append(n.who, who.Name)
	at := len(n.records)
	s := document.Signed{Manifest: m, Intent: fmt.Sprint(at), Outcomes: [2]string{fmt.Sprint(at + 1), fmt.Sprint(at + 2)}}
	intent := audit.Intent{ID: s.Intent, At: time.Now(), Principal: who.Name, Wallet: name, Address: account, Action: audit.SignDocument, Subject: m.Subject(), Verdict: "allow: default"}
	n.add(intent.AppendLine(nil))
	for i, digest := range []common.Hash{m.JWSDigest(), m.EIP191Digest()} {
		raw, err := crypto.Sign(digest[:], n.key)
		if err != nil {
			return s, err
		}
		sig := secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:64]), V: raw[64]}
		if i == 0 {
			s.JWS = m.JWS(sig)
		} else {
			s.EIP191 = document.EIP191(sig)
			if s.PublicKey, err = m.KeyOf(sig); err != nil {
				return s, err
			}
		}
		outcome := audit.Outcome{ID: s.Outcomes[i], Intent: s.Intent, At: time.Now(), Digest: digest}
		n.add(outcome.AppendLine(nil))
	}
	return s, nil
}

func (n *notary) read(at []int64) (out []tlog.Hash, _ error) {
	for _, i := range at {
		out = append(out, n.hashes[i])
	}
	return out, nil
}

func (n *notary) add(line []byte) {
	more, err := tlog.StoredHashes(int64(len(n.records)), line, tlog.HashReaderFunc(n.read))
	if err != nil {
		panic(err)
	}
	n.records, n.hashes = append(n.records, line), append(n.hashes, more...)
}

func (n *notary) ProveSigned(_ context.Context, intent string, outcomes [2]string) (checkpoint string, records [3]document.Proof, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size := int64(len(n.records))
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(n.read))
	if err != nil {
		return "", records, err
	}
	for i, id := range []string{intent, outcomes[0], outcomes[1]} {
		var at int64
		if _, err := fmt.Sscan(id, &at); err != nil {
			return "", records, err
		}
		hashes, err := tlog.ProveRecord(size, at, tlog.HashReaderFunc(n.read))
		if err != nil {
			return "", records, err
		}
		records[i] = document.Proof{Index: at, Record: string(n.records[at]), Hashes: hashes}
	}
	text, err := note.Sign(&note.Note{Text: fmt.Sprintf("signer.example.org/audit\n%d\n%s\n", size, root)}, n.log)
	return string(text), records, err
}

const paper = "We agree.\n"

func paperHash() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(paper))) }

// post sends a body of any kind. prove says who is asking.
func (r *rig) post(prove func(*http.Request), path, media string, body io.Reader, headers ...string) seen {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.server.URL+Base+path, body)
	must(r.t, err)
	prove(req)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	a := r.do(req)
	r.foreseen(http.MethodPost, path, a)
	return a
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

// holds demands that a bundle proves that the paper was signed.
func (r *rig) holds(a seen) document.Manifest {
	r.t.Helper()
	r.want(a, http.StatusCreated)
	signer := r.notary.address()
	report := document.Verify([]byte(a.text), document.Against{
		LogKey: r.notary.public, Signer: &signer, Document: &document.Document{SHA256: sha256.Sum256([]byte(paper)), Size: int64(len(paper))},
	})
	if !report.Complete {
		r.t.Fatalf("%+v\n%s", report.Findings, a.text)
	}
	return *report.Manifest
}

func TestDocumentIsSignedAsItComesOrByItsHash(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service
	who := bearer(ours.key)
	account := r.notary.address().Hex()
	digest := sha256.Sum256([]byte(paper))
	m := r.holds(r.post(who, path+"/signatures?account="+account+"&name=a+%22b%22+%3C%26%3E.txt&size=10&sha256="+paperHash(), "Text/Plain; charset=utf-8",
		strings.NewReader(paper), "Content-Digest", "sha-512=:AA==:, sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":"))
	if m.Name != `a "b" <&>.txt` || m.MediaType != "text/plain" || m.Wallet != ours.service {
		t.Errorf("%+v", m)
	}
	m = r.holds(r.post(who, path+"/signatures?media_type=application/json&account="+strings.ToLower(account), "application/octet-stream", strings.NewReader(paper)))
	if m.Name != "" || m.MediaType != "application/json" {
		t.Errorf("%+v", m)
	}
	m = r.holds(r.post(who, path+"/signatures?account="+account, "", io.MultiReader(strings.NewReader(paper)))) // chunked
	if m.MediaType != document.Unknown {
		t.Errorf("%+v", m)
	}
	byHash := fmt.Sprintf(`{"account":%q,"sha256":%q,"size":10,"name":"c.pdf","media_type":"application/pdf"}`, account, paperHash())
	m = r.holds(r.call(ours.key, "POST", path+"/signatures", byHash))
	if m.Name != "c.pdf" || m.MediaType != "application/pdf" {
		t.Errorf("%+v", m)
	}
	if got := fmt.Sprint(r.notary.who); got != fmt.Sprint([]string{"key:" + ours.id, "key:" + ours.id, "key:" + ours.id, "key:" + ours.id}) {
		t.Errorf("signed for %s", got)
	}
}

func TestWhatCannotBeSignedIsRefused(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service + "/signatures"
	account := "account=" + r.notary.address().Hex()
	other := fmt.Sprintf("%x", sha256.Sum256([]byte("other")))
	for _, c := range []struct {
		query, media, body string
		headers            []string
		code               int
		says               string
	}{
		{"", "text/plain", paper, nil, 400, "account: want the address"},
		{"account=0x1", "text/plain", paper, nil, 400, "account: want the address"},
		{"account=" + address.Hex(), "text/plain", paper, nil, 400, "account: the service has no account"},
		{account, "text", paper, nil, 400, "media_type: want type/subtype"},
		{account + "&media_type=Text/plain", "", paper, nil, 400, "media_type: want type/subtype in lower case"},
		{account + "&name=a%0ab", "", paper, nil, 400, "name: has the sign U+000A"},
		{account + "&name=a&name=b", "", paper, nil, 400, "name: is given more than once"},
		{account + "&nam=a", "", paper, nil, 400, "means nothing here"},
		{account + "&size=11", "", paper, nil, 400, "size: what came has 10 bytes"},
		{account + "&size=x", "", paper, nil, 400, "size: want a number"},
		{account + "&sha256=" + other, "", paper, nil, 400, "sha256: what came has another SHA-256"},
		{account + "&sha256=" + strings.ToUpper(other), "", paper, nil, 400, "sha256: want 64 hex digits in lower case"},
		{account, "", "", nil, 400, "there is no document"},
		{account, "", paper, []string{"Content-Digest", "sha-256=:" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ":"}, 400, "Content-Digest: what came has another SHA-256"},
		{account, "", paper, []string{"Content-Digest", "sha-256=" + other}, 400, "Content-Digest: has no sha-256"},
		{account, "", paper, []string{"Content-Digest", "sha-256=:AAAA:"}, 400, "Content-Digest: want sha-256"},
		{account, "", paper, []string{"Content-Digest", "md5=:AAAA:"}, 400, "Content-Digest: has no sha-256"},
		{account, "", paper, []string{"Content-Encoding", "gzip"}, 415, "want no Content-Encoding"},
		{account, "application/json", `{"invoice":1}`, nil, 400, ""},
		{account, "application/json", `{"account":"` + r.notary.address().Hex() + `","sha256":"` + other + `","size":5}`, nil, 400, "there are both JSON and a query"},
		{"", "application/json", `{"account":"` + r.notary.address().Hex() + `","sha256":"` + other + `","size":5,"invoice":1}`, nil, 400, "want no other properties"},
		{"", "application/json", `{"account":"` + r.notary.address().Hex() + `","sha256":"` + other + `","size":0}`, nil, 400, "size: is 0"},
		{"", "application/json", `{"account":"` + r.notary.address().Hex() + `","sha256":"` + other + `","size":5.5}`, nil, 400, "size"},
		{"", "application/json", `{"account":"` + r.notary.address().Hex() + `","sha256":"` + strings.Repeat("0", 64) + `","size":5}`, nil, 400, "sha256: is missing"},
	} {
		a := r.post(bearer(ours.key), path+"?"+c.query, c.media, strings.NewReader(c.body), c.headers...)
		if a.code != c.code || !strings.Contains(a.text, c.says) {
			t.Errorf("%s %s %s %s: %d %s", c.query, c.media, c.body, c.headers, a.code, a.text)
		}
	}
	if len(r.notary.who) != 0 {
		t.Errorf("%d documents were signed", len(r.notary.who))
	}
	empty := r.post(bearer(ours.key), path+"?size=0&"+account, "", strings.NewReader(""))
	if r.want(empty, 201); !strings.Contains(empty.text, `\"size\":0`) {
		t.Error(empty.text)
	}
}

func TestWhyNothingWasSignedIsSaid(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service + "/signatures?account=" + r.notary.address().Hex()
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{&policy.DeniedError{Verdict: policy.Verdict{Rule: "no contracts", Reason: "never"}}, 403, `rule \"no contracts\"`},
		{&policy.PendingError{ID: "a1", Rule: "two of us", Need: 2, Have: 1, Expires: time.Unix(1e9, 0)}, 202, `"approval_id":"a1"`},
		{&wallet.UnusableError{Address: r.notary.address(), Reason: "its key is disabled"}, 409, "its key is disabled"},
		{&wallet.RequestError{Reason: "no documents"}, 422, "no documents"},
		{fmt.Errorf("wallet x: write intent: %w: %w", wallet.ErrAudit, io.ErrShortWrite), 503, "audit row could not be written, so nothing was signed"},
		{&wallet.BackendError{Kind: wallet.KindUnavailable}, 503, "key backend"},
		{context.DeadlineExceeded, 503, ""},
	} {
		r.notary.fail = c.err
		a := r.post(bearer(ours.key), path, "", strings.NewReader(paper))
		if a.code != c.code || !strings.Contains(a.text, c.says) || strings.Contains(a.text, "short write") {
			t.Errorf("%v: %d %s", c.err, a.code, a.text)
		}
	}
}

func TestWhoMayHaveDocumentsSignedAndChecked(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	beside := r.tenant("beside", ours.consortium, ours.environment)
	path := ours.at() + "/services/" + ours.service
	sign := path + "/signatures?account=" + r.notary.address().Hex()
	verify := `{"bundle":{}}`
	grant := func(role string) func(*http.Request) {
		return bearer(r.key(`{"name":"n","grants":[{"role":"` + role + `","consortium_id":"` + ours.consortium + `","membership_id":"` + ours.membership + `"}]}`))
	}
	cred := func(n tenant) func(*http.Request) {
		a := r.want(r.call(n.key, "POST", n.at()+"/appcreds", `{"name":"shop"}`), 201)
		return basic(a.id(), a.get("password").(string))
	}
	shop := cred(ours)
	for who, c := range map[string]struct {
		prove        func(*http.Request)
		sign, verify int
	}{
		"an admin":                        {grant("admin"), 201, 200},
		"an operator":                     {grant("operator"), 403, 200},
		"an auditor":                      {grant("auditor"), 403, 200},
		"its app credential":              {shop, 201, 200},
		"another tenant":                  {bearer(beside.key), 404, 404},
		"another tenant's app credential": {cred(beside), 404, 404},
		"a wrong password":                {basic("u0zzzzzzz0", "wrong"), 401, 401},
		"nobody":                          {func(*http.Request) {}, 401, 401},
	} {
		if a := r.post(c.prove, sign, "text/plain", strings.NewReader(paper)); a.code != c.sign {
			t.Errorf("%s signs: %d %s", who, a.code, a.text)
		}
		if a := r.post(c.prove, path+"/verify", "application/json", strings.NewReader(verify)); a.code != c.verify {
			t.Errorf("%s checks: %d %s", who, a.code, a.text)
		}
	}
	// An app credential opens these two routes of its services, and nothing else.
	for _, rt := range routes() {
		if rt.apps {
			continue
		}
		req, err := http.NewRequestWithContext(t.Context(), rt.method, r.server.URL+Base+fill(rt.path, ours.ids()), strings.NewReader("{}"))
		must(t, err)
		shop(req)
		if a := r.do(req); a.code != 401 {
			t.Errorf("%s %s with an app credential: %d %s", rt.method, rt.path, a.code, a.text)
		}
	}
	if a := r.post(shop, strings.Replace(sign, ours.service, someID, 1), "", strings.NewReader(paper)); a.code != 404 {
		t.Errorf("a service that is not there: %d", a.code)
	}
	if a := r.post(shop, strings.Replace(sign, ours.service, ours.node, 1), "", strings.NewReader(paper)); a.code != 404 {
		t.Errorf("a node: %d", a.code)
	}
}

func TestBundleIsCheckedByJSONAndByAForm(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service
	who := bearer(ours.key)
	account := r.notary.address().Hex()
	bundle := r.want(r.post(who, path+"/signatures?account="+account, "", strings.NewReader(paper)), 201).text
	check := func(body string) seen {
		return r.want(r.post(who, path+"/verify", "application/json", strings.NewReader(body)), 200)
	}
	whole := check(fmt.Sprintf(`{"bundle":%s,"account":%q,"sha256":%q,"size":10}`, bundle, account, paperHash()))
	if whole.get("valid") != true || whole.get("complete") != true || whole.get("manifest", "signer") != account {
		t.Error(whole.text)
	}
	if part := check(`{"bundle":` + bundle + `}`); part.get("valid") != true || part.get("complete") != false {
		t.Error(part.text)
	}
	for body, part := range map[string]string{
		fmt.Sprintf(`{"bundle":%s,"account":%q}`, bundle, address.Hex()):              `{"part":"signer","result":"fails"`,
		fmt.Sprintf(`{"bundle":%s,"sha256":%q}`, bundle, strings.Repeat("1", 64)):     `{"part":"document","result":"fails"`,
		fmt.Sprintf(`{"bundle":%s,"sha256":%q,"size":11}`, bundle, paperHash()):       `{"part":"document","result":"fails"`,
		`{"bundle":` + strings.Replace(bundle, `\"size\":10`, `\"size\":11`, 1) + `}`: `{"part":"jws","result":"fails"`,
		`{"bundle":{}}`: `{"part":"bundle","result":"fails"`,
	} {
		if a := check(body); a.get("valid") != false || !strings.Contains(a.text, part) {
			t.Errorf("%s: %s", part, a.text)
		}
	}
	form := func(parts ...string) seen {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(parts); i += 2 {
			f, err := w.CreateFormFile(parts[i], "file")
			must(t, err)
			_, err = io.WriteString(f, parts[i+1])
			must(t, err)
		}
		must(t, w.Close())
		return r.post(who, path+"/verify?account="+account, w.FormDataContentType(), &b)
	}
	if a := r.want(form("bundle", bundle, "document", paper), 200); a.get("complete") != true {
		t.Error(a.text)
	}
	if a := r.want(form("bundle", bundle), 200); a.get("valid") != true || a.get("complete") != false {
		t.Error(a.text)
	}
	if a := r.want(form("bundle", bundle, "document", paper+" "), 200); a.get("valid") != false {
		t.Error(a.text)
	}
	for _, parts := range [][]string{{}, {"document", paper}, {"document", paper, "bundle", bundle}, {"bundle", bundle, "bundle", bundle}, {"bundle", bundle, "other", ""}, {"bundle", bundle, "document", paper, "document", paper}} {
		if a := form(parts...); a.code != 400 {
			t.Errorf("%.40q: %d %s", parts, a.code, a.text)
		}
	}
	if a := form("bundle", strings.Repeat(" ", maxBody+1)); a.code != 413 {
		t.Errorf("a large bundle: %d", a.code)
	}
	for media, body := range map[string]string{"text/plain": bundle, "multipart/form-data": bundle, "": bundle} {
		if a := r.post(who, path+"/verify", media, strings.NewReader(body)); a.code != 415 {
			t.Errorf("%s: %d %s", media, a.code, a.text)
		}
	}
}

func TestQueryOfADocumentIsReadStrictly(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service
	a := r.post(bearer(ours.key), path+"/verify?"+url.Values{"account": {address.Hex()}}.Encode(), "application/json", strings.NewReader(`{"bundle":{}}`))
	if a.code != 400 || !strings.Contains(a.text, "both JSON and a query") {
		t.Errorf("%d %s", a.code, a.text)
	}
}
