// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// contractRoutes are the pages about contracts: {id} is the wallet by which a
// chain is reached.
func contractRoutes(get, post func(path string, serve handler)) {
	get("/contracts", toFirst("contracts"))
	get("/contracts/{id}", showContracts)
	get("/contracts/{id}/upload", newInterface)
	post("/contracts/{id}/upload", uploadInterface)
	get("/contracts/{id}/interfaces/{abi}", showInterface)
	post("/contracts/{id}/interfaces/{abi}/deploy", deployContract)
	post("/contracts/{id}/interfaces/{abi}/register", registerContract)
	post("/contracts/{id}/interfaces/{abi}/delete", deleteInterface)
	get("/contracts/{id}/at/{contract}", showContract)
	post("/contracts/{id}/at/{contract}/send", sendToContract)
	post("/contracts/{id}/at/{contract}/forget", forgetContract)
}

// shownAtOnce is how many contracts or interfaces one page has.
const shownAtOnce = 50

// benchPage is what every page about contracts gets.
type benchPage struct {
	form
	*bench
	Section string // of the navigation, for changing to another wallet
	Content any
}

func (v *visit) benchView(b *bench, page, section, title string, f form, content any) view {
	return formView(view{page: page, title: title, section: section, data: benchPage{f, b, section, content}, fragment: v.wantsFragment()}, f)
}

// contractsPage is the list of what there is.
type contractsPage struct {
	Contracts  []contractRow
	Interfaces []contract.ABI
	Names      map[string]string // of interfaces that are listed, by id
	More       string            // URL of the contracts that are younger; empty if there are none
	MoreABIs   string
	Later      bool // these are not the first ones
}

// contractRow is a contract in a list.
type contractRow struct {
	contract.Contract
	Ref string // by which its page is found
	At  string // its address; empty while it is being deployed
}

func rowOf(c contract.Contract) contractRow {
	r := contractRow{Contract: c, Ref: c.ID}
	if c.Address != nil {
		r.At = c.Address.Hex()
		r.Ref = r.At
	}
	return r
}

func showContracts(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, false)
	if err != nil {
		return view{}, err
	}
	p := contractsPage{Names: map[string]string{}, Later: v.form.Get("after") != "" || v.form.Get("after_interface") != ""}
	all, err := b.Book.Contracts(ctx, b.Target.Place, b.Chain(), "", v.form.Get("after"), shownAtOnce+1)
	if err != nil {
		return view{}, deskRefusal(err)
	}
	here := v.path("contracts", b.Service.ID)
	if len(all) > shownAtOnce {
		all = all[:shownAtOnce]
		p.More = here + "?" + url.Values{"after": {all[shownAtOnce-1].ID}}.Encode()
	}
	for _, c := range all {
		p.Contracts = append(p.Contracts, rowOf(c))
	}
	if p.Interfaces, err = b.Book.ABIs(ctx, b.Target.Place, v.form.Get("after_interface"), shownAtOnce+1); err != nil {
		return view{}, deskRefusal(err)
	}
	if len(p.Interfaces) > shownAtOnce {
		p.Interfaces = p.Interfaces[:shownAtOnce]
		p.MoreABIs = here + "?" + url.Values{"after_interface": {p.Interfaces[shownAtOnce-1].ID}}.Encode()
	}
	for _, a := range p.Interfaces {
		p.Names[a.ID] = a.Name
	}
	return v.benchView(b, "contracts", "contracts", "Contracts", form{}, p), nil
}

func newInterface(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	return v.benchView(b, "contract-upload", "contracts", "Upload a contract", form{Values: v.form}, nil), nil
}

func uploadInterface(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	var made contract.ABI
	u, err := uploadTyped(v)
	if err == nil {
		made, err = b.Book.Upload(ctx, v.who.Principal, b.Target.Place, u)
	}
	if f, ok := v.refused(deskRefusal(err), "artifact", "name", "description", "bytecode", "abi"); ok {
		if f.Problems["artifact"] == "" {
			f.Problems["artifact"] = f.Problems["abi"]
		}
		return v.benchView(b, "contract-upload", "contracts", "Upload a contract", f, nil), nil
	}
	if err != nil {
		return view{}, deskRefusal(err)
	}
	return v.done("interface-made", "contracts", b.Service.ID, "interfaces", made.ID), nil
}

func uploadTyped(v *visit) (contract.Upload, error) {
	u, err := contract.ParseArtifact([]byte(v.form.Get("artifact")))
	if err != nil {
		return u, err
	}
	if name := v.text("name"); name != "" {
		u.Name = name
	}
	u.Description = v.text("description")
	if text := v.text("bytecode"); text != "" {
		if u.Bytecode = common.FromHex(text); len(u.Bytecode) == 0 || common.Bytes2Hex(u.Bytecode) != strings.ToLower(strings.TrimPrefix(text, "0x")) {
			return u, &platform.Error{Reason: platform.Invalid, Field: "bytecode", Msg: "want 0x and the hex digits of whole bytes. A compiler's output with __ in it has libraries that are not linked yet"}
		}
	}
	return u, nil
}

// interfacePage is one interface, and what can be done with it.
type interfacePage struct {
	contract.ABI
	Deploy  action
	Methods []*abi.Method
	Events  []*abi.Event
	Errors  []*abi.Error
}

// action is a form by which something is sent.
type action struct {
	ID      string // in the page
	Method  string // signature; empty for a constructor
	Payable bool
	Args    []argField
	Signers signers
	Key     string // by which a form that is sent twice is one transaction
}

// signers are the accounts that can be chosen to sign.
type signers struct {
	Accounts []platform.Account
	More     bool   // some are not listed
	NoList   string // why there is no list
}

func (v *visit) signers(ctx context.Context) (s signers) {
	all, err := v.c.cfg.Platform.Accounts(ctx, v.who, v.here(), platform.AccountQuery{})
	if err != nil {
		s.NoList = sentence(err.Error())
	}
	for _, a := range all {
		if a.State != "enabled" {
			continue
		}
		if s.More = len(s.Accounts) == accountsToChoose; s.More {
			break
		}
		s.Accounts = append(s.Accounts, a)
	}
	return s
}

func newKey() string { return "console-" + rand.Text() }

func showInterface(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, false)
	if err != nil {
		return view{}, err
	}
	return v.interfacePage(ctx, b, form{})
}

func (v *visit) interfacePage(ctx context.Context, b *bench, f form) (view, error) {
	is, err := b.Book.ABI(ctx, b.Target.Place, v.r.PathValue("abi"))
	if err != nil {
		return view{}, deskRefusal(err)
	}
	p := interfacePage{ABI: is}
	if is.Contract != nil {
		p.Methods, p.Events, p.Errors = is.Contract.Methods, is.Contract.Events, is.Contract.Errors
	}
	if is.Deployable && b.MayChange {
		p.Deploy = action{ID: "deploy", Signers: v.signers(ctx), Key: v.shownKey()}
		p.Deploy.Args = argFields("deploy", "arg", constructorOf(is), &f)
		p.Deploy.Payable = is.Contract.Constructor != nil && is.Contract.Constructor.Payable()
	}
	name := is.Name
	if name == "" {
		name = short(is.ID)
	}
	return v.benchView(b, "interface", "contracts", name, f, p), nil
}

func constructorOf(a contract.ABI) []abi.Param {
	if a.Contract == nil || a.Contract.Constructor == nil {
		return nil
	}
	return a.Contract.Constructor.Inputs
}

// termsTyped reads who signs, and how much ether goes with it.
func (v *visit) termsTyped() (contract.Terms, error) {
	var t contract.Terms
	from, err := addressTyped("from", v.text("from"))
	if err != nil {
		return t, err
	}
	t.From = &from
	if text := v.text("value"); text != "" {
		value, ok := ether(text)
		if !ok {
			return t, &platform.Error{Reason: platform.Invalid, Field: "value", Msg: "want an amount of ether, like 0.001, with at most 18 digits behind the point"}
		}
		t.Value = value
	}
	return t, nil
}

func deployContract(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	is, err := b.Book.ABI(ctx, b.Target.Place, v.r.PathValue("abi"))
	if err != nil {
		return view{}, deskRefusal(err)
	}
	to, err := v.deploy(ctx, b, is)
	if err == nil {
		return to, nil
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if f, ok := v.refused(err, append(argNames(argFields("", "arg", constructorOf(is), nil)), "from", "value", "name")...); ok {
		f.Values.Set("action", "deploy")
		return v.interfacePage(ctx, b, f)
	}
	return view{}, err
}

func (v *visit) deploy(ctx context.Context, b *bench, is contract.ABI) (view, error) {
	terms, err := v.termsTyped()
	if err != nil {
		return view{}, err
	}
	args, err := argsTyped("arg", constructorOf(is), v.form)
	if err != nil {
		return view{}, err
	}
	sent, err := b.Desk.Deploy(ctx, b.Target, contract.Deployment{Terms: terms, ID: v.sentKey(), ABI: is, Args: abi.Args{List: args}, Name: v.text("name")})
	if to, ok := v.asked(err); ok {
		return to, nil
	}
	if err != nil {
		return v.settle(ctx, b, err, func(err error) error { return argRefusal("arg", constructorOf(is), err) })
	}
	return v.done("contract-deploying", "contracts", b.Service.ID, "at", sent.Contract), nil
}

func registerContract(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	is, err := b.Book.ABI(ctx, b.Target.Place, v.r.PathValue("abi"))
	if err != nil {
		return view{}, deskRefusal(err)
	}
	address, err := addressTyped("address", v.text("address"))
	if err == nil {
		_, _, err = b.Desk.Register(ctx, b.Target, contract.Registration{ABI: is.ID, Address: address, Name: v.text("name"), Kind: kindOf(is)})
	}
	if f, ok := v.refused(deskRefusal(err), "address", "name"); ok {
		f.Values.Set("action", "register")
		return v.interfacePage(ctx, b, f)
	}
	if err != nil {
		return view{}, deskRefusal(err)
	}
	return v.done("contract-registered", "contracts", b.Service.ID, "at", address.Hex()), nil
}

func deleteInterface(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	err = b.Book.DeleteABI(ctx, v.who.Principal, b.Target.Place, v.r.PathValue("abi"))
	if f, ok := v.refused(deskRefusal(err)); ok {
		return v.interfacePage(ctx, b, f)
	}
	if err != nil {
		return view{}, deskRefusal(err)
	}
	return v.done("interface-deleted", "contracts", b.Service.ID), nil
}

// indentedJSON writes JSON for people; what is none as it is.
func indentedJSON(is json.RawMessage) string {
	text, err := indented(is)
	if err != nil {
		return string(is)
	}
	return text
}
