// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// form is what a person has typed, and what is wrong with it. Fields are called
// as in the API, so that what the API says of a field stands beside it.
type form struct {
	Values   url.Values
	Problem  string            // about no field
	Problems map[string]string // by field
}

// Get is what was typed in a field. Secrets are not sent back: the field is empty
// again.
func (f form) Get(field string) string { return f.Values.Get(field) }

// Has reports whether a box was ticked.
func (f form) Has(field string) bool { return f.Values.Get(field) != "" }

// Wrong is what is wrong with a field; empty if nothing is.
func (f form) Wrong(field string) string { return f.Problems[field] }

// refused makes of a refusal the form with what is wrong. ok is false if the
// error is none that the person can mend in the form.
func (v *visit) refused(err error, fields ...string) (f form, ok bool) {
	f = form{Values: v.form, Problems: map[string]string{}}
	var refused *platform.Error
	if err == nil || !errors.As(err, &refused) || refused.Reason == platform.NotFound || refused.Reason == platform.Forbidden {
		return f, false
	}
	// Several problems come in one text, each with its field in front.
	text, field := refused.Msg, refused.Field
	for _, part := range strings.Split(text, "; ") {
		if name, rest, found := strings.Cut(part, ": "); found && slices.Contains(fields, name) {
			field, part = name, rest
		}
		switch {
		case slices.Contains(fields, field):
			f.Problems[field] = strings.TrimPrefix(f.Problems[field]+" "+sentence(part), " ")
		case field != "":
			f.Problem = strings.TrimPrefix(f.Problem+" "+sentence(field+": "+part), " ")
		default:
			f.Problem = strings.TrimPrefix(f.Problem+" "+sentence(part), " ")
		}
	}
	return f, true
}

// text is what was typed in a field, without the space around it.
func (v *visit) text(field string) string { return strings.TrimSpace(v.form.Get(field)) }

// doneText is what a page says of what was just done. The texts stand here, so
// that nobody puts others into a link.
func doneText(v *visit) string { return doneTexts()[v.r.URL.Query().Get("done")] }

func doneTexts() map[string]string {
	return map[string]string{ //nolint:gosec // G101: texts for people, no credentials
		"configuration-made":    "The configuration is saved. Its secret is sealed and is never shown again.",
		"configuration-changed": "The configuration is changed. Wallets that use it go over to it without failing a request.",
		"configuration-deleted": "The configuration is deleted.",
		"wallet-made":           "The wallet is made and is being opened.",
		"wallet-changed":        "The wallet is changed.",
		"wallet-deleted":        "The wallet is deleted, or goes as soon as its last transaction is final.",
		"wallet-reset":          "The wallet connects anew. Nothing that is under way fails for it.",
		"node-made":             "The node is saved.",
		"node-changed":          "The node is changed.",
		"node-deleted":          "The node is deleted.",
		"account-labelled":      "The label is saved.",
		"account-made":          "The key backend has made the key. If it is not listed here yet, refresh the accounts in a moment.",
		"account-imported":      "The key backend has taken the key in. If it is not listed here yet, refresh the accounts in a moment.",
		"accounts-listing":      "The key backend has many keys, and is still listing them. You need not wait for it.",
		"transaction-sent":      "The transaction is accepted. This page follows it.",
		"transaction-found":     "The answer took too long, but what this form was sent for is accepted. This page follows it.",
		"request-asked":         "A rule wants people asked first. Once they have approved, a transaction is sent by itself; a message has to be given again.",
		"interface-made":        "The interface is kept. Deploy it, or register a contract that has it.",
		"interface-deleted":     "The interface is forgotten.",
		"contract-deploying":    "The deployment is accepted. This page follows it.",
		"contract-registered":   "The contract is registered.",
		"contract-forgotten":    "The contract is forgotten here. On the chain it stays.",
		"stream-made":           "The stream is made. Subscribe it to an event.",
		"stream-suspended":      "The stream is suspended. Nothing is lost.",
		"stream-resumed":        "The stream goes on where it stopped.",
		"stream-deleted":        "The stream is deleted.",
		"subscribed":            "The events are delivered from now on.",
		"unsubscribed":          "The subscription is ended.",
		"subscription-reset":    "The subscription begins again there.",
		"transaction-cancelled": "The transaction is being cancelled.",
		"transaction-hastened":  "The transaction is signed again with higher fees.",
		"membership-made":       "The membership is made.",
		"membership-deleted":    "The membership is deleted.",
		"credential-deleted":    "The app credential opens nothing any more.",
		"key-deleted":           "The API key opens nothing any more.",
		"request-approved":      "Your approval is on record.",
		"request-rejected":      "The request is rejected. Nothing is signed for it.",
		"policy-set":            "The rules count now, everywhere within a second.",
		"policy-proposed":       "The new version is proposed. It counts once another admin has approved it.",
		"policy-approved":       "The version counts now, everywhere within a second.",
		"policy-rejected":       "The version is rejected. What counted before still does.",
		"policy-ended":          "The rules of this scope are ended. Those of wider scopes count on.",
		"frozen":                "It is frozen. Everywhere within two seconds, nothing of it is signed or sent any more.",
		"released":              "It is released. What was held goes on at once.",
	}
}
