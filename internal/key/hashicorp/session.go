// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	loginTimeout = 10 * time.Second
	closeTimeout = 2 * time.Second
	// A credential that has worked and is refused now may be about to be
	// replaced: for so long its refusal is an error that may pass by itself.
	rotationGrace = time.Minute
	// What Vault has refused is not offered again before. Five wrong logins
	// within a quarter of an hour lock an AppRole out
	// (developer.hashicorp.com/vault/docs/concepts/user-lockout).
	sameAgain = 5 * time.Minute
	// A token that was found alive is not looked up again before.
	aliveFor = 5 * time.Second
)

// session is the token in use. One login at a time is under way, for all.
type session struct {
	vault *vault
	wg    sync.WaitGroup // of what runs in the background

	mu      sync.Mutex
	token   string // empty: log in before the next call
	own     bool   // got by logging in, not given
	expires time.Time
	life    time.Duration // that the token was given; 0: it does not end, or nobody knows
	renew   bool
	flight  *flight
	timer   *time.Timer
	worked  bool      // a login has succeeded before
	checked string    // the token whose right to read exports was looked at
	seen    time.Time // when the token was last found alive
	refusal refusal
}

// flight is a login under way.
type flight struct {
	done chan struct{}
	err  error
}

// refusal remembers a credential that Vault refused.
type refusal struct {
	credential string
	since      time.Time // of the first refusal without a success after it
	last       time.Time
	why        string
}

// use returns the token in use, after logging in if there is none.
func (s *session) use(ctx context.Context, op string) (string, error) {
	s.mu.Lock()
	if s.token != "" && s.life > 0 && time.Now().After(s.expires) {
		s.token = ""
	}
	if token := s.token; token != "" {
		s.mu.Unlock()
		return token, nil
	}
	f := s.begin()
	s.mu.Unlock()
	if err := s.await(ctx, op, f); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, nil
}

// begin starts a login, or returns the one under way. s.mu is held.
func (s *session) begin() *flight {
	if s.flight != nil {
		return s.flight
	}
	f := &flight{done: make(chan struct{})}
	s.flight = f
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		ctx, cancel := context.WithTimeout(s.vault.ctx, loginTimeout)
		defer cancel()
		f.err = s.login(ctx)
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
		close(f.done)
	}()
	return f
}

func (s *session) await(ctx context.Context, op string, f *flight) error {
	select {
	case <-f.done:
	case <-ctx.Done():
		return fmt.Errorf("hashicorp: %s: log in: %w", op, ctx.Err())
	}
	var failed *key.CallError
	if errors.As(f.err, &failed) {
		return &key.CallError{Op: op, Kind: failed.Kind, Why: failed.Why}
	}
	return f.err
}

// ended reports whether err means that the token is no longer good, and if so
// sees to it that the next call uses another. Vault says 403 both of a token
// that has ended and of one that lacks a right.
func (s *session) ended(ctx context.Context, token string, c call, err error) bool {
	if status(err) != 403 {
		return false
	}
	var answer *api.ResponseError
	errors.As(err, &answer)
	dead := says(answer, "invalid token") || says(answer, "bad token")
	if !dead && !c.lookup && !s.aliveSince(time.Now().Add(-aliveFor)) {
		lookup := call{op: c.op, path: "auth/token/lookup-self", lookup: true}
		_, _, err := s.vault.exchange(ctx, func(ctx context.Context, client *api.Client) (*api.Response, error) {
			return client.Logical().ReadRawWithContext(ctx, lookup.path)
		}, s.vault.http)
		if err == nil {
			s.note(token)
		}
		dead = status(err) == 403
	}
	if dead {
		s.drop(token)
	}
	return dead
}

// drop forgets a token, unless another has taken its place.
func (s *session) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}

func (s *session) note(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.seen = time.Now()
	}
}

func (s *session) aliveSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != "" && s.seen.After(t)
}

func (s *session) alive(now time.Time) bool { return s.aliveSince(now.Add(-aliveFor)) }

// grant is what Vault says of a token: auth of a login or renewal, or data of a
// lookup.
type grant struct {
	Token         string   `json:"client_token"`
	Policies      []string `json:"policies"`
	Identity      []string `json:"identity_policies"`
	LeaseDuration int64    `json:"lease_duration"` // seconds; of a login
	TTL           int64    `json:"ttl"`            // seconds; of a lookup
	Renewable     bool     `json:"renewable"`
}

// login gets a token and puts it in use.
func (s *session) login(ctx context.Context) error {
	credential, err := s.vault.credential()
	if err != nil {
		return err
	}
	if err := s.refusedBefore(credential); err != nil {
		return err
	}
	g, err := s.vault.enter(ctx, credential)
	if err != nil {
		return s.judge(credential, err)
	}
	if slices.Contains(g.Policies, "root") || slices.Contains(g.Identity, "root") {
		const why = "the credential is a root token, which may do everything in Vault and is refused: make one with the policy digest-signer"
		s.remember(credential, why)
		return &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: why}
	}
	s.adopt(g, s.vault.cfg.Token == nil)
	return nil
}

// refusedBefore returns the error of a credential that Vault has refused
// lately, without asking again.
func (s *session) refusedBefore(credential string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refusal
	if r.credential != credential || time.Since(r.last) >= sameAgain {
		return nil
	}
	return s.denied(r)
}

// denied is the error of a refused credential. s.mu is held.
func (s *session) denied(r refusal) error {
	if s.worked && time.Since(r.since) < rotationGrace {
		return &key.CallError{Op: "log in", Kind: key.ErrUnavailable, Why: r.why + "; it has worked before, and a new one is waited for"}
	}
	return &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: r.why}
}

// judge tells a refused credential from a Vault that cannot answer now.
func (s *session) judge(credential string, err error) error {
	c := call{op: "log in", path: "auth/" + s.vault.cfg.AuthMount + "/login", right: "login"}
	explained := s.vault.explain(context.Background(), c, nil, err)
	var why string
	switch code := status(err); {
	case s.vault.cfg.Token != nil && code == 403:
		why = "Vault does not take the token: it is wrong, has expired or was revoked"
	case code == 404, code == 405:
		return &key.CallError{Op: c.op, Kind: key.ErrDenied, Why: "no auth method is mounted at auth/" + s.vault.inNamespace() + s.vault.cfg.AuthMount + "/: check auth_mount and namespace"}
	case s.vault.cfg.Token != nil:
		return explained // there is no login that could be wrong
	case code == 400 && errors.Is(explained, key.ErrBadResponse), code == 403:
		why = s.vault.refusedLogin()
	default:
		return explained
	}
	s.remember(credential, why)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied(s.refusal)
}

func (s *session) remember(credential, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.refusal.since.IsZero() {
		s.refusal.since = now
		s.vault.cfg.Logger.Warn("Vault refuses the credential", "reason", why)
	}
	s.refusal.credential, s.refusal.last, s.refusal.why = credential, now, why
}

// adopt puts a token in use and sets its renewal.
func (s *session) adopt(g grant, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.vault.http.SetToken(g.Token)
	s.token, s.own, s.renew, s.worked, s.seen = g.Token, own, g.Renewable, true, now
	s.life = time.Duration(max(g.LeaseDuration, g.TTL)) * time.Second
	s.expires = now.Add(s.life)
	s.refusal = refusal{}
	s.schedule(s.life * 2 / 3)
}

// schedule sets the time of the next renewal. s.mu is held.
func (s *session) schedule(after time.Duration) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.life <= 0 || s.vault.closed() {
		return
	}
	s.timer = time.AfterFunc(max(after, 100*time.Millisecond), s.refresh)
}

// refresh renews the token, or gets another while the old one still works.
func (s *session) refresh() {
	s.mu.Lock()
	if s.vault.closed() {
		s.mu.Unlock()
		return
	}
	token, life, renewable := s.token, s.life, s.renew
	if token == "" || s.flight != nil {
		s.mu.Unlock()
		return // the next call logs in, or somebody does already
	}
	s.wg.Add(1)
	defer s.wg.Done()
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(s.vault.ctx, loginTimeout)
	defer cancel()
	if renewable {
		g, err := s.vault.renewToken(ctx)
		// A token near its max TTL is renewed for less and less
		// (spring-vault #176): then only another login helps.
		if err == nil && time.Duration(g.LeaseDuration)*time.Second > life/2 {
			s.extend(token, time.Duration(g.LeaseDuration)*time.Second)
			return
		}
	}
	s.mu.Lock()
	f := s.begin()
	s.mu.Unlock()
	<-f.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token { // a token that was given is the same as before, or Vault was away
		left := time.Until(s.expires)
		s.vault.cfg.Logger.Warn("Vault's token ends and there is no other yet", "ends_in", left.Round(time.Second), "err", f.err)
		s.schedule(min(max(left/4, time.Second), time.Minute))
	}
}

// extend notes a renewal.
func (s *session) extend(token string, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != token {
		return
	}
	s.seen = time.Now()
	s.expires = s.seen.Add(life)
	s.schedule(life * 2 / 3)
}

// close gives our own token back and stops the renewals.
func (s *session) close() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	token, own := s.token, s.own
	s.token = ""
	s.mu.Unlock()
	if token != "" && own {
		ctx, cancel := context.WithTimeout(s.vault.ctx, closeTimeout)
		defer cancel()
		_, _, _ = s.vault.exchange(ctx, func(ctx context.Context, client *api.Client) (*api.Response, error) {
			return client.Logical().WriteRawWithContext(ctx, "auth/token/revoke-self", []byte("{}"))
		}, s.vault.http) // if it fails, the token ends by itself
	}
	s.vault.http.ClearToken()
}

// renewToken asks Vault to let the token live on.
func (v *vault) renewToken(ctx context.Context) (grant, error) {
	r, _, err := v.exchange(ctx, func(ctx context.Context, client *api.Client) (*api.Response, error) {
		return client.Logical().WriteRawWithContext(ctx, "auth/token/renew-self", []byte("{}"))
	}, v.http)
	if err != nil {
		return grant{}, err
	}
	var g grant
	if json.Unmarshal(r.Auth, &g) != nil {
		return grant{}, errNotVault
	}
	return g, nil
}
