// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// stage stands for what runs services: it keeps what it was told, and is as well
// as the test says.
type stage struct {
	mu       sync.Mutex
	specs    map[string]platform.ServiceSpec
	opens    map[string]int
	closed   []string
	live     map[string]int
	wrong    map[string]string        // secrets with which a backend denies access
	refuse   error                    // of Open
	held     map[string]chan struct{} // services of which Open to drain and Close do not return until it is closed
	down     error                    // of every node
	accounts []wallet.Account
	made     []*ecdsa.PrivateKey
	helped   []string
}

func newStage() *stage {
	return &stage{specs: map[string]platform.ServiceSpec{}, opens: map[string]int{}, live: map[string]int{}, wrong: map[string]string{}}
}

func (s *stage) set(f func(*stage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *stage) spec(name string) (platform.ServiceSpec, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spec, ok := s.specs[name]
	return spec, ok
}

// secret is what the service's backend is opened with; empty if it does not run.
func (s *stage) secret(name string) string {
	spec, ok := s.spec(name)
	if !ok || spec.Wallet.Details.Hashicorp == nil {
		return ""
	}
	plain, _ := spec.Wallet.Details.Hashicorp.Credential.Token.Reveal()
	return plain
}

// wait is what a backend or a node does to a service that hangs.
func (s *stage) wait(ctx context.Context, name string) {
	s.mu.Lock()
	held := s.held[name]
	s.mu.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-ctx.Done():
	}
}

func (s *stage) Open(ctx context.Context, spec platform.ServiceSpec) error {
	if spec.Draining {
		s.wait(ctx, spec.Wallet.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.specs[spec.Wallet.Name] = spec
	s.opens[spec.Wallet.Name]++
	return nil
}

func (s *stage) Close(ctx context.Context, name string) error {
	s.wait(ctx, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.specs, name)
	s.closed = append(s.closed, name)
	return nil
}

func (s *stage) Try(context.Context, string, config.Details, int) (key.Page, error) {
	return key.Page{}, nil
}

func (s *stage) Status(name string) (platform.RunStatus, bool) {
	secret := s.secret(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.specs[name]; !ok {
		return platform.RunStatus{}, false
	}
	now := time.Now()
	st := platform.RunStatus{
		Accounts: len(s.accounts), Usable: len(s.accounts), Ready: true, Listed: true, Verified: true,
		Backend: platform.Dependency{OK: true, Checked: now}, Node: platform.Dependency{OK: true, Checked: now},
	}
	if why, ok := s.wrong[secret]; ok {
		st.Ready, st.Listed = false, false
		st.Backend = platform.Dependency{Err: fmt.Errorf("discover: %w", &key.CallError{Op: "list keys", Kind: key.ErrDenied, Why: why}), Checked: now}
	}
	if s.down != nil {
		st.Ready, st.Verified = false, false
		st.Node = platform.Dependency{Err: s.down, Checked: now}
	}
	return st, true
}

func (s *stage) Accounts(_ context.Context, name string) ([]wallet.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.specs[name]; !ok {
		return nil, fmt.Errorf("%s: %w", name, platform.ErrNotRunning)
	}
	return append([]wallet.Account(nil), s.accounts...), nil
}

func (s *stage) Refresh(ctx context.Context, name string) (wallet.Report, error) {
	all, err := s.Accounts(ctx, name)
	return wallet.Report{Found: len(all), Problems: []key.Problem{{Name: "old", Reason: "its curve is P-256"}}}, err
}

func (s *stage) Create(ctx context.Context, who auth.Principal, name, keyName string, tags map[string]string) (key.Key, error) {
	private, err := crypto.GenerateKey()
	if err != nil {
		return key.Key{}, err
	}
	return s.Import(ctx, who, name, keyName, crypto.FromECDSA(private), tags)
}

func (s *stage) Import(_ context.Context, _ auth.Principal, name, keyName string, private []byte, tags map[string]string) (key.Key, error) {
	spec, ok := s.spec(name)
	if !ok {
		return key.Key{}, platform.ErrNotRunning
	}
	if _, ok := spec.Wallet.Details.ForAdmin(); !ok {
		return key.Key{}, &key.CallError{Op: "create", Kind: key.ErrUnsupported, Why: "the configuration has no admin block"}
	}
	k, err := crypto.ToECDSA(private)
	if err != nil {
		return key.Key{}, err
	}
	a := wallet.Account{Address: crypto.PubkeyToAddress(k.PublicKey), Ref: key.Ref("ref/" + keyName), Name: keyName, State: key.Enabled, Tags: tags}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts = append(s.accounts, a)
	s.made = append(s.made, k)
	return key.Key{Address: a.Address, Ref: a.Ref, Name: a.Name, State: a.State, Tags: tags}, nil
}

func (s *stage) Balance(context.Context, string, common.Address) (*big.Int, error) {
	return new(big.Int).Lsh(big.NewInt(1), 80), nil
}

func (s *stage) Nonce(context.Context, string, common.Address) (uint64, error) { return 7, nil }

func (s *stage) Live(_ context.Context, name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.specs[name]; !ok {
		return 0, platform.ErrNotRunning
	}
	return s.live[name], nil
}

func (s *stage) Cancel(_ context.Context, name, tx string) error { return s.help("cancel", name, tx) }

func (s *stage) SpeedUp(_ context.Context, name, tx string, maxFee, tip *big.Int) error {
	return s.help(fmt.Sprintf("speed up %v/%v", maxFee, tip), name, tx)
}

func (s *stage) help(what, name, tx string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.helped = append(s.helped, what+" "+name+" "+tx)
	return nil
}
