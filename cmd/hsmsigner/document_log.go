// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/document"
)

// documentLog is the audit log as package platform wants it for documents.
type documentLog struct{ book *logbook.Book }

// VerifierKey implements platform.DocumentLog.
func (l documentLog) VerifierKey() string { return l.book.Verifier().String() }

// ProveSigned implements platform.DocumentLog. All records are proved under one
// checkpoint, the newest that there is when they are in the log.
func (l documentLog) ProveSigned(ctx context.Context, intent string, outcomes [2]string) (checkpoint string, records [3]document.Proof, err error) {
	if err := l.book.Await(ctx, intent, outcomes[0], outcomes[1]); err != nil {
		return "", records, err
	}
	c, err := l.book.Checkpoint(ctx)
	if err != nil {
		return "", records, err
	}
	for i, id := range []string{intent, outcomes[0], outcomes[1]} {
		kind := audit.OutcomeKind
		if i == 0 {
			kind = audit.IntentKind
		}
		p, err := l.book.ProveAt(ctx, c, kind, id)
		if err != nil {
			return "", records, err
		}
		records[i] = document.Proof{Index: p.Index, Record: string(p.Line), Hashes: p.Hashes}
	}
	return string(c.Note), records, nil
}
