// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// policyTrial is what one can choose from when one asks what would pass.
type policyTrial struct {
	Methods    []choice
	Accounts   []platform.Account
	Principals []choice
}

// choice is an entry of a list to choose from.
type choice struct{ Value, Title string }

// accountsToChoose bounds a list of accounts to choose from; others are typed.
const accountsToChoose = 100

func (v *visit) policyTrial(ctx context.Context, w walletPage) (*policyTrial, error) {
	t := &policyTrial{Methods: trialMethods()}
	accounts, err := v.c.cfg.Platform.Accounts(ctx, v.who, v.here(), platform.AccountQuery{})
	if err != nil {
		accounts = nil // the key backend is away: the account is typed
	}
	t.Accounts = accounts[:min(len(accounts), accountsToChoose)]
	credentials, err := list[platform.AppCred](ctx, v, platform.AppCreds)
	if err != nil {
		return nil, err
	}
	for _, c := range credentials {
		if c.MembershipID == w.MembershipID {
			t.Principals = append(t.Principals, choice{"app:" + c.ID, c.Name})
		}
	}
	return t, nil
}

func trialMethods() []choice {
	titles := map[string]string{
		"eth_sendTransaction": "Send a transaction", "eth_signTransaction": "Sign a transaction, and give it back",
		"personal_sign": "Sign a message", "eth_signTypedData_v4": "Sign typed data", "document": "Sign a document",
		"eth_sendRawTransaction": "Send a transaction that is signed already",
	}
	var out []choice
	for _, m := range platform.PolicyTestMethods() {
		if titles[m] != "" {
			out = append(out, choice{m, titles[m]})
		}
	}
	return out
}

// verdictPage is what would become of a request.
type verdictPage struct {
	platform.PolicyVerdict
	Form   form // what was wrong with what was typed
	Wrong  []wrongLine
	Limits []takeRow
	Draft  bool // judged with rules that do not count yet
	Wallet string
}

// takeRow is what a request would take off a limit.
type takeRow struct {
	platform.LimitTake
	Takes amount
	Gauge *gauge // nil: not the person's to know
}

// testPolicy asks the judge, which signs and stores nothing.
func testPolicy(ctx context.Context, v *visit) (view, error) {
	s, err := get[platform.Service](ctx, v, platform.Services, v.here())
	if err != nil {
		return view{}, err
	}
	page := verdictPage{Wallet: s.ID}
	t := platform.PolicyTest{Principal: v.text("principal"), Method: v.form.Get("method")}
	if page.Draft = v.form.Get("draft") != ""; page.Draft {
		t.Document = v.document()
	}
	if t.Params, err = v.trialParams(t.Method); err == nil {
		page.PolicyVerdict, err = v.c.cfg.Platform.TestPolicy(ctx, v.who, v.here(), t)
	}
	if f, refused := v.refusedPolicy(err); refused {
		page.Form, page.Wrong, err = f, wrongLines(f), nil
	}
	if err != nil {
		return view{}, err
	}
	for _, l := range page.PolicyVerdict.Limits {
		row := takeRow{LimitTake: l, Takes: assetAmount(l.Asset, l.Amount)}
		if l.Max != "" {
			g := gaugeOf(l.Asset, l.Used, l.Max)
			row.Gauge = &g
		}
		page.Limits = append(page.Limits, row)
	}
	return view{page: "policy-verdict", title: "Would this pass?", section: "wallets", data: page, fragment: v.wantsFragment()}, nil
}

// trialParams are the parameters of a request as the method takes them: as they
// were typed, or made of the fields.
func (v *visit) trialParams(method string) ([]byte, error) {
	if text := v.text("params"); text != "" {
		return []byte(text), nil
	}
	from := v.text("from")
	switch method {
	case "eth_sendTransaction", "eth_signTransaction":
		t := map[string]string{"from": from}
		if to := v.text("to"); to != "" {
			t["to"] = to
		}
		if data := v.text("data"); data != "" {
			t["data"] = data
		}
		if text := v.text("value"); text != "" {
			wei, ok := ether(text)
			if !ok {
				return nil, &platform.Error{Reason: platform.Invalid, Field: "value", Msg: "want a number of ether, like 0.25"}
			}
			t["value"] = "0x" + wei.Text(16)
		}
		return json.Marshal([]any{t})
	case "personal_sign":
		message := v.form.Get("data")
		if !strings.HasPrefix(message, "0x") {
			message = "0x" + hex.EncodeToString([]byte(message))
		}
		return json.Marshal([]any{message, from})
	}
	return nil, &platform.Error{Reason: platform.Invalid, Field: "params", Msg: "are missing: want the list that the method takes, as JSON"}
}

// ether reads an amount of ether, exactly, and gives wei.
func ether(text string) (*big.Int, bool) {
	r, ok := new(big.Rat).SetString(text)
	if !ok || r.Sign() < 0 || strings.ContainsAny(text, "/eE") || len(text) > 40 {
		return nil, false
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil)))
	return r.Num(), r.IsInt()
}

// fieldOf is the field that a refusal is about.
func fieldOf(err error) (field, text string, found bool) {
	var refused *platform.Error
	if !errors.As(err, &refused) {
		return "", "", false
	}
	return refused.Field, refused.Msg, refused.Field != ""
}

// isRefusal reports whether an error says that something is not there for the
// person, or not the person's to see.
func isRefusal(err error) bool {
	var refused *platform.Error
	return errors.As(err, &refused) && slices.Contains([]platform.Reason{platform.NotFound, platform.Forbidden}, refused.Reason)
}
