// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// routes are all pages, and what their forms do. Every POST carries the session's
// token, which Console.serve has checked before.
func routes() []route {
	const (
		get  = http.MethodGet
		post = http.MethodPost
	)
	var all []route
	add := func(method, path string, serve handler) {
		all = append(all, route{method: method, path: here + path, serve: serve})
	}
	add(get, "/overview", overview)

	add(get, "/configurations", configurations)
	add(get, "/configurations/new", newConfiguration)
	add(post, "/configurations/new", makeConfiguration)
	add(post, "/configurations/try", tryConfiguration)
	add(post, "/configurations/{id}/try", tryConfiguration)
	add(get, "/configurations/{id}", showConfiguration)
	add(post, "/configurations/{id}", changeConfiguration)
	add(post, "/configurations/{id}/delete", deleteConfiguration)

	add(get, "/wallets", wallets)
	add(get, "/wallets/new", newWallet)
	add(post, "/wallets/new", makeWallet)
	add(get, "/wallets/{id}", showWallet)
	add(post, "/wallets/{id}/reset", resetWallet)
	add(get, "/wallets/{id}/settings", walletSettings)
	add(post, "/wallets/{id}/settings", changeWallet)
	add(post, "/wallets/{id}/delete", deleteWallet)
	add(get, "/wallets/{id}/accounts", walletAccounts)
	add(post, "/wallets/{id}/accounts/refresh", refreshAccounts)
	add(post, "/wallets/{id}/accounts/new", makeAccount)
	add(get, "/wallets/{id}/accounts/import", showImport)
	add(post, "/wallets/{id}/accounts/import", importAccount)
	add(get, "/wallets/{id}/accounts/import-key", giveImportKey)
	add(get, "/wallets/{id}/accounts/{address}", showAccount)
	add(post, "/wallets/{id}/accounts/{address}", labelAccount)
	add(post, "/wallets/{id}/accounts/{address}/sign-message", signMessage)
	add(post, "/wallets/{id}/accounts/{address}/test-transaction", sendTest)
	add(get, "/wallets/{id}/transactions", walletTransactions)
	add(get, "/wallets/{id}/transactions/{tx}", showTransaction)
	add(post, "/wallets/{id}/transactions/{tx}/cancel", cancelTransaction)
	add(post, "/wallets/{id}/transactions/{tx}/speed-up", hastenTransaction)
	add(get, "/wallets/{id}/connect", connect)
	add(post, "/wallets/{id}/connect", makeCredentialHere)

	add(get, "/nodes", nodes)
	add(get, "/nodes/new", newNode)
	add(post, "/nodes/new", makeNode)
	add(get, "/nodes/{id}", showNode)
	add(post, "/nodes/{id}", changeNode)
	add(post, "/nodes/{id}/delete", deleteNode)

	add(get, "/memberships", memberships)
	add(post, "/memberships", makeMembership)
	add(post, "/memberships/{id}/delete", deleteMembership)
	add(get, "/credentials", credentials)
	add(post, "/credentials", makeCredential)
	add(post, "/credentials/{id}/delete", deleteCredential)
	add(post, "/credentials/{id}/regenerate", regenerateCredential)
	add(get, "/keys", apiKeys)
	add(post, "/keys", makeAPIKey)
	add(post, "/keys/{id}/delete", deleteAPIKey)
	read := func(path string, serve handler) { add(get, path, serve) }
	send := func(path string, serve handler) { add(post, path, serve) }
	approvalRoutes(read, send)
	policyRoutes(read, send)
	freezeRoutes(read, send)
	recordRoutes(read)
	contractRoutes(read, send)
	tokenRoutes(read, send)
	streamRoutes(read, send)
	add(get, "/documents", showDocuments)
	// The URL that a service shows of itself.
	all = append(all, route{method: get, path: "/services/{id}", serve: findService})
	return all
}

func nothingHere(context.Context, *visit) (view, error) {
	return view{}, &platform.Error{Reason: platform.NotFound, Msg: "the console has no such page: choose one at the side, or begin at the overview"}
}

// firstPlace is the environment to begin in: the first that has wallets, else the
// first that there is.
func firstPlace(ctx context.Context, v *visit) (view, error) {
	consortia, err := listAt[platform.Consortium](ctx, v, platform.Consortia, platform.Path{})
	if err != nil {
		return view{}, err
	}
	first := ""
	for _, c := range consortia {
		environments, err := listAt[platform.Environment](ctx, v, platform.Environments, platform.Path{Consortium: c.ID})
		if err != nil {
			return view{}, err
		}
		for _, e := range environments {
			at := platform.Path{Consortium: c.ID, Environment: e.ID}
			to := placed(c.ID, e.ID) + "/overview"
			services, err := listAt[platform.Service](ctx, v, platform.Services, at)
			if err != nil {
				return view{}, err
			}
			if len(services) > 0 {
				return view{to: to}, nil
			}
			if first == "" {
				first = to
			}
		}
	}
	if first == "" {
		return view{page: "trouble", title: "Nothing to see yet", data: troublePage{
			Title: "Nothing to see yet", Text: "You may not see any environment. Ask an administrator for a role in a membership, then load this page again.",
		}}, nil
	}
	return view{to: first}, nil
}

// findService is where a service is, wherever it stands.
func findService(ctx context.Context, v *visit) (view, error) {
	id := v.r.PathValue("id")
	consortia, err := listAt[platform.Consortium](ctx, v, platform.Consortia, platform.Path{})
	if err != nil {
		return view{}, err
	}
	for _, c := range consortia {
		environments, err := listAt[platform.Environment](ctx, v, platform.Environments, platform.Path{Consortium: c.ID})
		if err != nil {
			return view{}, err
		}
		for _, e := range environments {
			at := platform.Path{Consortium: c.ID, Environment: e.ID, ID: id}
			if _, err := get[platform.Service](ctx, v, platform.Services, at); err == nil {
				v.at = at
				return view{to: v.path("wallets", id)}, nil
			}
		}
	}
	return nothingHere(ctx, v)
}
