// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// approvals are what the routes of approvals need of a Platform.
type approvals interface {
	Approvals(ctx context.Context, who auth.Access, at platform.Path, q platform.ApprovalQuery) ([]platform.Approval, error)
	Approval(ctx context.Context, who auth.Access, at platform.Path, id string) (platform.Approval, error)
	ApproveRequest(ctx context.Context, who auth.Access, at platform.Path, id string, n platform.NewVote) (platform.Approval, error)
	RejectRequest(ctx context.Context, who auth.Access, at platform.Path, id string, n platform.NewVote) (platform.Approval, error)
}

const (
	itsApprovals     = aService + "/approvals"
	oneApproval      = itsApprovals + "/{approval_id}"
	approvalPattern  = `^[0-9a-f]{32}$`
	signaturePattern = `^0x[0-9a-fA-F]{130}$`
)

func approvalRoutes() []route {
	shown := schema.Of(reflect.TypeFor[platform.Approval](), approvalWords())
	one := []answers{{http.StatusOK, shown, "The request, with all that was asked for."}}
	clash := []int{http.StatusConflict}
	const votes = "In the caller's own name, or, with signature, in that of the address which made it over typed_data (EIP-712), whoever brings it. " +
		"The same vote again changes nothing. No body is needed for a vote of one's own."
	return of("Approvals", platform.Services, []route{
		{
			method: http.MethodGet, path: itsApprovals, name: "listApprovals", title: "List the requests of a service that wait, or waited, for people",
			doc:        "50 of them, if limit says nothing else. For the next ones, give the id of the last as before.",
			parameters: approvalParameters(), answers: []answers{{http.StatusOK, &schema.Schema{Type: schema.Array, Items: shown}, "The newest first, without request and typed_data."}},
			serve: listApprovals,
		},
		{
			method: http.MethodGet, path: oneApproval, name: "getApproval", title: "Show a request that waits, or waited, for people",
			answers: one, serve: getApproval,
		},
		{
			method: http.MethodPost, path: oneApproval + "/approve", name: "approveRequest", title: "Approve a request",
			doc:  votes + " Once enough have approved, a transaction is sent by the daemon; anything else is signed when its caller asks again.",
			body: newVote(), optional: true, answers: one, errors: clash, serve: approveRequest,
		},
		{
			method: http.MethodPost, path: oneApproval + "/reject", name: "rejectRequest", title: "Reject a request",
			doc:  votes + " One rejection ends it.",
			body: newVote(), optional: true, answers: one, errors: clash, serve: rejectRequest,
		},
	})
}

func approvalParameters() []parameter {
	one, most := int64(1), int64(query.MaxLimit)
	states := func() *schema.Schema { return &schema.Schema{Type: schema.String, Enum: platform.ApprovalStates()} }
	return []parameter{
		{name: "state", doc: "Only in this state.", is: states()},
		{name: "state[]", doc: "Only in one of these states.", is: &schema.Schema{Type: schema.Array, Items: states()}},
		{name: "before", doc: "Only older than the request with this id, for paging.", is: &schema.Schema{Type: schema.String, Pattern: approvalPattern}},
		{name: query.Limit, doc: "At most so many.", is: &schema.Schema{Type: schema.Integer, Minimum: &one, Maximum: &most, Default: 50}},
	}
}

func newVote() *schema.Schema {
	return object("NewVote", map[string]*schema.Schema{
		"comment":   {Type: schema.String, MaxLength: 1000, Pattern: `^[^<>]*$`, Description: "For people, and for the audit trail."},
		"signature": {Type: schema.String, Pattern: signaturePattern, Description: "Over typed_data, by a listed address: r, s and v in hex."},
	})
}

// approvalWords says what the fields of the answers mean.
func approvalWords() schema.Words {
	w := words()
	maps.Copy(w, schema.Words{
		"id":                     "Later ones have larger ids. It is in the error that the caller got.",
		"wallet":                 "The id of the service, or the name of a wallet of the config file.",
		"Approval.state":         "pending; approved, and not used yet; used; rejected, expired, failed; altered, if its row was changed outside of the signer: it counts for nothing.",
		"Approval.principal":     "Who asked for it, and cannot approve it.",
		"principal_name":         "What people call who asked; left out where it is not known any more.",
		"action":                 "What is to be signed: send-transaction, sign-transaction, sign-message, sign-typed-data or sign-document.",
		"address":                "The account that is to sign.",
		"fields":                 "All that approvers sign, but the verdict.",
		"ApprovalField.name":     "Of the field in typed_data.",
		"ApprovalField.value":    "As text; amounts in wei.",
		"data":                   "Of a transaction, in hex; dataHash is its keccak256.",
		"request_hash":           "keccak256 of request.",
		"rules":                  "All of those that ask; each has to have its approvals.",
		"rule":                   "The rule, after its scope.",
		"needed":                 "How many have to approve.",
		"approved":               "How many have.",
		"approvers":              "Who may.",
		"principals":             "Like key:<id> or person:<subject>.",
		"roles":                  "Whoever has one of them where the service stands.",
		"addresses":              "Who sign typed_data.",
		"votes":                  "The oldest first.",
		"approver":               "A principal, or address: with an address behind it.",
		"approver_name":          "What people call the approver; left out where it is not known any more. The audit record of the vote has it.",
		"ApprovalVote.verdict":   "approve or reject.",
		"comment":                "For people.",
		"signed":                 "By a signature of the address.",
		"counts":                 "Not if its row was changed outside of the signer, or the rules do not name the approver any more.",
		"at":                     "When.",
		"result":                 "The id of the transaction or audit intent that it was used for, or why nothing comes of it.",
		"waits":                  "Why an approved transaction is not sent yet, and tried again, as far as the replica that answers knows.",
		"expires_at":             "When it ends by itself.",
		"decided_at":             "When it ceased to be pending.",
		"Approval.request":       "All of it, as it is stored. Not in lists.",
		"typed_data":             "What an approver's wallet signs by eth_signTypedData_v4. Only of one that is pending, and not in lists.",
		"ApprovalToSign.approve": "To approve.",
		"ApprovalToSign.reject":  "To reject.",
	})
	return w
}

func listApprovals(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	q, err := approvalQuery(c.query)
	if err != nil {
		return reply{}, err
	}
	all, err := p.Approvals(ctx, c.who, c.at, q)
	return ok(all), err
}

func approvalQuery(v url.Values) (platform.ApprovalQuery, error) {
	q := platform.ApprovalQuery{Before: v.Get("before")}
	if v.Has("state") && v.Has("state[]") {
		return q, invalid("state", "want state or state[], not both")
	}
	for _, s := range append(slices.Clone(v["state"]), v["state[]"]...) {
		if !slices.Contains(platform.ApprovalStates(), s) {
			return q, invalid("state", "want one of "+strings.Join(platform.ApprovalStates(), ", "))
		}
		q.States = append(q.States, s)
	}
	if v.Has("before") && !isApproval(q.Before) {
		return q, invalid("before", "want the id of a request for approval")
	}
	if v.Has(query.Limit) {
		var err error
		if q.Limit, err = query.Whole(v.Get(query.Limit), 1, query.MaxLimit); err != nil {
			return q, invalid(query.Limit, err.Error())
		}
	}
	return q, nil
}

func isApproval(text string) bool { return regexp.MustCompile(approvalPattern).MatchString(text) }

func getApproval(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isApproval(c.leaf) {
		return reply{}, notFound()
	}
	a, err := p.Approval(ctx, c.who, c.at, c.leaf)
	return ok(a), err
}

func approveRequest(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isApproval(c.leaf) {
		return reply{}, notFound()
	}
	a, err := p.ApproveRequest(ctx, c.who, c.at, c.leaf, c.ballot())
	return ok(a), err
}

func rejectRequest(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isApproval(c.leaf) {
		return reply{}, notFound()
	}
	a, err := p.RejectRequest(ctx, c.who, c.at, c.leaf, c.ballot())
	return ok(a), err
}

// ballot is the body of a vote.
func (c *call) ballot() platform.NewVote {
	n := platform.NewVote{Comment: c.body.Get("comment").Text}
	if text, given := strings.CutPrefix(c.body.Get("signature").Text, "0x"); given {
		n.Signature, _ = hex.DecodeString(text) // the schema has let through nothing else
	}
	return n
}
