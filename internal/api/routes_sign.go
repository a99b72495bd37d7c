// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/hex"
	"math/big"
	"net/http"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// hand is what signing and sending by people needs of a Platform.
type hand interface {
	SignMessage(ctx context.Context, who auth.Access, at platform.Path, account common.Address, msg []byte) (platform.SignedMessage, *platform.Pending, error)
	SendTestTransaction(ctx context.Context, who auth.Access, at platform.Path, account common.Address, t platform.TestTransaction) (platform.Transaction, *platform.Pending, error)
}

// signRoutes are how somebody sees whether an account works.
func signRoutes() []route {
	pending := answers{http.StatusAccepted, shape[platform.Pending](), ""}
	again, itself := pending, pending
	again.doc = "People are asked first. Make the same request again once they have approved."
	itself.doc = "People are asked first. It is sent by itself once they have approved."
	trouble := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	return of("Accounts", platform.Services, []route{
		{
			method: http.MethodPost, path: oneAccount + "/sign-message", name: "signMessage", title: "Sign a message",
			doc:  "As personal_sign does (EIP-191). For admins, who can make an app credential for it; programs use the RPC door. Policies, limits and the stop switch hold as there.",
			body: newMessage(), answers: []answers{{http.StatusOK, shape[platform.SignedMessage](), "The signature."}, again}, errors: trouble, serve: signMessage,
		},
		{
			method: http.MethodPost, path: oneAccount + "/test-transaction", name: "sendTestTransaction", title: "Send a test transaction",
			doc: "A transfer by which you see whether the wallet works; if nothing else is said, of nothing, to the account itself. No body is needed. It is answered as soon as a node has it. " +
				"For admins, who can make an app credential for it; programs use the RPC door. Policies, limits and the stop switch hold as there.",
			body: newTestTransaction(), optional: true,
			answers: []answers{{http.StatusCreated, shape[platform.Transaction](), "The transaction, with its attempts."}, itself}, errors: trouble, serve: sendTestTransaction,
		},
	})
}

func newMessage() *schema.Schema {
	s := object("NewMessage", map[string]*schema.Schema{
		"message":  {Type: schema.String, MaxLength: 1 << 18, Description: "What is signed, without the prefix of EIP-191; at most 64 KiB."},
		"encoding": {Type: schema.String, Enum: []string{"text", "hex"}, Description: "How the message is written: text (UTF-8), which is what it is if this is left out, or hex, 0x and the digits of whole bytes."},
	}, "message")
	s.Closed = true
	return s
}

func newTestTransaction() *schema.Schema {
	s := object("NewTestTransaction", map[string]*schema.Schema{
		"to":              {Type: schema.String, Pattern: addressPattern, Description: "Who gets it; the account itself if it is left out."},
		"value":           {Type: schema.String, Pattern: `^[0-9]{1,78}$`, Description: "wei, in decimal; 0 if it is left out."},
		"idempotency_key": {Type: schema.String, MinLength: 1, MaxLength: 255, Pattern: `^[ -~]*$`, Description: "The same request with the same key is the same transaction. If it is left out, one is drawn: the answer has it, and so has the error that leaves open whether the transaction is sent."},
	})
	s.Closed = true
	return s
}

func signMessage(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	account, err := addressOf(c.leaf)
	if err != nil {
		return reply{}, err
	}
	text := c.body.Get("message").Text
	message := []byte(text)
	if c.body.Get("encoding").Text == "hex" {
		digits, prefixed := strings.CutPrefix(text, "0x")
		if message, err = hex.DecodeString(digits); err != nil || !prefixed {
			return reply{}, invalid("message", "want 0x and the hex digits of whole bytes")
		}
	}
	signed, pending, err := p.SignMessage(ctx, c.who, c.at, account, message)
	if pending != nil {
		return reply{http.StatusAccepted, pending}, err
	}
	return ok(signed), err
}

func sendTestTransaction(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	account, err := addressOf(c.leaf)
	if err != nil {
		return reply{}, err
	}
	t := platform.TestTransaction{Key: c.body.Get("idempotency_key").Text}
	if v := c.body.Get("to"); v.Present() {
		to := common.HexToAddress(v.Text)
		t.To = &to
	}
	if v := c.body.Get("value"); v.Present() {
		t.Value, _ = new(big.Int).SetString(v.Text, 10) // digits only, by its schema
	}
	sent, pending, err := p.SendTestTransaction(ctx, c.who, c.at, account, t)
	if pending != nil {
		return reply{http.StatusAccepted, pending}, err
	}
	return reply{http.StatusCreated, sent}, err
}
