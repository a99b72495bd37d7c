// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// auditTimeout bounds the writing of an outcome. The caller's deadline does
// not: what was signed must be on record even if nobody waits for it.
const auditTimeout = 10 * time.Second

// job is one thing to be signed. Only this package makes jobs, and it makes
// the digest itself.
type job struct {
	principal auth.Principal
	address   common.Address
	action    audit.Action
	digest    common.Hash
	subject   string          // of the intent; unused if intent is set
	intent    string          // id of an intent that is already committed; empty: sign writes one
	request   *policy.Request // what policy judges; nil where no policy applies
	exempt    string          // the verdict in place of the policy's, where request is nil
	whole     *wholeTx        // what digest is of, for a backend that signs no digests; nil: it has to
	patient   bool            // waits for a backend that is away, as long as the deadline allows
	cameBy    string          // wallet by which it was accepted; empty: this one
	kept      bool            // the caller stores what is signed, and looks what is frozen before it leaves
	// seal makes and checks what will leave, and returns its hash (zero for a
	// message). It runs before the outcome is recorded.
	seal func(secp.Signature) (common.Hash, error)
}

// sign is the choke point: every signature of the process is made here. On
// an error nothing that was signed may be used; the outcome says what became
// of it. The outcome is committed here unless j.intent was set: then the
// caller commits it together with the bytes.
func (w *Wallet) sign(ctx context.Context, j job) (audit.Outcome, error) {
	started := time.Now()
	outcome, err := w.signJob(ctx, j)
	result := "ok"
	if err != nil {
		result = label(err)
		outcome.Error = err.Error()
	}
	if j.intent == "" && outcome.Intent != "" {
		if written := w.writeOutcome(ctx, outcome); written != nil {
			w.cfg.Logger.Error("an audit outcome could not be written; nothing was returned",
				"address", j.address.Hex(), "intent", outcome.Intent, "err", written)
			if err == nil {
				result, err = "audit", written
			}
		}
		if err == nil {
			if err = w.Frozen(j.address); err != nil { // since the outcome was begun
				result = label(err)
			}
		}
	}
	w.cfg.Observer.Signature(w.cfg.Name, result, time.Since(started))
	return outcome, err
}

// signJob does what sign does, short of committing the outcome. The outcome's
// Intent is empty as long as no intent allows the signature.
func (w *Wallet) signJob(ctx context.Context, j job) (audit.Outcome, error) {
	outcome := audit.Outcome{ID: store.NewID(), At: time.Now(), Intent: j.intent}
	account, err := w.usable(j.address)
	if err != nil {
		return outcome, err
	}
	if err := w.Frozen(j.address); err != nil {
		return outcome, err
	}
	if j.intent == "" {
		settle, err := w.begin(ctx, j, &outcome)
		if err != nil {
			return outcome, err
		}
		defer func() { settle(outcome.Digest != (common.Hash{})) }()
	} else if j.request != nil {
		if err := w.judgeAgain(ctx, j); err != nil {
			return outcome, err
		}
	}
	faultpoint.At(faultpoint.Intent)
	err = w.signDigest(ctx, account, j, &outcome)
	faultpoint.At(faultpoint.Signed)
	outcome.At = time.Now()
	return outcome, err
}

// begin judges a job that nobody has judged before, and commits its intent. settle
// is to be told whether the backend was asked.
func (w *Wallet) begin(ctx context.Context, j job, outcome *audit.Outcome) (settle func(asked bool), err error) {
	id, verdict, clearance := store.NewID(), j.exempt, ""
	detail := ""
	if j.request != nil {
		j.request.ID = id
		detail = w.Detail(*j.request)
		v, err := w.Judge(ctx, *j.request)
		if err != nil {
			if text, refused := Verdict(err); refused {
				// The refusal goes on record before the caller hears of it.
				if unrecorded := w.writeIntent(ctx, j, id, text, detail); unrecorded != nil {
					err = unrecorded
				}
			}
			return nil, err
		}
		verdict, clearance = v.String(), v.Clearance
	}
	if err := w.writeIntent(ctx, j, id, verdict, detail); err != nil {
		w.Settle(id, clearance, policy.Unused)
		return nil, err
	}
	outcome.Intent = id
	return func(asked bool) {
		use := policy.Stored
		if !asked {
			use = policy.Unused
		}
		w.Settle(id, clearance, use)
	}, nil
}

func (w *Wallet) signDigest(ctx context.Context, account Account, j job, outcome *audit.Outcome) error {
	ask, err := w.call(account.Ref, j)
	if err != nil {
		return err
	}
	raw, sig, asked, err := w.obtain(ctx, j, ask)
	outcome.RequestID = raw.RequestID
	if id := requestID(err); id != "" {
		outcome.RequestID = id
	}
	if asked {
		outcome.Digest = j.digest
	}
	var frozen *freeze.FrozenError
	if errors.Is(err, ErrClosed) || errors.As(err, &frozen) {
		return err
	}
	if err == nil && !j.kept {
		// What was frozen while the backend signed is handed to nobody.
		if err := w.Frozen(j.address); err != nil {
			return err
		}
	}
	if err == nil {
		outcome.Hash, err = j.seal(sig)
	}
	if err == nil {
		if w.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
			w.cfg.Logger.Debug("signed", "address", j.address.Hex(), "action", string(j.action),
				"intent", outcome.Intent, "request_id", outcome.RequestID)
		}
		return nil
	}
	failure := backendError(err)
	w.logFailure(account, j, *outcome, asked, failure)
	return failure
}

// obtain has the backend sign and checks what it gives. A signature by another
// key is asked for once more: what a PKCS#11 module knows a key by may have come
// to mean another one, which its adapter finds out when it is asked again.
func (w *Wallet) obtain(ctx context.Context, j job, ask call) (raw key.Signature, sig secp.Signature, asked bool, err error) {
	raw, asked, err = w.askBackend(ctx, j, ask)
	if err == nil {
		sig, err = secp.FinishHinted(j.address, j.digest, raw.R, raw.S, raw.Hint)
	}
	if w.whole != nil || !errors.Is(err, secp.ErrWrongKey) {
		return raw, sig, asked, err
	}
	second, let, failure := w.askBackend(ctx, j, ask)
	if !let {
		return raw, sig, asked, err
	}
	if failure == nil {
		sig, failure = secp.FinishHinted(j.address, j.digest, second.R, second.S, second.Hint)
	}
	return second, sig, true, failure
}

// logFailure tells the operator why there is no signature. Callers who were not
// even let through to the backend are many, and have nothing to add.
func (w *Wallet) logFailure(account Account, j job, outcome audit.Outcome, asked bool, failure *BackendError) {
	log := w.cfg.Logger.With("address", j.address.Hex(), "ref", string(account.Ref), "action", string(j.action),
		"intent", outcome.Intent, "kind", failure.Kind, "request_id", outcome.RequestID, "err", failure.err)
	switch {
	case failure.Kind == KindWrongKey || failure.Kind == KindBadResponse:
		log.Error("the key backend gave an answer that is no signature of the account; it was thrown away")
	case !asked || failure.Kind == KindCancelled:
		log.Debug("the key backend was not asked for a signature, or not waited for")
	default:
		log.Warn("the key backend gave no signature")
	}
}

// call is how the backend is asked for the signature of a job.
func (w *Wallet) call(ref key.Ref, j job) (call, error) {
	if w.whole == nil {
		return func(ctx context.Context) (key.Signature, error) {
			return w.cfg.Backend.SignDigest(ctx, ref, j.digest)
		}, nil
	}
	if j.whole == nil {
		return nil, errOnlyTransactions
	}
	return func(ctx context.Context) (key.Signature, error) {
		answer, err := w.whole.SignTransaction(ctx, ref, j.whole.chainID, j.whole.unsigned)
		if err != nil {
			return key.Signature{RequestID: answer.RequestID}, err
		}
		sig, err := j.whole.signatureIn(answer.Raw)
		sig.RequestID = answer.RequestID
		return sig, err
	}, nil
}

// writeIntent commits the intent of a job.
func (w *Wallet) writeIntent(ctx context.Context, j job, id, verdict, detail string) error {
	intent := audit.Intent{
		ID: id, At: time.Now(), Principal: j.principal.Name, Wallet: w.cfg.Name,
		Address: j.address, Action: j.action, Subject: j.subject, Verdict: verdict, Detail: detail,
	}
	if err := w.cfg.Log.WriteIntent(ctx, intent); err != nil {
		return fmt.Errorf("wallet %s: write intent: %w: %w", w.cfg.Name, ErrAudit, err)
	}
	return nil
}

func (w *Wallet) writeOutcome(ctx context.Context, outcome audit.Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if err := w.cfg.Log.WriteOutcome(ctx, outcome); err != nil {
		return fmt.Errorf("wallet %s: write outcome: %w: %w", w.cfg.Name, ErrAudit, err)
	}
	return nil
}

// label is the outcome of a failed signature, for metrics.
func label(err error) string {
	var backend *BackendError
	var denied *policy.DeniedError
	var pending *policy.PendingError
	var frozen *freeze.FrozenError
	var undecided *policy.UndecidedError
	var unknown *UnknownAccountError
	var unusable *UnusableError
	switch {
	case errors.As(err, &backend):
		return backend.Kind
	case errors.As(err, &denied):
		return "denied by policy"
	case errors.As(err, &pending):
		return "waits for approval"
	case errors.As(err, &undecided):
		return "undecided"
	case errors.As(err, &frozen):
		return "frozen"
	case errors.As(err, &unknown), errors.As(err, &unusable):
		return "unusable"
	case errors.Is(err, ErrAudit):
		return "audit"
	}
	return "other"
}

// cause is what the operator's log says of an error: behind a BackendError
// stands more than clients are told.
func cause(err error) error {
	var backend *BackendError
	if errors.As(err, &backend) && backend.err != nil {
		return backend.err
	}
	return err
}
