// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// DocumentSigner has documents signed. *fleet.Fleet is one.
type DocumentSigner interface {
	// SignDocument signs the manifest of a document, under the name that a service
	// has in store, txmgr and audit.
	SignDocument(ctx context.Context, who auth.Principal, name string, account common.Address, d document.Document) (document.Signed, error)
}

// DocumentLog proves what is in the audit log.
type DocumentLog interface {
	// ProveSigned waits until a signature's audit records are in the log, under a
	// signed checkpoint, and proves them against that one: the intent, then the
	// outcomes.
	ProveSigned(ctx context.Context, intent string, outcomes [2]string) (checkpoint string, records [3]document.Proof, err error)
	// VerifierKey is what checkpoints are checked with, as
	// golang.org/x/mod/sumdb/note writes it.
	VerifierKey() string
}

// Documents are what signatures on documents are made with.
type Documents struct {
	Signer DocumentSigner
	Log    DocumentLog
}

// Pending says that a request waits for people before it is done.
type Pending struct {
	ID      string    `json:"approval_id"`
	Rule    string    `json:"rule"`
	Have    int       `json:"approved"`
	Need    int       `json:"needed"`
	Expires time.Time `json:"expires_at"`
	Message string    `json:"message"`
}

// proveWithin bounds how long the audit log is waited for.
const proveWithin = 30 * time.Second

// MaySignDocument refuses whoever may not have documents signed by a service, or
// where none are, before a large one is read.
func (p *Platform) MaySignDocument(ctx context.Context, who auth.Access, at Path) error {
	_, err := p.signingService(ctx, who, at)
	return err
}

func (p *Platform) signingService(ctx context.Context, who auth.Access, at Path) (row, error) {
	r, err := p.documentService(ctx, who, auth.Admin, at)
	if err != nil {
		return row{}, err
	}
	if p.cfg.Documents.Signer == nil || p.cfg.Documents.Log == nil {
		return row{}, &Error{Reason: Unsupported, Msg: "documents are not signed here: this daemon has no audit log that could prove it"}
	}
	return r, changing(r)
}

// SignDocument has an account of a service sign the manifest of a document, and
// gives the bundle that proves it. It is for admins, who could make a credential
// for it anyway, and for the app credentials of the service's membership and
// environment. If pending is not nil, people are asked first, and nothing is
// signed: the same request made again, once they have approved, is.
func (p *Platform) SignDocument(ctx context.Context, who auth.Access, at Path, account common.Address, d document.Document) (b *document.Bundle, pending *Pending, err error) {
	r, err := p.signingService(ctx, who, at)
	if err != nil {
		return nil, nil, err
	}
	signed, err := p.cfg.Documents.Signer.SignDocument(ctx, who.Principal, r.wallet(), account, d)
	if pending := waits(err); pending != nil {
		return nil, pending, nil
	}
	if err != nil {
		return nil, nil, documentRefusal(err)
	}
	proving, cancel := context.WithTimeout(ctx, proveWithin)
	defer cancel()
	checkpoint, records, err := p.cfg.Documents.Log.ProveSigned(proving, signed.Intent, signed.Outcomes)
	if err != nil {
		p.cfg.Logger.Error("a document was signed, and the audit log gives no proof of it", "intent", signed.Intent, "err", err)
		return nil, nil, unavailable("the document was signed, but the audit log gives no proof of it yet: sign it again")
	}
	bundle := document.NewBundle(signed, checkpoint, records)
	return &bundle, nil, nil
}

// MayVerifyDocument refuses whoever may not see a service, or where bundles are
// not checked, before a large document is read.
func (p *Platform) MayVerifyDocument(ctx context.Context, who auth.Access, at Path) error {
	if _, err := p.documentService(ctx, who, auth.Auditor, at); err != nil {
		return err
	}
	if p.cfg.Documents.Log == nil {
		return &Error{Reason: Unsupported, Msg: "bundles are not checked here: this daemon has no audit log. hsmsigner document verify checks them anywhere"}
	}
	return nil
}

// VerifyDocument checks a bundle against this daemon's audit log. It is for
// everybody who may see the service, and asks neither backend nor database.
func (p *Platform) VerifyDocument(ctx context.Context, who auth.Access, at Path, bundle []byte, against document.Against) (document.Report, error) {
	if err := p.MayVerifyDocument(ctx, who, at); err != nil {
		return document.Report{}, err
	}
	against.LogKey = p.cfg.Documents.Log.VerifierKey()
	return document.Verify(bundle, against), nil
}

// documentService finds a service for a caller of the management API, or for an
// app credential, which sees the services of its membership and environment and
// nothing else.
func (p *Platform) documentService(ctx context.Context, who auth.Access, role auth.Role, at Path) (row, error) {
	if who.Principal.Membership == "" || len(who.Grants) > 0 {
		return p.service(ctx, who, role, at)
	}
	if !isID(at.ID) {
		return row{}, missing(Services, at.ID)
	}
	r, err := p.byID(ctx, at.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return row{}, missing(Services, at.ID)
	case err != nil:
		return row{}, err
	case r.kind() != Services, r.Consortium != at.Consortium, r.Environment != at.Environment,
		r.Environment != who.Principal.Environment, r.Membership != who.Principal.Membership:
		return row{}, missing(Services, at.ID)
	}
	return r, nil
}

// documentRefusal words for a caller why a document was not signed.
func documentRefusal(err error) error {
	var (
		field    *document.FieldError
		unknown  *wallet.UnknownAccountError
		unusable *wallet.UnusableError
		request  *wallet.RequestError
		denied   *policy.DeniedError
		frozen   *freeze.FrozenError
		unsure   *policy.UndecidedError
	)
	switch {
	case errors.As(err, &field):
		return invalid(field.Field, "%s", field.Want)
	case errors.As(err, &unknown):
		return invalid("account", "the service has no account %s", unknown.Address)
	case errors.As(err, &denied):
		return &Error{Reason: Forbidden, Msg: denied.Error()}
	case errors.As(err, &unusable):
		return conflict("%s", unusable)
	case errors.As(err, &unsure):
		return unavailable("%s", unsure)
	case errors.As(err, &frozen):
		return conflict("%s", frozen)
	case errors.As(err, &request):
		return &Error{Reason: Unsupported, Msg: request.Error()}
	case errors.Is(err, wallet.ErrAudit):
		return unavailable("%s, so nothing was signed", wallet.ErrAudit)
	}
	return backendRefusal(err)
}
