// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// errNoDocuments is what everybody is told who asks a backend that signs whole
// transactions for a document.
var errNoDocuments = &RequestError{"the key backend of this wallet signs legacy transactions only, and no documents"}

// SignDocument signs the manifest of a document, which it makes itself, as a JWS
// (ES256K) and as a personal message (EIP-191). There is one intent, whose subject
// is the manifest's hash, and an outcome for each of the two signatures; all of
// them are committed before it returns. A document that no manifest can name is a
// [*document.FieldError].
func (w *Wallet) SignDocument(ctx context.Context, p auth.Principal, addr common.Address, d document.Document) (document.Signed, error) {
	if w.whole != nil {
		return document.Signed{}, errNoDocuments
	}
	m, err := document.NewManifest(d, addr, w.cfg.Name, time.Now())
	if err != nil {
		return document.Signed{}, err
	}
	signed := document.Signed{Manifest: m}
	var sig secp.Signature
	j := job{
		principal: p, address: addr, action: audit.SignDocument, subject: m.Subject(),
		digest: m.JWSDigest(),
		request: &policy.Request{
			Principal: p, Account: addr, Action: audit.SignDocument,
			Document: &policy.Document{SHA256: d.SHA256, Size: d.Size, Name: d.Name, MediaType: d.MediaType},
		},
		seal: func(s secp.Signature) (common.Hash, error) {
			sig = s
			return common.Hash{}, nil
		},
	}
	first, err := w.sign(ctx, j)
	if err != nil {
		return document.Signed{}, err
	}
	signed.JWS, signed.Intent, signed.Outcomes[0] = m.JWS(sig), first.Intent, first.ID

	// The second signature is of the same intent: what was judged is the document,
	// and one of them alone never leaves.
	j.digest, j.request, j.intent = m.EIP191Digest(), nil, first.Intent
	second, failed := w.sign(ctx, j)
	if err := w.writeOutcome(ctx, second); err != nil {
		return document.Signed{}, err
	}
	if failed == nil {
		failed = w.Frozen(addr) // since the outcome was begun
	}
	if failed != nil {
		return document.Signed{}, failed
	}
	signed.EIP191, signed.Outcomes[1] = document.EIP191(sig), second.ID
	signed.PublicKey, err = m.KeyOf(sig)
	return signed, err
}
