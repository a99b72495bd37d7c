// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/gateway/openapi"
)

// flags says what a GET on an interface, a contract or the gateway itself asks for.
type flags struct {
	openapi, ui, abi bool
	download, noAuth bool
	from             string
}

// flags reads them. An interface is its own factory, and documents have paths and
// no schemes: factory and schemes are understood, and change nothing.
func (q *request) flags() (f flags, err error) {
	for _, given := range sorted(q.query) {
		text := q.query[given][0]
		name := strings.ToLower(given)
		switch name {
		case "from":
			a, good := parseAddress(text)
			if !good {
				return f, bad("from: want an address, 0x and 40 hex digits, got %s", quote(text))
			}
			f.from = lower(a)
			continue
		case "schemes":
			continue
		}
		on := text == "" || strings.EqualFold(text, "true")
		if !on && !strings.EqualFold(text, "false") {
			return f, bad("%s: want true or false, or nothing, which is true, got %s", name, quote(text))
		}
		for _, to := range map[string][]*bool{
			"openapi": {&f.openapi}, "swagger": {&f.openapi}, "ui": {&f.ui}, "abi": {&f.abi}, "download": {&f.download}, "noauth": {&f.noAuth},
		}[name] {
			*to = *to || on
		}
	}
	wanted := 0
	for _, on := range []bool{f.openapi, f.ui, f.abi} {
		if on {
			wanted++
		}
	}
	switch {
	case wanted > 1:
		return f, bad("openapi, ui and abi: want one of them")
	case wanted == 0 && len(q.query) > 0 && slices.ContainsFunc(sorted(q.query), func(n string) bool { return !strings.EqualFold(n, "factory") }):
		return f, bad("%s: goes with openapi, ui or abi", sorted(q.query)[0])
	case f.ui && !q.Page:
		return f, noPages()
	}
	return f, nil
}

func (q *request) service(f flags) openapi.Service {
	return openapi.Service{
		Name: q.Wallet.Name(), Chain: q.Wallet.ChainID().String(), Base: q.Base, Release: q.h.cfg.Release, From: f.from, NoAuth: f.noAuth,
	}
}

// documents gives what the flags in the query ask for; shown, if there are none.
// address is nil for an interface; path is that under the gateway's URL.
func (q *request) documents(a contract.ABI, address *common.Address, registered, path string, shown answer) (answer, error) {
	f, err := q.flags()
	if err != nil {
		return answer{}, err
	}
	switch {
	case f.abi:
		return q.download(f, "abi", raw(a.Document)), nil
	case f.ui:
		return q.userPage(cmp.Or(registered, a.Name), path, f.from)
	case !f.openapi:
		return shown, nil
	}
	subject := openapi.Subject{
		ABI: a.ID, Name: a.Name, Description: a.Description, Contract: a.Contract, Docs: a.Docs, Deployable: a.Deployable,
		Address: address, Registered: registered, Path: path,
	}
	write := openapi.Interface
	if address != nil {
		write = openapi.Contract
	}
	document, err := write(q.service(f), subject)
	if err != nil {
		return answer{}, refuse(http.StatusConflict, "%s", err)
	}
	return q.download(f, "openapi", raw(document)), nil
}

// download has a browser keep a document instead of showing it.
func (q *request) download(f flags, name string, a answer) answer {
	if f.download {
		q.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.json"`)
	}
	return a
}

// Overview is the answer at the root of a gateway.
type Overview struct {
	Service   string `json:"service"`
	ChainID   string `json:"chainId"`
	ABIs      string `json:"abis"`
	Contracts string `json:"contracts"`
	Tokens    string `json:"tokens"`
	Replies   string `json:"replies"`
	Streams   string `json:"eventstreams"`
	OpenAPI   string `json:"openapi"`
}

func showGateway(q *request) (answer, error) {
	f, err := q.flags()
	switch {
	case err != nil:
		return answer{}, err
	case f.abi:
		return answer{}, bad("abi: is what interfaces and contracts have")
	case f.ui:
		return q.userPage(q.Wallet.Name(), "", f.from)
	case f.openapi:
		return q.wholeDocument(f)
	}
	return ok(Overview{
		Service: q.Wallet.Name(), ChainID: q.Wallet.ChainID().String(),
		ABIs: q.Base + "/abis", Contracts: q.Base + "/contracts", Tokens: q.Base + "/tokens", Replies: q.Base + "/replies",
		Streams: q.Base + "/eventstreams", OpenAPI: q.Base + "/openapi.json",
	}), nil
}

// showDocument gives the document of all that is the same for every contract.
func showDocument(q *request) (answer, error) {
	f, err := q.flags()
	if err != nil {
		return answer{}, err
	}
	return q.wholeDocument(f)
}

func (q *request) wholeDocument(f flags) (answer, error) {
	document, err := openapi.Gateway(q.service(f))
	return q.download(f, "openapi", raw(json.RawMessage(document))), err
}

// userPage is where people read a document, and make the calls that it describes.
func (q *request) userPage(title, path, from string) (answer, error) {
	document := q.Base + path + "?openapi"
	if path == "" {
		document = q.Base + "/openapi.json"
	}
	if from != "" {
		document += map[bool]string{true: "?", false: "&"}[path == ""] + "from=" + from
	}
	openapi.Page{Title: title, Document: document, Base: q.Base}.Serve(q.w, q.r)
	return answer{done: true}, nil
}

// showPage is the page about all that is the same for every contract.
func showPage(q *request) (answer, error) {
	if !q.Page {
		return answer{}, noPages()
	}
	return q.userPage(q.Wallet.Name(), "", "")
}

func noPages() *refusal {
	return bad("ui: is served by the management API only, where people sign in: see urls.webui of the service")
}

// showAsset gives a file that pages load.
func showAsset(q *request) (answer, error) {
	serve := openapi.Assets()[q.path["asset"]]
	if serve == nil || !q.Page {
		return answer{}, nothingHere()
	}
	q.w.Header().Set("Cache-Control", "max-age=3600")
	serve(q.w, q.r)
	return answer{done: true}, nil
}
