// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"maps"
	"net/http"
	"reflect"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// trail is what an auditor reads.
type trail interface {
	AuditRecords(ctx context.Context, who auth.Access, q platform.RecordQuery) (platform.AuditRecords, error)
	RecordProof(ctx context.Context, who auth.Access, id string) (platform.AuditProof, error)
	Checkpoint(ctx context.Context, who auth.Access) (platform.AuditCheckpoint, error)
	Consistency(ctx context.Context, who auth.Access, from, to int64) (platform.AuditConsistency, error)
}

const (
	recordPattern = `^[0-9a-f]{32}$`
	timePattern   = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`
)

func auditRoutes() []route {
	return of("Audit", "", []route{
		{
			method: http.MethodGet, path: "/audit/records", name: "listAuditRecords", title: "Read the audit trail, the newest record first",
			doc:        "What happened where the caller has a role, and what was signed by wallets there. 50 of them, if limit says nothing else. For those that follow, give next as before; a page may be short, or even empty, although more follow.",
			parameters: recordParameters(),
			answers:    []answers{{http.StatusOK, auditShape[platform.AuditRecords](), "What the caller may see, the newest first."}}, serve: listRecords,
		},
		{
			method: http.MethodGet, path: "/audit/records/{record_id}/proof", name: "proveAuditRecord", title: "Show that a record is in the audit log",
			doc:     "By an RFC 6962 inclusion proof against a signed checkpoint. hsmsigner audit prove --check verifies it with nothing but the log's key.",
			errors:  []int{http.StatusServiceUnavailable},
			answers: []answers{{http.StatusOK, auditShape[platform.AuditProof](), "The record and its proof."}}, serve: proveRecord,
		},
		{
			method: http.MethodGet, path: "/audit/checkpoint", name: "getAuditCheckpoint", title: "Show the newest signed state of the audit log",
			doc:     "Keep it somewhere else: a log that does not go on from it was altered.",
			answers: []answers{{http.StatusOK, auditShape[platform.AuditCheckpoint](), "As the log's key has signed it."}}, serve: auditCheckpoint,
		},
		{
			method: http.MethodGet, path: "/audit/consistency", name: "getAuditConsistency", title: "Show that the audit log goes on from an earlier state",
			doc: "By an RFC 6962 consistency proof.",
			parameters: []parameter{
				{name: "from", doc: "Size of the earlier state: that of a checkpoint that was kept. Without it, that of the empty log, which all go on from.", is: wholeFrom(1)},
				{name: "to", doc: "Size of the later one; without it, the newest.", is: wholeFrom(1)},
			},
			answers: []answers{{http.StatusOK, auditShape[platform.AuditConsistency](), "The proof, and the later checkpoint."}}, serve: auditConsistency,
		},
	})
}

func wholeFrom(n int64) *schema.Schema { return &schema.Schema{Type: schema.Integer, Minimum: &n} }

func recordParameters() []parameter {
	one, most := int64(1), int64(query.MaxLimit)
	text := func() *schema.Schema { return &schema.Schema{Type: schema.String, MinLength: 1, MaxLength: 200} }
	when := func() *schema.Schema { return &schema.Schema{Type: schema.String, Pattern: timePattern} }
	kinds := func() *schema.Schema { return &schema.Schema{Type: schema.String, Enum: recordKinds()} }
	return []parameter{
		{name: "kind", doc: "Only records of this kind.", is: kinds()},
		{name: "kind[]", doc: "Only records of one of these kinds.", is: &schema.Schema{Type: schema.Array, Items: kinds()}},
		{name: "from", doc: "Only from this time on (RFC 3339).", is: when()},
		{name: "to", doc: "Only before this time (RFC 3339).", is: when()},
		{name: "wallet", doc: "Only of this wallet: the id of a service, or the name of a wallet of the config file.", is: text()},
		{name: "address", doc: "Only intents and outcomes of this account.", is: &schema.Schema{Type: schema.String, Pattern: addressPattern}},
		{name: "principal", doc: "Only of this principal, like key:… or person:….", is: text()},
		{name: "action", doc: "Only intents of this action, and their outcomes, like send-transaction.", is: text()},
		{name: "event", doc: "Only events of this sort, like service-create.", is: text()},
		{name: "subject", doc: "Only about this: the id of a transaction or resource, or the hash of a message.", is: text()},
		{name: "before", doc: "next of the page before.", is: &schema.Schema{Type: schema.String, Pattern: cursorPattern}},
		{name: query.Limit, doc: "At most so many.", is: &schema.Schema{Type: schema.Integer, Minimum: &one, Maximum: &most, Default: 50}},
	}
}

// auditWords says what the fields of the answers mean.
func auditWords() schema.Words {
	w := words()
	maps.Copy(w, schema.Words{
		"id":                     "Later ones have larger ids.",
		"AuditRecord.kind":       "intent: a signature was wanted. outcome: what came of it. event: something else happened.",
		"AuditRecord.at":         "When it was written.",
		"principal":              "Who: key:<id>, person:<subject>, the id of an app credential, or the operator.",
		"AuditRecord.wallet":     "The id of the service, or the name of a wallet of the config file.",
		"AuditRecord.address":    "The account that was to sign.",
		"action":                 "What the signature was for.",
		"AuditRecord.event":      "What happened.",
		"AuditRecord.subject":    "What it is about: the id of a transaction or a resource, or the hash of what was to be signed.",
		"verdict":                "What the policy said, and by which rule.",
		"AuditRecord.intent":     "Of an outcome: the id of its intent.",
		"AuditRecord.digest":     "What the key backend signed; without it, it was not asked.",
		"AuditRecord.hash":       "Of the signed transaction.",
		"AuditRecord.request_id": "By which the provider of the key knows the signature.",
		"AuditRecord.error":      "Why there is no signature.",
		"detail":                 "More of it, for people.",
		"AuditRecords.next":      "For the page that follows, as before; left out if none does.",
		"AuditRecords.records":   "The newest first.",
		"origin":                 "The name of the log.",
		"AuditCheckpoint.size":   "How many records the log has.",
		"root":                   "Of its Merkle tree (RFC 6962), in base64.",
		"AuditCheckpoint.at":     "When it was signed.",
		"checkpoint":             "A signed note (c2sp.org/tlog-checkpoint).",
		"AuditCheckpoint.key":    "Public key of the log, as notes write it. Believe the one that you noted when the log was new.",
		"AuditProof.key":         "Public key of the log, as notes write it.",
		"AuditConsistency.key":   "Public key of the log, as notes write it.",
		"record":                 "As it was hashed, byte by byte.",
		"index":                  "Its place in the log, from 0.",
		"hashes":                 "The proof, in base64.",
		"AuditConsistency.from":  "Size of the earlier state.",
		"AuditConsistency.to":    "Size of the later one, which the checkpoint is of.",
	})
	return w
}

func auditShape[T any]() *schema.Schema { return schema.Of(reflect.TypeFor[T](), auditWords()) }
