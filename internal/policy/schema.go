// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// schema is a part of a JSON Schema.
type schema map[string]any

// Schema is the JSON Schema (2020-12) of policies, for editors: what it refuses,
// [Parse] refuses too. Parse knows more, such as that names are not given twice,
// and that a condition means something for the actions of its rule.
func Schema() []byte {
	top := closed(schema{
		"version": schema{"const": Version},
		"note":    note(),
		"rules":   schema{"type": "array", "minItems": 1, "maxItems": maxRules, "items": ref("rule")},
		"limits":  schema{"type": "array", "minItems": 1, "maxItems": maxLimits, "items": ref("limit")},
	}, "version")
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "Policy of HSM Signer"
	top["anyOf"] = []schema{{"required": []string{"rules"}}, {"required": []string{"limits"}}}
	top["$defs"] = definitions()
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		panic("policy: the schema is not JSON: " + err.Error()) // it is made of constants
	}
	return append(text, '\n')
}

func definitions() schema {
	rule := conditionSchemas()
	rule["name"], rule["note"] = ref("name"), note()
	rule["effect"] = enum(EffectAllow, EffectDeny, EffectAsk)
	rule["approval"] = ref("approval")
	limit := conditionSchemas()
	limit["name"], limit["note"] = ref("name"), note()
	limit["asset"] = scalar("native, any-token, or a token's address")
	limit["count"] = enum("amounts", "pieces")
	limit["per"] = enum("account", "wallet", "credential", "nothing")
	limit["max"] = scalar("of native: an amount with its unit (10 ether); of tokens: a whole number of the smallest unit")
	limit["window"] = scalar("a duration (90m, 24h, 7d), total, or transaction")

	ruleSchema := closed(rule, "name", "effect")
	ruleSchema["allOf"] = []schema{
		{"if": effectIs(EffectAllow, EffectAsk), "then": schema{"required": []string{"actions"}}},
		{
			"if":   effectIs(EffectAsk),
			"then": schema{"required": []string{"approval"}},
			"else": schema{"properties": schema{"approval": false}},
		},
	}
	return schema{
		"rule":  ruleSchema,
		"limit": closed(limit, "name", "asset", "per", "max", "window"),
		"name":  schema{"type": []string{"string", "number", "boolean"}, "pattern": rulePattern.String()},
		"approval": closed(schema{
			"needed":    schema{"type": "integer", "minimum": 1, "maximum": 20},
			"names":     listOf(schema{"type": "string", "pattern": approverPattern.String()}),
			"roles":     listOf(enum(auth.Roles()...)),
			"addresses": listOf(ref("address")),
			"expires":   scalar("a duration from 1m to 30d; 24h if it is left out"),
		}),
		"address": schema{"type": []string{"string", "number"}, "description": "0x and 40 hexadecimal digits"},
		"bounds":  atLeastOne(closed(schema{"min": scalar("at least, included"), "max": scalar("at most, included")})),
		"test": schema{"anyOf": []schema{
			literalSchema(), literalsSchema(),
			atLeastOne(closed(schema{
				"in": listOf(literalSchema()), "not_in": listOf(literalSchema()),
				"min": scalar("at least, included"), "max": scalar("at most, included"),
				"pattern": scalar("a regular expression (RE2) that the whole text matches"),
			})),
		}},
		"members": schema{
			"type": "object", "minProperties": 1, "additionalProperties": ref("test"),
			"propertyNames": schema{"pattern": pathPattern.String()},
		},
		"period": closed(schema{
			"days": listOf(enum(dayNames...)),
			"from": schema{"type": "string", "pattern": clockPattern.String()},
			"to":   schema{"type": "string", "pattern": clockPattern.String()},
			"zone": schema{"type": "string", "pattern": zonePattern.String()},
		}, "zone"),
	}
}

// conditionSchemas are what rules and limits have in common.
func conditionSchemas() schema {
	text := schema{"type": []string{"string", "number", "boolean"}}
	return schema{
		"actions":           listOf(enum(actionNames()...)),
		"accounts":          setOf(ref("address")),
		"principals":        setOf(text),
		"wallets":           setOf(text),
		"chains":            setOf(text),
		"to":                setOf(ref("address")),
		"transaction_types": listOf(enum(typeNames()...)),
		"data":              enum("none", "some"),
		"value":             ref("bounds"), "gas": ref("bounds"), "max_fee_per_gas": ref("bounds"),
		"max_priority_fee_per_gas": ref("bounds"), "total_fee": ref("bounds"),
		"times": schema{"type": "array", "minItems": 1, "items": ref("period")},
		"methods": listOf(schema{"anyOf": []schema{
			scalar("a signature, like transfer(address to, uint256 amount)"),
			closed(schema{"signature": scalar("of the method"), "args": ref("members")}, "signature"),
		}}),
		"messages": atLeastOne(closed(schema{
			"pattern":   scalar("a regular expression (RE2) that the whole message matches"),
			"contains":  scalar("a regular expression (RE2) that a part of the message matches"),
			"max_bytes": scalar("a size like 512 or 4KiB"),
		})),
		"documents": atLeastOne(closed(schema{
			"media_types": listOf(schema{"type": "string", "pattern": mediaPattern.String()}),
			"max_size":    scalar("a size like 512 or 10MiB"),
		})),
		"typed_data": atLeastOne(closed(schema{
			"names": listOf(text), "versions": listOf(text), "verifying_contracts": listOf(ref("address")),
			"chains": listOf(text), "primary_types": listOf(text), "members": ref("members"),
		})),
	}
}

func ref(name string) schema { return schema{"$ref": "#/$defs/" + name} }

func note() schema { return schema{"type": "string", "description": "for people"} }

// scalar is a value that is read as it is written, whatever YAML takes it for.
func scalar(description string) schema {
	return schema{"type": []string{"string", "number", "boolean"}, "description": description}
}

func enum[T ~string](names ...T) schema { return schema{"enum": names} }

func closed(properties schema, required ...string) schema {
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func atLeastOne(s schema) schema {
	s["minProperties"] = 1
	return s
}

// listOf is a list of items, or a single item.
func listOf(item schema) schema {
	return schema{"anyOf": []schema{item, {"type": "array", "minItems": 1, "items": item}}}
}

func setOf(item schema) schema {
	return schema{"anyOf": []schema{item, {"type": "array", "minItems": 1, "items": item}, atLeastOne(closed(schema{
		"in": listOf(item), "not_in": listOf(item),
	}))}}
}

func literalSchema() schema { return schema{"type": []string{"string", "number", "boolean"}} }

func literalsSchema() schema {
	return schema{"type": "array", "minItems": 1, "items": literalSchema()}
}

func effectIs(effects ...Effect) schema {
	return schema{"properties": schema{"effect": enum(effects...)}, "required": []string{"effect"}}
}
