// SPDX-License-Identifier: Apache-2.0

package openapi

import "maps"

// parameters are those that begin with fly-, by their names without it. from is the
// default of the parameter of that name.
func parameters(from string) obj {
	query := func(name, doc string, schema obj) obj {
		return obj{"name": "fly-" + name, "in": "query", "required": false, "description": doc, "schema": schema}
	}
	whole := obj{"type": "string", "pattern": unsignedPattern}
	flag := obj{"type": "boolean"}
	account := obj{"type": "string", "pattern": addressPattern}
	if from != "" {
		account["default"] = from
	}
	return obj{
		"from":                 query("from", "The account that signs. A transaction needs it; for a call it is who is said to ask.", account),
		"ethvalue":             query("ethvalue", "Ether that goes with it, in wei.", whole),
		"gas":                  query("gas", "The most gas that it may use; estimated if it is left out.", whole),
		"gasprice":             query("gasprice", "Wei per gas, of a legacy transaction.", whole),
		"maxfeepergas":         query("maxfeepergas", "Wei per gas at most (EIP-1559).", whole),
		"maxpriorityfeepergas": query("maxpriorityfeepergas", "Wei per gas for the block's maker (EIP-1559).", whole),
		"nonce":                query("nonce", "The nonce. It is assigned if it is left out, as it should be.", whole),
		"sync":                 query("sync", "Wait until it is mined, and answer with the reply.", flag),
		"blocknumber": query("blocknumber", "As of which block: a number, latest, earliest, pending, safe or finalized. The latest if it is left out.",
			obj{"type": "string", "pattern": `^(latest|earliest|pending|safe|finalized|[0-9]+|0x[0-9a-fA-F]+)$`}),
		"register": query("register", "The name that the contract is to have.", obj{"type": "string", "minLength": 1, "maxLength": 64}),
		"id": query("id", "Your id of this request. Made again with the same id, it is sent once only and answered the same; the reply has this id too.",
			obj{"type": "string", "minLength": 1, "maxLength": 128}),
		"address":  obj{"name": "address", "in": "path", "required": true, "description": "The contract.", "schema": obj{"type": "string", "pattern": addressPattern}},
		"contract": obj{"name": "contract", "in": "path", "required": true, "description": "The contract's address or name.", "schema": obj{"type": "string", "minLength": 1, "maxLength": 128}},
		"token":    obj{"name": "token", "in": "path", "required": true, "description": "The token's address or name.", "schema": obj{"type": "string", "minLength": 1, "maxLength": 128}},
		"abi":      obj{"name": "abi", "in": "path", "required": true, "description": "The interface's id.", "schema": obj{"type": "string", "minLength": 1, "maxLength": 64}},
		"replyId":  obj{"name": "reply", "in": "path", "required": true, "description": "The request's id.", "schema": obj{"type": "string", "minLength": 1, "maxLength": 128}},
		"limit":    obj{"name": "limit", "in": "query", "required": false, "description": "At most so many.", "schema": obj{"type": "integer", "minimum": 0, "maximum": 200}},
		"after":    obj{"name": "after", "in": "query", "required": false, "description": "The id of the last one of the page before.", "schema": obj{"type": "string", "maxLength": 64}},
	}
}

// failureName is the component of the answers with a status.
func failureName(code string) string {
	return map[string]string{
		"400": "Invalid", "401": "Unauthenticated", "403": "Forbidden", "404": "NotFound", "409": "Conflict", "413": "TooLarge", "415": "MediaType",
		"429": "RateLimited", "500": "Failed", "502": "Unavailable", "503": "Busy", "504": "Pending",
	}[code]
}

func failures() obj {
	all := obj{}
	for code, text := range map[string]string{
		"400": "The request is wrong, or the contract refuses it: revert says with which error. Nothing was sent.",
		"401": "No credentials, or wrong ones.",
		"403": "A rule denies it, or wants people asked first: approval names their request. Nothing was sent.",
		"404": "There is no such contract, interface, method or account.",
		"409": "A name or an id is taken, an account is frozen, or something is in use. Nothing was changed.",
		"413": "The body is too large.",
		"415": "The body is not said to be application/json or application/x-yaml.",
		"429": "Too many requests.",
		"500": "With fly-sync: it was mined and has failed, and the body is the reply. Else a mistake in this program; the log has its cause under request_id.",
		"502": "The node or the key backend fails.",
		"503": "Too busy, or not ready. Nothing was sent.",
		"504": "No answer in time. It may still be sent: make the same request again with the same id.",
	} {
		r := response(text, ref("Error"))
		if code == "429" || code == "503" {
			r["headers"] = obj{"Retry-After": obj{"description": "Seconds.", "schema": obj{"type": "string"}}}
		}
		all[failureName(code)] = r
	}
	return all
}

// definition is a fixed schema and the others that it refers to.
type definition struct {
	schema obj
	uses   []string
}

// fixed are the schemas that are the same in every document. What package gateway
// writes is as they say; a test compares them.
func fixed() map[string]definition {
	text := func(doc string) obj { return obj{"type": "string", "description": doc} }
	number := func(doc string) obj { return obj{"type": "string", "pattern": "^[0-9]+$", "description": doc} }
	hash := func(doc string) obj { return obj{"type": "string", "pattern": hashPattern, "description": doc} }
	address := func(doc string) obj {
		return obj{"type": "string", "pattern": `^0x[0-9a-f]{40}$`, "description": doc}
	}
	when := func(doc string) obj { return obj{"type": "string", "format": "date-time", "description": doc} }
	yes := func(doc string) obj { return obj{"type": "boolean", "description": doc} }
	object := func(properties obj, required ...string) obj {
		o := obj{"type": "object", "properties": properties}
		if len(required) > 0 {
			o["required"] = required
		}
		return o
	}
	contract := obj{
		"id": text("Of its entry."), "created": when("When it was registered."), "address": address("Left out while it is being deployed."),
		"path": text("Where it is called."), "abi": text("The id of its interface."), "openapi": text("Where its document is."),
		"registeredAs": text("Its name."), "type": obj{"type": "string", "enum": []string{"contract", "erc20", "erc721"}},
		"reply": text("The id of the deployment's reply."), "deploying": yes("Its deployment is not mined yet."),
	}
	tokenInfo := obj{"options": ref("TokenOptions"), "operations": obj{"type": "array", "items": obj{"type": "string"}, "description": "What the token offers."}}
	for name, s := range contract {
		tokenInfo[name] = s
	}
	all := map[string]definition{
		"Error": {object(obj{
			"error": text("What was wrong, and what would be right."), "code": text("The sort of error, for programs."),
			"revert": ref("Revert"), "approval": ref("Approval"),
			"reply": text("The id of the reply by which the end is known."), "request_id": text("Under which the log has the cause."),
		}, "error", "code"), []string{"Revert", "Approval"}},
		"Revert": {object(obj{
			"name": text("Error, Panic, or the contract's own error."), "signature": text("Of the error."), "reason": text("In words."),
			"args": obj{"description": "Of the contract's own error."}, "data": text("As it came from the chain, 0x and hex digits."),
		}, "data"), nil},
		"Approval": {object(obj{
			"id": text("Of the request to people."), "rule": text("Which wants it."), "have": obj{"type": "integer"}, "need": obj{"type": "integer"},
			"expires": when("When it lapses."),
		}, "id", "rule", "have", "need", "expires"), nil},
		"Accepted": {object(obj{
			"sent": yes("It is accepted."), "id": text("Of the reply."), "transactionHash": hash("Left out while it is not known."), "reply": text("The path of the reply."),
		}), nil},
		"Reply": {object(obj{
			"headers": ref("ReplyHeaders"), "_id": text("Of the request."), "receivedAt": when("When it was accepted."), "pending": yes("It is not mined yet."),
			"final":     yes("No reorganisation of the chain changes it any more."),
			"blockHash": hash(""), "blockNumber": number(""), "transactionHash": hash(""), "transactionIndex": number(""),
			"from": address(""), "to": address(""), "nonce": number(""), "value": number("Wei."), "status": number("1, or 0 if it was reverted."),
			"gasUsed": number(""), "cumulativeGasUsed": number(""), "effectiveGasPrice": number("Wei per gas."),
			"contractAddress": address("Of the contract that it has created."), "openapi": text("Where that contract's document is."),
			"apiexerciser": text("Where it can be tried."), "registerAs": text("The name that it has."),
			"method": text("The signature of what was called."), "events": obj{"type": "array", "items": ref("ReplyEvent")}, "revert": ref("Revert"),
			"errorMessage": text("Why it failed."), "errorCode": text("The sort of error, for programs."),
		}, "headers", "_id", "receivedAt", "final", "from"), []string{"ReplyHeaders", "ReplyEvent", "Revert"}},
		"ReplyHeaders": {object(obj{
			"id": text("Of the request."), "type": obj{"type": "string", "enum": []string{"TransactionPending", "TransactionSuccess", "TransactionFailure", "Error"}},
			"timeReceived": when(""), "timeElapsed": obj{"type": "number", "description": "Seconds."}, "requestId": text("Of the request."),
			"requestABIId": text("The id of the interface."), "transactionId": text("By which the management API has the transaction."),
		}, "id", "type", "timeReceived", "timeElapsed", "requestId", "transactionId"), nil},
		"ReplyEvent": {object(obj{
			"address": address("The contract that it is of."), "name": text(""), "signature": text(""), "logIndex": number("Within the block."),
			"data": obj{"type": "object", "description": "Its arguments by name."},
		}, "address", "name", "signature", "logIndex", "data"), nil},
		"ABIInfo": {object(obj{
			"id": text(""), "created": when(""), "name": text(""), "description": text(""), "path": text("Where it is deployed and shown."),
			"deployable": yes("It has bytecode."), "openapi": text("Where its document is."), "compilerVersion": text(""),
		}, "id", "created", "name", "description", "path", "deployable", "openapi", "compilerVersion"), nil},
		"ContractInfo": {object(contract, "path", "abi", "openapi"), nil},
		"TokenInfo":    {object(tokenInfo, "path", "abi", "openapi"), []string{"TokenOptions"}},
		"TokenOptions": {tokenOptions(), nil},
	}
	maps.Copy(all, streamSchemas())
	return all
}
