// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

const (
	askAtOnce   = 8                // questions to a node for one request
	askTimeout  = 10 * time.Second // for all of them
	makeTimeout = time.Minute      // for a backend to make or take a key
	maxLabel    = 64
	maxTags     = 50
)

// Accounts lists the accounts of a service, by address.
func (p *Platform) Accounts(ctx context.Context, who auth.Access, at Path, q AccountQuery) ([]Account, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return nil, err
	}
	known, err := p.cfg.Runtime.Accounts(ctx, r.wallet())
	if err != nil {
		return nil, backendRefusal(err)
	}
	labels, err := p.cfg.Store.Labels(ctx, r.wallet())
	if err != nil {
		return nil, err
	}
	out := make([]Account, len(known))
	for i, a := range known {
		out[i] = viewAccount(a, labels[a.Address])
	}
	return out, p.ask(ctx, r, out, q)
}

// AskAccounts asks the node for balance and next nonce of accounts that were listed
// before, and writes them there. Those that get no answer stay as they are; the error
// is about one of them.
func (p *Platform) AskAccounts(ctx context.Context, who auth.Access, at Path, listed []Account) error {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return err
	}
	return p.ask(ctx, r, listed, AccountQuery{Balance: true, Nonce: true})
}

// Account is one account of a service.
func (p *Platform) Account(ctx context.Context, who auth.Access, at Path, address common.Address, q AccountQuery) (Account, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return Account{}, err
	}
	return p.account(ctx, r, address, q)
}

func (p *Platform) account(ctx context.Context, r row, address common.Address, q AccountQuery) (Account, error) {
	known, err := p.cfg.Runtime.Accounts(ctx, r.wallet())
	if err != nil {
		return Account{}, backendRefusal(err)
	}
	for _, a := range known {
		if a.Address != address {
			continue
		}
		labels, err := p.cfg.Store.Labels(ctx, r.wallet())
		if err != nil {
			return Account{}, err
		}
		out := []Account{viewAccount(a, labels[address])}
		err = p.ask(ctx, r, out, q)
		return out[0], err
	}
	return Account{}, &Error{Reason: NotFound, Msg: "the service has no account " + address.Hex()}
}

func viewAccount(a wallet.Account, label string) Account {
	out := Account{
		Address: a.Address.Hex(), KeyRef: string(a.Ref), Name: a.Name, Label: label, Protection: string(a.Protection),
		State: string(a.State), Reason: a.Reason, Tags: a.Tags,
	}
	if !a.Seen.IsZero() {
		out.Seen = a.Seen.UTC()
	}
	return out
}

// ask asks the node what the query wants of all accounts, a few at a time.
func (p *Platform) ask(ctx context.Context, r row, accounts []Account, q AccountQuery) error {
	if !q.Balance && !q.Nonce {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(accounts))
	slots := make(chan struct{}, askAtOnce)
	for i := range accounts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = p.askOne(ctx, r, &accounts[i], q)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			continue
		}
		if errors.Is(err, ErrNotRunning) {
			return backendRefusal(err)
		}
		text, _ := reasonOf(err)
		return unavailable("the node was asked for balance and nonce: %s", text)
	}
	return nil
}

func (p *Platform) askOne(ctx context.Context, r row, a *Account, q AccountQuery) error {
	address := common.HexToAddress(a.Address)
	if q.Balance {
		wei, err := p.cfg.Runtime.Balance(ctx, r.wallet(), address)
		if err != nil {
			return err
		}
		a.Balance = wei.String()
	}
	if q.Nonce {
		n, err := p.cfg.Runtime.Nonce(ctx, r.wallet(), address)
		if err != nil {
			return err
		}
		a.Nonce = &n
	}
	return nil
}

// RefreshAccounts lists the keys of a service's backend now.
func (p *Platform) RefreshAccounts(ctx context.Context, who auth.Access, at Path) (AccountsReport, error) {
	r, err := p.service(ctx, who, auth.Operates, at)
	if err != nil {
		return AccountsReport{}, err
	}
	if err := p.noteOrder(ctx, who, "refresh", r, nil); err != nil {
		return AccountsReport{}, err
	}
	found, err := p.cfg.Runtime.Refresh(ctx, r.wallet())
	if err != nil {
		return AccountsReport{}, backendRefusal(err)
	}
	out := AccountsReport{Found: found.Found, Added: found.Added, Missing: found.Missing, Problems: []AccountProblem{}}
	for _, problem := range found.Problems {
		out.Problems = append(out.Problems, AccountProblem{problem.Name, string(problem.Ref), problem.Reason})
	}
	return out, nil
}

// LabelAccount gives an account a name for people; an empty one takes it away.
func (p *Platform) LabelAccount(ctx context.Context, who auth.Access, at Path, address common.Address, label string) (Account, error) {
	r, err := p.service(ctx, who, auth.Operates, at)
	if err != nil {
		return Account{}, err
	}
	if err := checkLabel(label); err != nil {
		return Account{}, err
	}
	if _, err := p.account(ctx, r, address, AccountQuery{}); err != nil {
		return Account{}, err
	}
	if err := p.noteOrder(ctx, who, "label", r, []string{address.Hex()}); err != nil {
		return Account{}, err
	}
	if err := p.cfg.Store.SetLabel(ctx, r.wallet(), address, label); err != nil {
		return Account{}, err
	}
	return p.account(ctx, r, address, AccountQuery{})
}

func checkLabel(label string) error {
	if !printable(label, maxLabel) || strings.TrimSpace(label) != label {
		return invalid("label", "want at most %d letters, digits, spaces and signs but < and >, no space first or last", maxLabel)
	}
	return nil
}

// CreateAccount has the backend of a service make a key.
func (p *Platform) CreateAccount(ctx context.Context, who auth.Access, at Path, n NewAccount) (Account, error) {
	return p.addAccount(ctx, who, at, "create account", n, p.cfg.Runtime.Create)
}

// maker makes a key, or takes one in.
type maker func(ctx context.Context, who auth.Principal, wallet, name string, tags map[string]string) (key.Key, error)

func (p *Platform) addAccount(ctx context.Context, who auth.Access, at Path, verb string, n NewAccount, add maker) (Account, error) {
	r, err := p.service(ctx, who, auth.Admin, at)
	if err != nil {
		return Account{}, err
	}
	if err := changing(r); err != nil {
		return Account{}, err
	}
	if err := checkNew(n); err != nil {
		return Account{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	made, err := add(ctx, who.Principal, r.wallet(), n.Name, n.Tags)
	if err != nil {
		return Account{}, backendRefusal(err)
	}
	// That it was wanted the wallet has put on record before; its address is known
	// only now.
	if err := p.noteOrder(ctx, who, verb, r, []string{made.Address.Hex()}); err != nil {
		return Account{}, err
	}
	if n.Label != "" {
		if err := p.cfg.Store.SetLabel(ctx, r.wallet(), made.Address, n.Label); err != nil {
			return Account{}, err
		}
	}
	// A backend may take a while to list what it has made, or be told by the
	// filters not to: the key is there all the same.
	if _, err := p.cfg.Runtime.Refresh(ctx, r.wallet()); err == nil {
		if a, err := p.account(ctx, r, made.Address, AccountQuery{}); err == nil {
			return a, nil
		}
	}
	return viewAccount(wallet.Account{
		Address: made.Address, Ref: made.Ref, Name: made.Name, Protection: made.Protection, State: made.State,
		Reason: made.Reason, Tags: made.Tags,
	}, n.Label), nil
}

// changing refuses what is about keys of a service that is being deleted.
func changing(r row) error {
	if r.State == Deleting {
		return conflict("the service is being deleted")
	}
	return nil
}

func checkNew(n NewAccount) error {
	if !printable(n.Name, 128) {
		return invalid("name", "want at most 128 letters, digits and signs but < and >")
	}
	if len(n.Tags) > maxTags {
		return invalid("tags", "has %d tags: want at most %d", len(n.Tags), maxTags)
	}
	for name, value := range n.Tags {
		if name == "" || !printable(name, 128) || !printable(value, 256) {
			return invalid("tags", "want names of at most 128 and values of at most 256 letters, digits and signs but < and >")
		}
	}
	return checkLabel(n.Label)
}

// backendRefusal words for a caller why a backend did not do what he asked.
func backendRefusal(err error) error {
	var ours *Error
	switch {
	case errors.As(err, &ours), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrNotRunning):
		return unavailable("the service is not open yet: see its state")
	case errors.Is(err, key.ErrUnsupported):
		text, _ := reasonOf(err)
		if text == "not reachable" {
			text = "the configuration has no admin credential, or its provider never does it"
		}
		return &Error{Reason: Unsupported, Msg: text}
	}
	text, lasting := reasonOf(err)
	if lasting {
		return conflict("%s", text)
	}
	return unavailable("%s", fmt.Sprint("key backend: ", text))
}
