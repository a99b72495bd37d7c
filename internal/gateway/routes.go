// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/gateway/openapi"
)

// The options of what calls, sends or creates.
func callOptions() []string {
	return []string{optionFrom, optionValue, optionGas, optionGasPrice, optionMaxFee, optionTip, optionBlock, optionCall, optionSync, optionHash}
}

func sendOptions() []string {
	return append(callOptions(), optionNonce, optionID, optionAck, optionNoAck)
}

func deployOptions() []string {
	return []string{
		optionFrom, optionValue, optionGas, optionGasPrice, optionMaxFee, optionTip, optionNonce,
		optionSync, optionID, optionAck, optionNoAck, optionRegister,
	}
}

// documentFlags are parameters by which GET on a contract or an interface gives
// another document than its description.
func documentFlags() []string {
	return []string{"openapi", "swagger", "ui", "abi", "factory", "download", "noauth", "schemes", "from"}
}

func none() []string { return []string{} }

// routes is the table of all routes but those of event streams.
func routes() []route {
	table := []route{
		{method: http.MethodGet, path: "/", query: documentFlags(), serve: showGateway},
		{method: http.MethodGet, path: "/openapi.json", query: []string{"download", "noauth", "from"}, serve: showDocument},
		{method: http.MethodGet, path: openapi.AssetPath, query: none(), serve: showPage},
		{method: http.MethodGet, path: openapi.AssetPath + "/{asset}", query: none(), serve: showAsset},
		{method: http.MethodGet, path: "/status", query: none(), serve: showStatus},

		{method: http.MethodGet, path: "/abis", query: []string{"limit", "after"}, serve: listABIs},
		{method: http.MethodPost, path: "/abis", changes: true, query: []string{"name", "description"}, serve: uploadABI},
		{method: http.MethodGet, path: "/abis/{abi}", query: documentFlags(), serve: showABI},
		{method: http.MethodPost, path: "/abis/{abi}", changes: true, options: deployOptions(), serve: deployABI},
		{method: http.MethodDelete, path: "/abis/{abi}", changes: true, query: none(), serve: deleteABI},
		{method: http.MethodGet, path: "/abis/{abi}/{address}", query: documentFlags(), serve: showInstance},
		{method: http.MethodPost, path: "/abis/{abi}/{address}", changes: true, options: []string{optionRegister}, query: none(), serve: registerContract},
		{method: http.MethodGet, path: "/abis/{abi}/{address}/{method}", options: callOptions(), serve: callInstance},
		{method: http.MethodPost, path: "/abis/{abi}/{address}/{method}", options: sendOptions(), serve: callInstance},
		// A method may be called subscribe, and an event is never called as an address.
		{method: http.MethodGet, path: "/abis/{abi}/{event}/subscribe", options: callOptions(), serve: subscribeOrCall},
		{method: http.MethodPost, path: "/abis/{abi}/{event}/subscribe", options: sendOptions(), serve: subscribeOrCall},
		{method: http.MethodPost, path: "/abis/{abi}/{address}/{event}/subscribe", changes: true, query: none(), serve: subscribeInstance},

		{method: http.MethodGet, path: "/contracts", query: []string{"limit", "after", "type"}, serve: listContracts},
		{method: http.MethodGet, path: "/contracts/{contract}", query: documentFlags(), serve: showContract},
		{method: http.MethodDelete, path: "/contracts/{contract}", changes: true, query: none(), serve: forgetContract},
		{method: http.MethodGet, path: "/contracts/{contract}/{method}", options: callOptions(), serve: callContract},
		{method: http.MethodPost, path: "/contracts/{contract}/{method}", options: sendOptions(), serve: callContract},
		{method: http.MethodPost, path: "/contracts/{contract}/{event}/subscribe", changes: true, query: none(), serve: subscribeContract},

		{method: http.MethodGet, path: "/replies", query: []string{"limit", "skip", "since", "from", "before", "start"}, serve: listReplies},
		{method: http.MethodGet, path: "/replies/{reply}", query: none(), serve: showReply},
		{method: http.MethodGet, path: "/reply/{reply}", query: none(), serve: showReply},

		{method: http.MethodPost, path: "/", query: none(), options: hookOptions(), serve: hook},
		{method: http.MethodPost, path: "/hook", query: none(), options: hookOptions(), serve: hook},
		{method: http.MethodPost, path: "/fasthook", query: none(), options: hookOptions(), serve: hook},

		{method: http.MethodGet, path: "/tokens", query: []string{"limit", "after", "type"}, serve: listTokens},
		{method: http.MethodPost, path: "/tokens", changes: true, options: deployOptions(), query: none(), serve: deployToken},
		{method: http.MethodGet, path: "/tokens/{token}", query: none(), serve: showToken},
		{method: http.MethodGet, path: "/tokens/{token}/{operation}", options: callOptions(), serve: useToken},
		{method: http.MethodPost, path: "/tokens/{token}/{operation}", options: sendOptions(), serve: useToken},
	}
	// Other words for the same, which ethconnect has for its registries.
	for _, rt := range table {
		for _, as := range [][2]string{
			{"/contracts/{contract}", "/instances/{contract}"},
			{"/contracts/{contract}", "/i/{contract}"},
			{"/abis/{abi}", "/gateways/{abi}"},
			{"/abis/{abi}", "/g/{abi}"},
		} {
			if rest, is := strings.CutPrefix(rt.path, as[0]); is {
				other := rt
				other.path = as[1] + rest
				table = append(table, other)
			}
		}
	}
	return table
}
