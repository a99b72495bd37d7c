// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// Gateway describes what is the same for all contracts of a service: interfaces,
// the list of contracts, tokens, replies, event streams. Paths are relative to the
// gateway's.
func Gateway(s Service) ([]byte, error) {
	d := newDocument(s, nil)
	d.anything()
	d.abis()
	d.contracts()
	d.tokens()
	d.replies()
	d.streams()
	return d.write(obj{
		"title": "Gateway of " + plain(s.Name), "version": s.version(),
		"description": "Interfaces and contracts, tokens, replies and event streams. Each contract has a document of its own, at ?openapi of its path, and a page to try it, at ?ui.\n\n" + d.callers(),
	}, s.Base)
}

// operation makes one, of parameters by their names.
func operation(tag, summary string, responses obj, parameters ...string) obj {
	op := obj{"tags": []string{tag}, "summary": summary, "responses": responses}
	if len(parameters) > 0 {
		op["parameters"] = parametersOf(parameters...)
	}
	return op
}

func (d *document) list(doc, of string) obj {
	return failing(obj{"200": response(doc, obj{"type": "array", "items": d.use(of)})})
}

func (d *document) gone() obj {
	return failing(obj{"204": obj{"description": "It is gone."}}, "409")
}

func (d *document) anything() {
	yes := obj{"type": "object", "properties": obj{"ok": obj{"type": "boolean"}}, "required": []string{"ok"}}
	d.put("/status", "get", "status", operation(tagGateway, "Whether the gateway is there", failing(obj{"200": response("It is.", yes)})))
}

func (d *document) abis() {
	d.put("/abis", "get", "listABIs", operation(tagABIs, "List interfaces", d.list("Interfaces.", "ABIInfo"), "limit", "after"))
	upload := operation(tagABIs, "Upload an interface", failing(obj{"200": response("It is kept.", d.use("ABIInfo"))}, "413", "415"))
	upload["description"] = "What Hardhat or Foundry has written of one contract, or an object with abi and bytecode. Solidity is not compiled here."
	name := func(doc string) obj { return obj{"type": "string", "description": doc} }
	artifact := obj{"type": "object", "required": []string{"abi"}, "properties": obj{
		"abi":      obj{"type": "array", "items": obj{"type": "object"}, "description": "The interface, as Solidity's compiler writes it."},
		"bytecode": name("Creation code, 0x and hex digits. Without it nothing can be deployed."),
		"name":     name("What it is called."), "description": name("What it is for."),
	}}
	form := obj{"type": "object", "properties": obj{
		"abi": name("As in JSON, as text."), "bytecode": name("As in JSON."), "name": name("As in JSON."), "description": name("As in JSON."),
		"file": obj{"type": "string", "format": "binary", "description": "In place of abi and bytecode: the file that the compiler has written."},
	}}
	both := content(artifact)
	both["multipart/form-data"] = obj{"schema": form}
	upload["requestBody"] = obj{"required": true, "content": both}
	d.put("/abis", "post", "uploadABI", upload)
	d.put("/abis/{abi}", "get", "showABI", operation(tagABIs, "Show an interface", failing(obj{"200": response("The interface.", d.use("ABIInfo"))}), "abi"))
	d.put("/abis/{abi}", "delete", "deleteABI", operation(tagABIs, "Delete an interface that no contract uses", d.gone(), "abi"))

	deploy := operation(tagABIs, "Deploy a contract of an interface", d.sent(), append([]string{"abi", "register"}, sendParameters(true)...)...)
	deploy["description"] = "The body has the constructor's arguments by name. The interface's own document, at ?openapi, says which they are."
	deploy["requestBody"] = obj{"required": false, "content": content(obj{"type": "object"})}
	d.put("/abis/{abi}", "post", "deploy", deploy)
	d.registration("/abis/{abi}/{address}")
	op := d.paths["/abis/{abi}/{address}"].(obj)["post"].(obj)
	op["parameters"] = append(parametersOf("abi"), op["parameters"].([]any)...)
}

// kinds is the parameter by which lists are narrowed.
func kinds(list ...string) obj {
	return obj{"name": "type", "in": "query", "required": false, "description": "Only of this type.", "schema": obj{"type": "string", "enum": list}}
}

func (d *document) contracts() {
	all := operation(tagContracts, "List contracts", d.list("Contracts.", "ContractInfo"), "limit", "after")
	all["parameters"] = append(all["parameters"].([]any), kinds("contract", "erc20", "erc721"))
	d.put("/contracts", "get", "listContracts", all)
	d.put("/contracts/{contract}", "get", "showContract", operation(tagContracts, "Show a contract", failing(obj{"200": response("The contract.", d.use("ContractInfo"))}), "contract"))
	d.put("/contracts/{contract}", "delete", "forgetContract", operation(tagContracts, "Forget a contract", d.gone(), "contract"))

	method := obj{"name": "method", "in": "path", "required": true, "description": "Its name, or its signature if there are several of the name.", "schema": obj{"type": "string", "minLength": 1}}
	values := obj{"type": "object", "description": "What it returns, by name."}
	ask := operation(tagContracts, "Ask a method of a contract", failing(obj{"200": response("What it returns.", values)}), append([]string{"contract"}, callParameters()...)...)
	ask["description"] = "Its arguments are parameters of the query, by their names. The contract's own document, at ?openapi, says which they are."
	ask["parameters"] = append(ask["parameters"].([]any), method)
	d.put("/contracts/{contract}/{method}", "get", "callMethod", ask)
	send := operation(tagContracts, "Send a transaction to a contract", d.sent(), append([]string{"contract"}, sendParameters(true)...)...)
	send["description"] = "The body has the method's arguments by name, or in order. A method that changes nothing is asked, and answered as with GET."
	send["parameters"] = append(send["parameters"].([]any), method)
	send["requestBody"] = obj{"required": false, "content": content(obj{"type": "object"})}
	d.put("/contracts/{contract}/{method}", "post", "sendMethod", send)
}

func tokenOptions() obj {
	text := func(doc string, most int) obj {
		return obj{"type": "string", "minLength": 1, "maxLength": most, "description": doc}
	}
	amount := func(doc string) obj {
		return obj{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?$`, "description": doc}
	}
	flag := func(doc string) obj { return obj{"type": "boolean", "default": false, "description": doc} }
	return obj{"type": "object", "required": []string{"type", "name", "symbol"}, "additionalProperties": false, "properties": obj{
		"type": obj{"type": "string", "enum": []string{string(token.ERC20), string(token.ERC721)}},
		"name": text("What it is called.", token.MaxName), "symbol": text("Its short name.", token.MaxSymbol),
		"decimals": obj{"type": "integer", "minimum": 0, "maximum": token.MaxDecimals, "description": "Digits after the point, 18 if it is left out. ERC-20 only."},
		"supply":   amount("What there is from the beginning, in whole tokens. Of ERC-721 at most 256."),
		"cap":      amount("What there may be at most, in whole tokens. ERC-20, and with mintable, only."),
		"mintable": flag("The owner may make more."), "burnable": flag("Who has some may destroy it."), "pausable": flag("The owner may stop all transfers."),
		"baseURI": obj{"type": "string", "maxLength": token.MaxBaseURI, "description": "What the URI of each token begins with; its id follows. ERC-721 only."},
		"owner":   obj{"type": "string", "pattern": addressPattern, "description": "Who gets the supply, and may mint and pause. The account that deploys if it is left out."},
	}}
}

func (d *document) tokens() {
	all := operation(tagTokens, "List tokens", d.list("Tokens.", "TokenInfo"), "limit", "after")
	all["parameters"] = append(all["parameters"].([]any), kinds(string(token.ERC20), string(token.ERC721)))
	d.put("/tokens", "get", "listTokens", all)
	deploy := operation(tagTokens, "Deploy a token", d.sent(), append([]string{"register"}, sendParameters(false)...)...)
	deploy["description"] = "Out of OpenZeppelin's contracts, with what is asked for and no more."
	media := content(d.use("TokenOptions"))
	media["application/json"].(obj)["example"] = obj{"type": "erc20", "name": "Gold", "symbol": "GLD", "supply": "1000000", "mintable": true}
	deploy["requestBody"] = obj{"required": true, "content": media}
	d.put("/tokens", "post", "deployToken", deploy)
	d.put("/tokens/{token}", "get", "showToken", operation(tagTokens, "Show a token", failing(obj{"200": response("The token.", d.use("TokenInfo"))}), "token"))

	text := func(doc string) obj { return obj{"type": "string", "description": doc} }
	whole := func(doc string) obj { return obj{"type": "string", "pattern": unsignedPattern, "description": doc} }
	fields := obj{
		string(token.To): text("Who gets it, or is approved."), string(token.From): text("Whose it is; the signing account if it is left out."),
		string(token.Value): whole("How much, in the smallest unit. ERC-20."), string(token.ID): whole("Which one. ERC-721."),
		string(token.Flag): obj{"type": "boolean", "description": "For approveall."},
	}
	for _, op := range []token.Operation{token.Mint, token.Transfer, token.Approve, token.ApproveAll, token.Burn, token.Pause, token.Unpause} {
		o := operation(tagTokens, string(op), d.sent(), append([]string{"token"}, sendParameters(false)...)...)
		if op != token.Pause && op != token.Unpause {
			o["requestBody"] = obj{"required": true, "content": content(obj{"type": "object", "properties": fields, "additionalProperties": false})}
		}
		d.put("/tokens/{token}/"+string(op), "post", "token_"+string(op), o)
	}
	values := obj{"type": "object", "description": "What it returns, by name."}
	query := func(name token.Field, doc string) obj {
		return obj{"name": string(name), "in": "query", "required": true, "description": doc, "schema": obj{"type": "string"}}
	}
	account, spender, id := query(token.Account, "Whose."), query(token.Spender, "Who may transfer."), query(token.ID, "Which one.")
	for _, q := range []struct {
		op    token.Operation
		given []any
	}{
		{token.Balance, []any{account}},
		{token.Allowance, []any{account, spender}},
		{token.OwnerOf, []any{id}},
		{token.TokenURI, []any{id}},
		{token.Supply, nil},
		{token.Name, nil},
		{token.Symbol, nil},
		{token.Decimals, nil},
		{token.Paused, nil},
		{token.Cap, nil},
		{token.Owner, nil},
	} {
		o := operation(tagTokens, string(q.op)+" [read only]", failing(obj{"200": response("What the token says.", values)}), append([]string{"token"}, callParameters()...)...)
		o["parameters"] = append(o["parameters"].([]any), q.given...)
		d.put("/tokens/{token}/"+string(q.op), "get", "token_"+string(q.op), o)
	}
}

func (d *document) replies() {
	one := failing(obj{"200": response("What became of it.", d.use("Reply"))})
	d.put("/replies/{reply}", "get", "showReply", operation(tagReplies, "What became of a request", one, "replyId"))
	all := operation(tagReplies, "List replies", d.list("Replies, the newest first.", "Reply"))
	all["parameters"] = []any{parameter("limit")}
	d.put("/replies", "get", "listReplies", all)
}
