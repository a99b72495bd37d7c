// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// trying is what the panels of an account show by which somebody sees whether it
// works: a message that is signed, and a transaction that is sent.
type trying struct {
	May    bool
	Key    string // by which a form that is sent twice is one transaction
	Signed *platform.SignedMessage
	Text   string // what was signed, as it was typed
}

func tryingOf(v *visit, membership string) trying {
	return trying{May: v.can(auth.Admin, membership), Key: v.shownKey()}
}

func signMessage(ctx context.Context, v *visit) (view, error) {
	address, err := v.address()
	if err != nil {
		return view{}, err
	}
	message := []byte(v.form.Get("message"))
	if v.form.Get("encoding") == "hex" {
		digits, prefixed := strings.CutPrefix(v.text("message"), "0x")
		if message, err = hex.DecodeString(digits); err != nil || !prefixed {
			err = &platform.Error{Reason: platform.Invalid, Field: "message", Msg: "want 0x and the hex digits of whole bytes"}
			return v.tryingTrouble(ctx, err)
		}
	} else {
		// Browsers send the ends of lines as CR LF (HTML, "constructing the entry list").
		message = []byte(strings.ReplaceAll(string(message), "\r\n", "\n"))
	}
	signed, pending, err := v.c.cfg.Platform.SignMessage(ctx, v.who, v.here(), address, message)
	switch {
	case err != nil:
		return v.tryingTrouble(ctx, err)
	case pending != nil:
		return v.waits(pending), nil
	}
	is, err := showAccount(ctx, v)
	if p, ok := is.data.(walletPage); ok {
		a, _ := p.Content.(accountPage)
		a.Try.Signed, a.Try.Text = &signed, v.form.Get("message")
		p.Content, p.form = a, form{Values: map[string][]string{"label": {a.Label}, "message": v.form["message"], "encoding": v.form["encoding"]}}
		is.data = p
	}
	return is, err
}

func sendTest(ctx context.Context, v *visit) (view, error) {
	address, err := v.address()
	if err != nil {
		return view{}, err
	}
	t := platform.TestTransaction{Key: v.sentKey()}
	if text := v.text("to"); text != "" {
		to, err := addressTyped("to", text)
		if err != nil {
			return v.tryingTrouble(ctx, err)
		}
		t.To = &to
	}
	if text := v.text("value"); text != "" {
		value, ok := ether(text)
		if !ok {
			return v.tryingTrouble(ctx, &platform.Error{Reason: platform.Invalid, Field: "value", Msg: "want an amount of ether, like 0.001, with at most 18 digits behind the point"})
		}
		t.Value = value
	}
	sent, pending, err := v.c.cfg.Platform.SendTestTransaction(ctx, v.who, v.here(), address, t)
	switch {
	case err != nil:
		return v.tryingTrouble(ctx, err)
	case pending != nil:
		return v.waits(pending), nil
	}
	return v.done("transaction-sent", "wallets", v.r.PathValue("id"), "transactions", sent.ID), nil
}

// waits sends the browser to the request that people are asked about.
func (v *visit) waits(pending *platform.Pending) view {
	return v.done("request-asked", "approvals", v.r.PathValue("id"), pending.ID)
}

// tryingTrouble shows the account again, with what was wrong. What the API says of
// the account is about the page's own.
func (v *visit) tryingTrouble(ctx context.Context, err error) (view, error) {
	f, ok := v.refused(err, "message", "encoding", "to", "value")
	if !ok {
		return view{}, err
	}
	var spent *platform.SpentKeyError
	v.spent = errors.As(err, &spent)
	ctx, cancel := afterwards(ctx)
	defer cancel()
	is, err := showAccount(ctx, v)
	if p, isPage := is.data.(walletPage); isPage {
		f.Values.Set("label", p.Content.(accountPage).Label) //nolint:forcetypeassert // showAccount has just made it
		p.form = f
		is.data, is.status = p, http.StatusUnprocessableEntity
	}
	return is, err
}

// addressTyped reads an address, whose mixed case has to be right if it has any
// (EIP-55): a mistake of one digit is then seen.
func addressTyped(field, text string) (common.Address, error) {
	if !common.IsHexAddress(text) || !strings.HasPrefix(text, "0x") {
		return common.Address{}, &platform.Error{Reason: platform.Invalid, Field: field, Msg: "want an address: 0x and 40 hex digits"}
	}
	a := common.HexToAddress(text)
	digits := text[2:]
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && a.Hex() != text {
		return common.Address{}, &platform.Error{Reason: platform.Invalid, Field: field, Msg: "is written with capitals that do not fit (EIP-55): look whether a digit is wrong"}
	}
	return a, nil
}
