// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Each process makes a key pair at its start (X25519, RFC 7748) and writes the
// public half into its row. Two of them share a secret that nobody else can
// compute, also not who reads the database or the network; who can write the
// database can write transactions there anyway. A question carries an HMAC
// (RFC 2104) of who asks whom for what.

const scheme = "HSMSigner"

// newKey makes the pair of this process.
func newKey() *ecdh.PrivateKey {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		// It can fail only if the system has no randomness, where crypto/rand
		// ends the process by itself.
		panic(err)
	}
	return key
}

// shared is the key that we and a peer have in common.
func (r *Registry) shared(peer store.Replica) ([]byte, error) {
	r.mu.Lock()
	known, ok := r.secrets[peer.Token]
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	raw, err := hex.DecodeString(peer.Token)
	if err != nil {
		return nil, fmt.Errorf("replica %s has no key that we can read: %w", peer.Owner, err)
	}
	public, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("replica %s has no key that we can read: %w", peer.Owner, err)
	}
	secret, err := r.key.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("replica %s has no key that we can use: %w", peer.Owner, err)
	}
	first, second := r.token, peer.Token
	if first > second {
		first, second = second, first
	}
	sum := sha256.New()
	sum.Write([]byte("hsmsigner replica v1\n" + first + "\n" + second + "\n"))
	sum.Write(secret)
	key := sum.Sum(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.secrets) > 100 { // of processes that are long gone
		clear(r.secrets)
	}
	r.secrets[peer.Token] = key
	return key, nil
}

// freshness is how far the clocks of two replicas may be apart, and how long
// somebody who listens could repeat a question.
const freshness = time.Minute

// proof is what asker shows asked for a question; at is the time, Unix seconds.
func proof(key []byte, asker, asked, at, path string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(asker + "\n" + asked + "\n" + at + "\n" + path + "\n"))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// sign puts our proof into a question to a peer.
func (r *Registry) sign(peer store.Replica, request *http.Request, body []byte) error {
	key, err := r.shared(peer)
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Authorization", strings.Join([]string{scheme, r.cfg.Owner, at, proof(key, r.cfg.Owner, peer.Owner, at, request.URL.Path, body)}, " "))
	return nil
}

var (
	errStranger = errors.New("the caller is no replica on this database")
	errStale    = errors.New("the question is a minute old: the clocks of the replicas are apart")
)

// body reads a question of at most limit bytes if a replica asks it. Nothing is
// read of a stranger's.
func (r *Registry) body(w http.ResponseWriter, request *http.Request, limit int64) ([]byte, error) {
	parts := strings.Split(request.Header.Get("Authorization"), " ")
	if len(parts) != 4 || parts[0] != scheme {
		return nil, errStranger
	}
	owner, at, shown := parts[1], parts[2], parts[3]
	if seconds, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > freshness {
		return nil, errStale
	}
	peer, ok := r.alive(request.Context(), owner)
	if !ok {
		return nil, errStranger
	}
	key, err := r.shared(peer)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, limit))
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(shown), []byte(proof(key, owner, r.cfg.Owner, at, request.URL.Path, body))) {
		return nil, errStranger
	}
	return body, nil
}

// alive finds a replica. One that has just started may not have been seen yet.
func (r *Registry) alive(ctx context.Context, owner string) (store.Replica, bool) {
	r.mu.Lock()
	p, ok := r.peers[owner]
	again := !ok && time.Since(r.asked) > 100*time.Millisecond
	if again {
		r.asked = time.Now()
	}
	r.mu.Unlock()
	if !again {
		return p, ok
	}
	rows, err := r.cfg.Store.Replicas(ctx, alive)
	if err != nil {
		return p, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		r.peers[row.Owner] = row
	}
	p, ok = r.peers[owner]
	return p, ok
}
