// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
)

// maxAnswer is how many bytes of a witness's answer are read.
const maxAnswer = 64 << 10

// Server is a witness over HTTP (c2sp.org/tlog-witness). It is given checkpoints
// with a proof that they go on from the last one, which it checks, and cosigns
// them.
type Server struct {
	url      string
	verifier note.Verifier
	client   *http.Client
}

// NewServer makes the place for the witness at url, under which add-checkpoint
// is. key is its public key as c2sp.org/signed-note writes it; nil roots are the
// system's.
func NewServer(url, key string, roots *x509.CertPool) (*Server, error) {
	verifier, err := NewVerifier(key)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns: 2, IdleConnTimeout: 2 * time.Minute,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Server{url: strings.TrimSuffix(url, "/") + "/add-checkpoint", verifier: verifier, client: client}, nil
}

// Give gives a checkpoint, and returns it with the witness's cosignature.
func (s *Server) Give(ctx context.Context, log Log, known int64, c logbook.Checkpoint) (string, error) {
	body, err := request(ctx, log, known, c)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	answer, err := s.client.Do(r)
	if err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("witness: read the answer: %w", err)
	case len(text) > maxAnswer:
		return "", fmt.Errorf("witness: the answer has more than %d bytes", maxAnswer)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return s.cosigned(string(c.Note), string(text))
	case http.StatusConflict:
		has, err := strconv.ParseInt(strings.TrimSuffix(string(text), "\n"), 10, 64)
		if err != nil || has < 0 {
			return "", errors.New("witness: has another checkpoint, and does not say which")
		}
		if has == known {
			return "", errors.New("witness: has a checkpoint of the same size that is not ours: somebody has shown it another log under this log's key")
		}
		return "", &HasError{has}
	case http.StatusNotFound:
		return "", errors.New("witness: does not know this log: register its name and key there (hsmsigner audit key)")
	case http.StatusForbidden:
		return "", errors.New("witness: does not take this log's key: register it there (hsmsigner audit key)")
	case http.StatusUnprocessableEntity:
		return "", errors.New("witness: the checkpoint does not go on from the one that it has: the log was altered, or the witness was shown another one under its key")
	}
	return "", fmt.Errorf("witness: answered with status %d", answer.StatusCode)
}

// request is the body of add-checkpoint.
func request(ctx context.Context, log Log, known int64, c logbook.Checkpoint) (string, error) {
	var body strings.Builder
	fmt.Fprintf(&body, "old %d\n", known)
	if known > 0 && known < c.Size { // else the proof is empty
		proof, err := log.Consistency(ctx, known, c.Size)
		if err != nil {
			return "", err
		}
		for _, h := range proof {
			body.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
		}
	}
	body.WriteString("\n" + string(c.Note))
	return body.String(), nil
}

// cosigned is the checkpoint with what the witness has put under it. Without a
// signature of the key that we know, it has not witnessed anything.
func (s *Server) cosigned(signed, lines string) (string, error) {
	var of string
	for one := range strings.Lines(lines) {
		if strings.HasPrefix(one, "— "+s.verifier.Name()+" ") && strings.HasSuffix(one, "\n") {
			of += one
		}
	}
	whole := signed + of
	if of == "" {
		return "", errors.New("witness: its answer has no signature of the name that its key has")
	}
	n, err := note.Open([]byte(whole), note.VerifierList(s.verifier))
	if err != nil || len(n.Sigs) == 0 {
		return "", errors.New("witness: its answer has no signature of the key that the config file has")
	}
	return whole, nil
}
