// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

const (
	aService     = inEnvironment + "/services/{service_id}"
	itsAccounts  = aService + "/accounts"
	oneAccount   = itsAccounts + "/{address}"
	itsTransacts = aService + "/transactions"
	oneTransact  = itsTransacts + "/{transaction_id}"
)

// serviceRoutes are what can be done with services, nodes and app credentials
// beside the five verbs.
func serviceRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: aService + "/status", name: "getServiceStatus", tag: "Services", kind: platform.Services,
			title: "How a service does", doc: "Accounts found, health of its key backend and its node, and its URLs. Makes no call to either.",
			answers: []answers{{http.StatusOK, shape[platform.ServiceStatus](), "As seen by the replica that answers."}}, serve: serviceStatus,
		},
		{
			method: http.MethodPut, path: aService + "/reset", name: "resetService", tag: "Services", kind: platform.Services,
			title: "Connect a service anew", doc: "To its key backend and its node. Nothing that is under way fails for it.",
			body: nothing(), optional: true, errors: []int{http.StatusConflict},
			answers: []answers{{http.StatusOK, shape[platform.Service](), "It connects."}}, serve: resetResource,
		},
		{
			method: http.MethodPut, path: inEnvironment + "/nodes/{node_id}/reset", name: "resetNode", tag: "Nodes", kind: platform.Nodes,
			title: "Connect all services of a node anew",
			body:  nothing(), optional: true, errors: []int{http.StatusConflict},
			answers: []answers{{http.StatusOK, shape[platform.Node](), "They connect."}}, serve: resetResource,
		},
		{
			method: http.MethodPost, path: inEnvironment + "/appcreds/{appcred_id}/regenerate", name: "regenerateAppCred", tag: "App credentials", kind: platform.AppCreds,
			title: "Give an app credential another password", doc: "The old one opens nothing any more. No body is needed.", errors: []int{http.StatusConflict},
			answers: []answers{{http.StatusOK, shape[platform.AppCred](), "With the password, which is shown this once."}}, serve: regenerate,
		},
	}
}

func yesNo(name, doc string) parameter {
	return parameter{name: name, doc: doc, is: &schema.Schema{Type: schema.Boolean}, flag: true}
}

// nothing is the body of a PUT that says all by its path.
func nothing() *schema.Schema {
	return &schema.Schema{Name: "Nothing", Type: schema.Object, Description: "An empty object."}
}

func accountRoutes() []route {
	asked := []parameter{yesNo("balance", "With the balance, from the node."), yesNo("nonce", "With the nonce of the next transaction.")}
	account := shape[platform.Account]()
	one := []answers{{http.StatusOK, account, "The account."}}
	made := []answers{{http.StatusCreated, account, "The account."}}
	trouble := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	return of("Accounts", platform.Services, []route{
		{
			method: http.MethodGet, path: itsAccounts, name: "listAccounts", title: "List the accounts of a service",
			doc:        "As they were when the backend was last looked at.",
			parameters: asked, filtered: account, errors: trouble[:1],
			answers: []answers{{http.StatusOK, listOf(account), "By address, if no other order is asked for."}}, serve: listAccounts,
		},
		{
			method: http.MethodPost, path: itsAccounts, name: "createAccount", title: "Have the backend make a key",
			doc:  "Only where the configuration has an admin credential. The key cannot be exported.",
			body: newAccount(), answers: made, errors: trouble, serve: createAccount,
		},
		{
			method: http.MethodPut, path: itsAccounts + "/refresh", name: "refreshAccounts", title: "Look for new and removed keys now",
			body: nothing(), optional: true, errors: trouble,
			answers: []answers{{http.StatusOK, shape[platform.AccountsReport](), "What was found."}}, serve: refreshAccounts,
		},
		{
			method: http.MethodGet, path: itsAccounts + "/import", name: "getImportKey", title: "Show what a key to be imported is wrapped under",
			answers: []answers{{http.StatusOK, shape[platform.ImportKey](), "The public key."}}, errors: trouble, serve: importKey,
		},
		{
			method: http.MethodPost, path: itsAccounts + "/import", name: "importAccount", title: "Import a wrapped key into the backend",
			doc:  "Only where the configuration has an admin credential.",
			body: newImport(), answers: made, errors: trouble, serve: importAccount,
		},
		{
			method: http.MethodGet, path: oneAccount, name: "getAccount", title: "Show an account",
			parameters: asked, answers: one, errors: trouble[:1], serve: getAccount,
		},
		{
			method: http.MethodPatch, path: oneAccount, name: "labelAccount", title: "Label an account",
			body: newLabel(), answers: one, errors: trouble, serve: labelAccount,
		},
	})
}

func transactionRoutes() []route {
	transaction := shape[platform.Transaction]()
	one := []answers{{http.StatusOK, transaction, "The transaction, with its attempts."}}
	clash := []int{http.StatusConflict}
	return of("Transactions", platform.Services, []route{
		{
			method: http.MethodGet, path: itsTransacts, name: "listTransactions", title: "List the transactions of a service, the newest first",
			doc:        "50 of them, if limit says nothing else. For the next ones, give the id of the last as before.",
			parameters: transactionParameters(transaction),
			answers:    []answers{{http.StatusOK, listOf(transaction), "The newest first."}}, serve: listTransactions,
		},
		{
			method: http.MethodGet, path: oneTransact, name: "getTransaction", title: "Show a transaction",
			doc: "By its id, or by the hash of any of its signed encodings.", answers: one, serve: getTransaction,
		},
		{
			method: http.MethodPost, path: oneTransact + "/cancel", name: "cancelTransaction", title: "Cancel a transaction that is not mined",
			doc:     "One that has not left fails at once; for one that has, a transfer of nothing to its own sender competes, with higher fees. No body is needed.",
			answers: one, errors: clash, serve: cancelTransaction,
		},
		{
			method: http.MethodPost, path: oneTransact + "/speed-up", name: "speedUpTransaction", title: "Sign a transaction again with higher fees",
			doc:  "At the same nonce; both encodings are watched.",
			body: newFees(), optional: true, answers: one, errors: clash, serve: speedUpTransaction,
		},
	})
}
