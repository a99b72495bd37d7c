// SPDX-License-Identifier: Apache-2.0

package openapi_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/gateway"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// members are those that encoding/json writes of a struct, and which of them always.
func members(t reflect.Type) (all, always []string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			some, sure := members(f.Type)
			all, always = append(all, some...), append(always, sure...)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		all = append(all, name)
		if !strings.Contains(options, "omit") {
			always = append(always, name)
		}
	}
	return all, always
}

// What the documents say of answers is what the gateway writes: every member, and
// none that is not always there is said to be.
func TestAnswersAreAsTheGatewayWritesThem(t *testing.T) {
	documents := documents(t)
	for name, of := range map[string]reflect.Type{
		"Error": reflect.TypeFor[gateway.Failure](), "Revert": reflect.TypeFor[gateway.Revert](), "Approval": reflect.TypeFor[gateway.Approval](),
		"Accepted": reflect.TypeFor[gateway.Accepted](), "Reply": reflect.TypeFor[gateway.Reply](), "ReplyHeaders": reflect.TypeFor[gateway.ReplyHeaders](),
		"ReplyEvent": reflect.TypeFor[gateway.ReplyEvent](), "ABIInfo": reflect.TypeFor[gateway.ABIInfo](), "ContractInfo": reflect.TypeFor[gateway.ContractInfo](),
		"TokenInfo": reflect.TypeFor[gateway.TokenInfo](), "EventStream": reflect.TypeFor[gateway.StreamInfo](), "Subscription": reflect.TypeFor[gateway.SubscriptionInfo](),
		"TokenOptions": reflect.TypeFor[token.Options](),
	} {
		described := at(t, documents["gateway"], "components", "schemas", name).(obj)
		var got []string
		for member := range described["properties"].(obj) {
			got = append(got, member)
		}
		want, always := members(of)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s\n has %v\nwant %v", name, got, want)
		}
		required, _ := described["required"].([]any)
		for _, r := range required {
			if !slices.Contains(always, r.(string)) {
				t.Errorf("%s says that %s is always there", name, r)
			}
		}
	}
}
