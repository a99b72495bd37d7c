// SPDX-License-Identifier: Apache-2.0

// Package vaultfake speaks as much of Vault's HTTP API as package hashicorp
// hears, for what no real Vault can be made to do: throttle, hang, answer
// wrongly. Behind it stand HSM Signer's engine and Kaleido's ethsign plugin,
// both in memory. It listens on 127.0.0.1.
//
// Sources: developer.hashicorp.com/vault/api-docs for the answers of Vault;
// internal/vaultengine for those of our engine; README.md and backend/ of
// github.com/kaleido-io/vault-plugin-secrets-ethsign for those of ethsign, whose
// faults it has too.
package vaultfake

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// Token is what the fake takes from the beginning.
const Token = "hvs.fake"

// Server is one fake Vault.
type Server struct {
	// Intercept is asked before anything else, and answers if it returns true.
	// Set it before the first request, or with SetIntercept.
	intercept atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]

	http        *httptest.Server
	serial      atomic.Int64
	connections atomic.Int64

	mu        sync.Mutex
	keys      map[string]*ecdsa.PrivateKey // by address
	names     map[string]string            // of the keys
	addresses []string                     // in order
	tokens    map[string]bool
	policies  []string
	secretID  string
	calls     map[string]int // by "METHOD path", addresses left out
	rights    map[string][]string
	delay     time.Duration
}

// New starts a fake with n keys.
func New(n int) *Server {
	s := &Server{
		keys: map[string]*ecdsa.PrivateKey{}, names: map[string]string{}, tokens: map[string]bool{Token: true},
		policies: []string{"default", "digest-signer"}, calls: map[string]int{}, secretID: "secret-1", rights: map[string][]string{},
	}
	for range n {
		s.AddKey()
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.http.Start()
	return s
}

// URL is where it listens; Close ends it.
func (s *Server) URL() string { return s.http.URL }

// Close ends the fake, and what hangs in it.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Connections is how many connections were made so far.
func (s *Server) Connections() int64 { return s.connections.Load() }

// SetIntercept has every request go through f first; nil: through nothing.
func (s *Server) SetIntercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	if f == nil {
		s.intercept.Store(nil)
		return
	}
	s.intercept.Store(&f)
}

// SetDelay has every answer take so long.
func (s *Server) SetDelay(d time.Duration) { s.set(func() { s.delay = d }) }

// SetSecretID changes the secret id that an AppRole login wants.
func (s *Server) SetSecretID(id string) { s.set(func() { s.secretID = id }) }

// SetPolicies changes the policies of every token.
func (s *Server) SetPolicies(policies ...string) { s.set(func() { s.policies = policies }) }

// SetRights changes what sys/capabilities-self says of a path.
func (s *Server) SetRights(path string, rights ...string) { s.set(func() { s.rights[path] = rights }) }

// Accept has the fake take a token.
func (s *Server) Accept(token string) { s.set(func() { s.tokens[token] = true }) }

// Revoke ends every token.
func (s *Server) Revoke() { s.set(func() { clear(s.tokens) }) }

func (s *Server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// AddKey makes a key.
func (s *Server) AddKey() common.Address {
	k, err := crypto.GenerateKey()
	if err != nil {
		panic(err)
	}
	address := crypto.PubkeyToAddress(k.PublicKey)
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.ToLower(address.Hex())
	s.keys[text] = k
	s.names[text] = "key-" + strconv.Itoa(len(s.keys))
	i, _ := slices.BinarySearch(s.addresses, text)
	s.addresses = slices.Insert(s.addresses, i, text)
	return address
}

// Addresses are those of the keys, in order.
func (s *Server) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// Key is the private key of an address.
func (s *Server) Key(address string) *ecdsa.PrivateKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[strings.ToLower(address)]
}

// Calls is how often "METHOD path" was asked for, with * for an address.
func (s *Server) Calls(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[what]
}

// Total is how many requests there were.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		n += c
	}
	return n
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if len(p) == 42 && strings.HasPrefix(p, "0x") {
			parts[i] = "*"
		}
	}
	s.mu.Lock()
	s.calls[r.Method+" "+strings.Join(parts, "/")]++
	delay := s.delay
	s.mu.Unlock()
	time.Sleep(delay)
	if f := s.intercept.Load(); f != nil && (*f)(w, r) {
		return
	}
	switch path {
	case "sys/health":
		writeJSON(w, http.StatusOK, map[string]any{"initialized": true, "sealed": false, "standby": false})
		return
	case "auth/approle/login", "auth/kubernetes/login", "auth/jwt/login":
		s.login(w, r)
		return
	}
	if !s.accepts(r.Header.Get("X-Vault-Token")) {
		Refuse(w, http.StatusForbidden, "permission denied", "invalid token")
		return
	}
	switch {
	case path == "auth/token/lookup-self":
		s.mu.Lock()
		policies := slices.Clone(s.policies)
		s.mu.Unlock()
		s.answer(w, map[string]any{"policies": policies, "ttl": 3600, "renewable": true})
	case path == "auth/token/renew-self":
		writeJSON(w, http.StatusOK, map[string]any{"auth": map[string]any{"lease_duration": 3600, "renewable": true}})
	case path == "auth/token/revoke-self":
		w.WriteHeader(http.StatusNoContent)
	case path == "sys/capabilities-self":
		s.capabilities(w, r)
	case strings.HasPrefix(path, "hsmsigner/"):
		s.hsmsigner(w, r, strings.TrimPrefix(path, "hsmsigner/"))
	case strings.HasPrefix(path, "ethereum/"):
		s.ethsign(w, r, strings.TrimPrefix(path, "ethereum/"))
	default:
		Refuse(w, http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	}
}

func (s *Server) accepts(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[token]
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		SecretID string `json:"secret_id"`
		JWT      string `json:"jwt"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	ok := body.SecretID+body.JWT == s.secretID
	token := "hvs.login-" + strconv.FormatInt(s.serial.Add(1), 10)
	if ok {
		s.tokens[token] = true
	}
	policies := slices.Clone(s.policies)
	s.mu.Unlock()
	if !ok {
		Refuse(w, http.StatusBadRequest, "invalid role or secret ID")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"auth": map[string]any{
		"client_token": token, "policies": policies, "lease_duration": 3600, "renewable": true,
	}})
}

func (s *Server) capabilities(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Paths []string `json:"paths"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	data := map[string]any{}
	s.mu.Lock()
	for _, path := range body.Paths {
		data[path] = []string{"deny"}
		if rights, ok := s.rights[path]; ok {
			data[path] = rights
		}
	}
	s.mu.Unlock()
	s.answer(w, data)
}

func (s *Server) hsmsigner(w http.ResponseWriter, r *http.Request, path string) {
	kind, address, _ := strings.Cut(path, "/")
	k := s.Key(address)
	switch {
	case path == "addresses":
		s.list(w, r)
	case k == nil:
		Refuse(w, http.StatusNotFound, "there is no key of address "+address)
	case kind == "addresses":
		s.answer(w, s.entry(address))
	case kind == "sign":
		var body struct {
			Digest string `json:"digest"`
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		digest := common.FromHex(body.Digest)
		sig, err := crypto.Sign(digest, k)
		if err != nil {
			Refuse(w, http.StatusBadRequest, "digest: want 32 bytes as 64 hexadecimal digits")
			return
		}
		s.answer(w, map[string]any{"address": address, "signature": hexutil.Encode(sig)})
	default:
		Refuse(w, http.StatusNotFound, "1 error occurred:\n\t* unsupported path\n\n")
	}
}

func (s *Server) entry(address string) map[string]any {
	k := s.Key(address)
	return map[string]any{
		"address": address, "name": s.names[address], "public_key": hexutil.Encode(crypto.FromECDSAPub(&k.PublicKey)), "enabled": true,
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	all := s.Addresses()
	if after := r.URL.Query().Get("after"); after != "" {
		i, found := slices.BinarySearch(all, after)
		if found {
			i++
		}
		all = all[i:]
	}
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil {
		all = all[:min(limit, len(all))]
	}
	if len(all) == 0 {
		Refuse(w, http.StatusNotFound)
		return
	}
	info := map[string]any{}
	for _, address := range all {
		info[address] = s.entry(address)
	}
	s.answer(w, map[string]any{"keys": all, "key_info": info})
}

func (s *Server) answer(w http.ResponseWriter, data any) {
	writeJSON(w, http.StatusOK, map[string]any{"request_id": "request-" + strconv.FormatInt(s.serial.Add(1), 10), "data": data})
}

// Answer answers as Vault does, with a request id and data.
func (s *Server) Answer(w http.ResponseWriter, data any) { s.answer(w, data) }

// Refuse answers with a status and Vault's list of errors.
func Refuse(w http.ResponseWriter, status int, errors ...string) {
	if errors == nil {
		errors = []string{}
	}
	writeJSON(w, status, map[string]any{"errors": errors})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
