// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/client"
)

func TestDocumentIsSentAsItIsOrByItsHash(t *testing.T) {
	const bundle = `{"version":"hsmsigner-bundle-v1","manifest":"<&>"}`
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("%v %v", err, r.Header)
		}
		seen = append(seen, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, bundle+"\n")
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL, Key: func() (string, error) { return key, nil }})
	if err != nil {
		t.Fatal(err)
	}
	in, wanted := c.In("c", "e"), client.NewSignature{Account: "0xa", SHA256: "aa", Size: 3, Name: "a b", MediaType: "text/plain"}
	got, err := in.SignDocument(t.Context(), "s", wanted)
	if err != nil || string(got) != bundle {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = in.SignDocumentFrom(t.Context(), "s", wanted, strings.NewReader("abc")); err != nil || string(got) != bundle {
		t.Errorf("%s, %v", got, err)
	}
	if _, err = in.SignDocumentFrom(t.Context(), "s", client.NewSignature{Account: "0xa"}, strings.NewReader("")); err != nil {
		t.Error(err)
	}
	const path = "POST /api/v1/consortia/c/environments/e/services/s/signatures"
	for i, want := range []string{
		path + ` application/json {"account":"0xa","sha256":"aa","size":3,"name":"a b","media_type":"text/plain"}`,
		path + `?account=0xa&media_type=text%2Fplain&name=a+b&sha256=aa&size=3 application/octet-stream abc`,
		path + `?account=0xa&media_type=application%2Foctet-stream&size=0 application/octet-stream `,
	} {
		if seen[i] != want {
			t.Errorf("sent %q, want %q", seen[i], want)
		}
	}
}

func TestSignatureThatPeopleAreAskedAboutIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"approval_id":"a1","rule":"two","approved":1,"needed":2,"expires_at":"2026-01-02T03:04:05Z","message":"approval needed"}`)
	})
	var pending *client.PendingSignature
	bundle, err := c.In("c", "e").SignDocument(t.Context(), "s", client.NewSignature{})
	if !errors.As(err, &pending) || bundle != nil || pending.ApprovalID != "a1" || pending.Needed != 2 || pending.Error() != "approval needed" || pending.Expires.Year() != 2026 {
		t.Errorf("%s, %v", bundle, err)
	}
}

func TestBundleIsCheckedByTheServer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if !strings.HasSuffix(r.URL.Path, "/services/s/verify") || body != `{"account":"0xa","bundle":{"jws":""},"sha256":"aa","size":3}` {
			t.Errorf("%s %s", r.URL, body)
		}
		_, _ = io.WriteString(w, `{"valid":false,"complete":false,"findings":[{"part":"jws","result":"fails","why":"x"}],"manifest":{"name":"a"}}`)
	})
	v, err := c.In("c", "e").VerifyDocument(t.Context(), "s", json.RawMessage(`{"jws":""}`), client.NewSignature{Account: "0xa", SHA256: "aa", Size: 3})
	if err != nil || v.Valid || len(v.Findings) != 1 || v.Findings[0].Part != "jws" || string(v.Manifest) != `{"name":"a"}` {
		t.Errorf("%+v, %v", v, err)
	}
}

// What is being sent ends with its context, and not after a time of the client's
// own.
func TestSendingOfADocumentEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	c, err := client.New(client.Config{URL: server.URL, Key: func() (string, error) { return key, nil }, HTTP: &http.Client{Timeout: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	started := time.Now()
	if _, err := c.In("c", "e").SignDocumentFrom(ctx, "s", client.NewSignature{Size: 3}, strings.NewReader("abc")); !errors.Is(err, context.DeadlineExceeded) || time.Since(started) < 250*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(started))
	}
}
