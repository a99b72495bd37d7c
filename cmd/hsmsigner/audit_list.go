// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// auditQuestion is what audit list is asked.
type auditQuestion struct {
	filter          store.AuditFilter
	kinds           []string
	account, action string
	since           string
	until           string
}

func (a *app) auditListCommand() *cobra.Command {
	var q auditQuestion
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List records of the audit trail, newest first",
		Long: `Lists what stands in the database: intents to sign with the policy's verdict,
their outcomes, and events. Whether it is what was logged, audit verify finds out.`,
		Example: `  hsmsigner audit list --kind event --since 2026-01-01
  hsmsigner audit list --wallet treasury --subject 0198c0ffee… --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := q.read(); err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			return a.auditList(cmd, q.filter)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&q.kinds, "kind", nil, "only these `kinds`: intent, outcome, event")
	a.walletFlag(cmd, &q.filter.Wallet, "only of this wallet, or service id")
	f.StringVar(&q.account, "account", "", "only intents and outcomes of this `address`")
	f.StringVar(&q.filter.Principal, "principal", "", "only of this principal")
	f.StringVar(&q.action, "action", "", "only intents of this action, and their outcomes")
	f.StringVar(&q.filter.Event, "event", "", "only events of this sort")
	f.StringVar(&q.filter.Subject, "subject", "", "only about this: the `id` of a transaction or resource, or a hash")
	f.StringVar(&q.since, "since", "", "only from this `time` on: a date, or RFC 3339")
	f.StringVar(&q.until, "until", "", "only before this `time`")
	f.StringVar(&q.filter.Before, "before", "", "only older than the record with this `id`, for paging")
	f.IntVar(&q.filter.Limit, "limit", 50, "how many at most, up to 1000")
	return cmd
}

func (q *auditQuestion) read() error {
	for _, name := range q.kinds {
		kind, err := audit.ParseKind(name)
		if err != nil {
			return fmt.Errorf("--kind: %q is not one of intent, outcome, event", name)
		}
		q.filter.Intents = q.filter.Intents || kind == audit.IntentKind
		q.filter.Outcomes = q.filter.Outcomes || kind == audit.OutcomeKind
		q.filter.Events = q.filter.Events || kind == audit.EventKind
	}
	if q.account != "" && !common.IsHexAddress(q.account) {
		return fmt.Errorf("--account: %q is not an address: want 0x and 40 hex digits", q.account)
	}
	q.filter.Address, q.filter.Action = common.HexToAddress(q.account), audit.Action(q.action)
	if q.filter.Limit < 1 || q.filter.Limit > 1000 {
		return errors.New("--limit: want 1 to 1000")
	}
	var err error
	if q.filter.From, err = moment("--since", q.since); err != nil {
		return err
	}
	q.filter.To, err = moment("--until", q.until)
	return err
}

// moment reads a time, or the beginning of a day in UTC.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: %q is no time: want one like 2026-01-02 or 2026-01-02T15:04:05Z", flag, text)
}

func (a *app) auditList(cmd *cobra.Command, filter store.AuditFilter) error {
	db, err := a.openStore(cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	// A page of the store may be short although more follow.
	all, want := []platform.AuditRecord{}, filter.Limit
	for len(all) < want {
		filter.Limit = want - len(all)
		page, next, err := db.AuditRecords(cmd.Context(), filter)
		if err != nil {
			return err
		}
		for _, r := range page {
			all = append(all, platform.ViewRecord(r))
		}
		if filter.Before = next; next == "" {
			break
		}
	}
	return a.print(cmd, all, func(w io.Writer) {
		if len(all) == 0 {
			fmt.Fprintln(w, "no records")
			return
		}
		lines := [][]string{{"ID", "AT", "WHO", "WALLET", "WHAT", "ABOUT", "RESULT"}}
		for _, r := range all {
			lines = append(lines, []string{
				r.ID, r.At.Format("2006-01-02T15:04:05.000Z"), fieldText(r.Principal), fieldText(r.Wallet),
				fieldText(whatText(r)), fieldText(r.Subject), fieldText(resultText(r)),
			})
		}
		table(w, lines)
	})
}

func whatText(r platform.AuditRecord) string {
	if r.Event != "" {
		return r.Event
	}
	return strings.TrimSpace(r.Kind + " " + r.Action)
}

func resultText(r platform.AuditRecord) string {
	switch {
	case r.Error != "":
		return r.Error
	case r.Verdict != "":
		return r.Verdict
	case r.Hash != "":
		return "signed " + r.Hash
	case r.Kind == audit.OutcomeKind.String():
		return "signed"
	}
	return ""
}
