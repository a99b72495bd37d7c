// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// openRestored is what stands in the column open of what a restored backup had
// open (see freezeRestored). Nothing that looks for open requests finds it.
const openRestored = int64(2)

// ApprovalUse takes a request for approval for a transaction. It goes with the
// row into one commit ([Tx.Uses]): so there is never a row without its approval,
// and never an approval that has ended without its row and is then sent.
type ApprovalUse struct {
	ID      string        `json:"id"`
	From    ApprovalState `json:"from"`    // what the row must be by then
	Was     []byte        `json:"was"`     // its mac, over all of it
	Expires time.Time     `json:"expires"` // it cannot be taken after that; zero: always
	Decided time.Time     `json:"decided"`
	Result  string        `json:"result"` // id of the transaction
	MAC     []byte        `json:"mac"`    // of the row as it is then
	Told    bool          `json:"told"`   // its caller has the outcome by this
	Event   audit.Event   `json:"event"`
}

// String is how it is handed on.
func (u ApprovalUse) String() string {
	text, _ := json.Marshal(u) // cannot fail: texts, bytes and times
	return string(text)
}

func parseApprovalUse(text string) (ApprovalUse, error) {
	var u ApprovalUse
	if err := json.Unmarshal([]byte(text), &u); err != nil {
		return u, fmt.Errorf("store: read the use of an approval: %w", err)
	}
	return u, nil
}

// useApproval takes a request, if it is still as the use says. ErrApprovalGone if
// not.
func (w *Writer) useApproval(text string) error {
	u, err := parseApprovalUse(text)
	if err != nil {
		return w.fail("", err)
	}
	if u.late() {
		return w.fail("", fmt.Errorf("%w: %s expired at %s", ErrApprovalGone, u.ID, u.Expires.Format(time.RFC3339)))
	}
	err = w.expect("use approval", u.ID, `UPDATE approval SET state = $1, open = 0, result = $2, decided = $3, mac = $4,
		told = CASE WHEN $5 = 1 THEN 1 ELSE told END WHERE id = $6 AND state = $7 AND mac = $8 AND open = 1`,
		[]any{string(ApprovalUsed), u.Result, timeArg(u.Decided), u.MAC, boolArg(u.Told), u.ID, string(u.From), u.Was},
		func(err error) error {
			if err != nil {
				return nil
			}
			return fmt.Errorf("%w: %s", ErrApprovalGone, u.ID)
		})
	if err != nil {
		return err
	}
	if err := w.NoteChange(ChangeApproval); err != nil {
		return err
	}
	return w.AuditEvent(u.Event)
}

func (u ApprovalUse) late() bool { return !u.Expires.IsZero() && !time.Now().Before(u.Expires) }

// ApprovalGone reports whether what [Tx.Uses] says cannot be done any more. Once
// it cannot, it never can.
func (db *DB) ApprovalGone(ctx context.Context, uses string) (bool, error) {
	u, err := parseApprovalUse(uses)
	if err != nil {
		return false, err
	}
	r, err := db.reader(ctx)
	if err != nil {
		return false, err
	}
	a, err := approvalIn(r, u.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	}
	return u.late() || a.Restored || a.State != u.From || !bytes.Equal(a.MAC, u.Was), nil
}
