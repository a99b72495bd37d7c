// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// words says what every field of every answer means.
func words() schema.Words {
	return schema.Words{ //nolint:gosec // words about credentials, none of them
		"_id":            "Ten characters: two of the region, then eight of which the first is a letter. Never changes.",
		"_revision":      "Another one after every change.",
		"created_at":     "When it was made.",
		"updated_at":     "When it was changed last.",
		"state":          "provisioning, started, failed or deleting.",
		"state_reason":   "Why the state is that, and what would change it. For people.",
		"read_only":      "Declared in the config file of the daemon, and changed only there.",
		"name":           "For people.",
		"description":    "For people.",
		"consortium_id":  "The consortium that it stands in.",
		"environment_id": "The environment that it stands in.",
		"membership_id":  "The membership that it belongs to.",

		"Membership.org_name": "The organization.",

		"Environment.provider":       "Kept as it was given.",
		"Environment.consensus_type": "Kept as it was given.",
		"Environment.chain_id":       "If given, all nodes in the environment must be of this chain (EIP-155).",
		"Environment.require_hsm":    "Configurations in the environment must have hardware keys.",

		"Node.chain_id": "The chain (EIP-155) that the node must be on; nothing is signed for another one.",
		"Node.urls":     "rpc and wss: where the node is. Without user, password, path and query, which may hold a key.",

		"Configuration.type":    "cloudhsm.",
		"Configuration.details": "Provider and credentials as they were given, unknown keys too, but never a secret.",

		"Service.service":      "cloudhsm.",
		"Service.service_type": "member.",
		"Service.details":      "cloudhsm_id, node_id, and what else was given.",
		"Service.urls":         "Where the service is reached: http and rpc (JSON-RPC over HTTP), ws and wss (over WebSocket), rest, webui. Flat: every value is a string.",

		"AppCred.auth_type": "basic_auth or mtls.",
		"AppCred.username":  "For HTTP Basic the id of the credential, for mtls the identity in the client certificate.",
		"AppCred.password":  "Only in the answer that made it. It is not stored and cannot be shown again.",

		"APIKey.grants": "What the key may do, and where.",
		"APIKey.key":    "For Authorization: Bearer. Only in the answer that made it. It is not stored and cannot be shown again.",

		"Grant.consortium_id": "Where the role holds; without it, in the whole deployment.",
		"Grant.membership_id": "Whose resources the role is for; without it, all of the consortium's.",
		"role":                "auditor sees everything but secrets; operator also refreshes, resets, labels, cancels and speeds up; admin also changes resources, credentials and keys.",

		"SignedMessage.account":      "Who signed.",
		"SignedMessage.message_hash": "What was signed: Keccak-256 of the message with its prefix (EIP-191).",
		"SignedMessage.signature":    "0x, then r, s and v (27 or 28), 65 bytes.",

		"ServiceStatus.status":          "The same as state, for clients that read this one.",
		"reason":                        "What is wrong. For people.",
		"ServiceStatus.release":         "The version of this program.",
		"ServiceStatus.accounts":        "How many accounts are known.",
		"ServiceStatus.usable_accounts": "How many of them would sign.",
		"ServiceStatus.ready":           "Would sign and send now.",
		"ServiceStatus.listing":         "How far the listing of the backend's keys is. The first makes the accounts; later ones keep them up to date, or are asked for.",
		"ServiceStatus.urls":            "As on the service itself.",
		"Listing.running":               "One runs now.",
		"Listing.keys":                  "Keys found so far by the one that runs, else by the last, before filters.",
		"Listing.problems":              "How many of them cannot be used.",
		"Listing.started_at":            "When that one began.",
		"Listing.finished_at":           "When one last came to its end.",
		"ok":                            "Works.",
		"checked_at":                    "When that was seen.",

		"address":             "EIP-55, with its checksum.",
		"key_ref":             "The immutable reference of the key in its backend.",
		"Account.name":        "What the backend calls the key.",
		"label":               "What people here call the account.",
		"protection":          "hsm, software or unknown.",
		"Account.state":       "enabled, disabled or missing.",
		"tags":                "As the backend has them.",
		"seen_at":             "When the key was last found.",
		"Account.balance":     "wei, in decimal. Only with ?balance.",
		"Account.nonce":       "What the next transaction would get. Only with ?nonce.",
		"found":               "Keys that the filters of the configuration let through.",
		"added":               "Addresses that were not known before.",
		"missing":             "Known addresses whose key was not found.",
		"problems":            "Keys that were found and cannot be used.",
		"AccountProblem.name": "What the backend calls the key.",
		"public_key":          "PEM, SubjectPublicKeyInfo of an RSA key.",
		"algorithm":           "How to wrap: RSA-AES-KEY-WRAP-SHA256 is AES key wrap with padding (RFC 5649) under a random AES-256 key, which is encrypted by RSA-OAEP with SHA-256 and stands before it.",

		"Transaction.id":    "Later ones have larger ids.",
		"wallet":            "The id of the service.",
		"Transaction.state": "offered, queued, held, assigned, signed, sent, mined, superseded; and, final, confirmed, replaced, displaced, failed.",
		"Transaction.kind":  "What it is for: a caller's, a cancellation, …",
		"sender":            "Chain, genesis block and address in one.",
		"from":              "EIP-55.",
		"nonce":             "Once it is assigned.",
		"type":              "Of its envelope (EIP-2718).",
		"to":                "EIP-55; without it, a contract is created.",
		"value":             "wei, in decimal.",
		"gas":               "The limit.",
		"data_bytes":        "How many bytes of data it carries.",
		"fee_ceiling":       "wei per gas, in decimal; replacements never cost more.",
		"hash":              "Of its last signed encoding.",
		"block":             "That it is in.",
		"succeeded":         "Once it is mined: whether it was not reverted.",
		"error":             "Why it failed.",
		"credential":        "Who sent it.",
		"idempotency_key":   "That the caller gave.",
		"replaces":          "The id of the transaction that it competes with.",
		"created":           "When it was accepted.",
		"updated":           "When its state changed last.",
		"expires":           "When it fails if it was not sent by then.",
		"durations":         "How long its stages took, in microseconds. What is left out has not ended, is no stage of this one, or is not known.",
		"queued_us":         "From its acceptance until its signature was asked for.",
		"signed_us":         "From then until the key backend had given it, waits for the backend's quota included.",
		"sent_us":           "From then until a node had answered that it took the bytes.",
		"mined_us":          "From then until its block was seen here.",
		"attempts":          "Its signed encodings; not in lists.",
		"Attempt.id":        "Of this encoding.",
		"Attempt.kind":      "Why it was signed.",
		"outcome":           "What became of it.",
		"epoch":             "Of the lease that it was signed under.",

		"Failure.errorMessage": "What was wrong and what would be right. For people.",
		"Failure.error":        "Of which sort the error is.",
		"Failure.field":        "Of the request, if the error is about one.",
		"Failure.request_id":   "To find the cause of an internal error in the log.",

		"approval_id": "To look for it among the approvals.",
		"rule":        "The rule that asks.",
		"approved":    "How many have approved.",
		"needed":      "How many have to.",
		"expires_at":  "When the request ends by itself.",
		"message":     "For people.",

		"Verification.valid":    "No part fails. What nothing was given for is not judged.",
		"Verification.complete": "Every part was checked, and holds.",
		"Verification.findings": "What came of each part.",
		"Verification.manifest": "What was signed; left out if that part does not hold.",
		"Finding.part":          "bundle, manifest, document, signer, public_key, jws, eip191, checkpoint, intent or outcomes.",
		"Finding.result":        "holds, fails or not checked.",
		"Finding.why":           "Why it does not hold, or was not checked. For people.",

		"scope":                    "deployment, consortium:<id>, membership:<id>, service:<id> or credential:<id>; declared and declared:<wallet> for the config file of the daemon.",
		"Policy.active":            "What counts; left out if nothing does.",
		"Policy.proposed":          "What waits for another admin.",
		"Policy.declared":          "What the config file of the daemon says for this scope, which has to allow, too.",
		"Policy.outer":             "Wider scopes that have rules: all of them have to allow, too. Their rules are shown to their admins.",
		"policy_approvals":         "How many admins beside its author a new version of a policy needs: 0 or 1.",
		"document":                 "The rules: YAML or JSON.",
		"document_sha256":          "Of the document's bytes, in hex.",
		"version":                  "Counted from 1.",
		"PolicyVersion.state":      "proposed, active, past or rejected.",
		"PolicyVersion.author":     "Who has written it.",
		"PolicyVersion.approver":   "Who has approved or rejected it.",
		"author_name":              "What people call the author; left out where it is not known any more.",
		"approver_name":            "What people call the approver; left out where it is not known any more.",
		"PolicyVersion.comment":    "For people.",
		"PolicyVersion.decided_at": "When it was approved or rejected, or began to count.",
		"PolicyVersion.problem":    "Why nothing is signed in this scope although there are rules.",
		"PolicyVerdict.effect":     "allow, deny or ask.",
		"PolicyVerdict.rule":       "The rule or limit that decides, after its scope.",
		"PolicyVerdict.policies":   "What each policy that applies says, the widest scope first.",
		"PolicyVerdict.limits":     "What the request would take off limits.",
		"PolicyOpinion.effect":     "allow, deny or ask.",
		"PolicyOpinion.rule":       "The rule or limit that decides in this policy.",
		"PolicyOpinion.version":    "0 for the config file's.",
		"PolicyOpinion.steps":      "Every rule of it; empty if the caller may not read them.",
		"PolicyStep.effect":        "Of the rule; left out for a limit.",
		"PolicyStep.rule":          "The rule or limit.",
		"PolicyStep.matched":       "Whether the request is what the rule is about.",
		"PolicyStep.why":           "For people.",
		"limit":                    "Its name, after its scope.",
		"asset":                    "native, or the address of a token.",
		"LimitTake.amount":         "What the request would take: wei, or the token's smallest unit; or unlimited.",
		"used":                     "What counts now: wei, or the token's smallest unit.",
		"max":                      "The most that may: wei, or the token's smallest unit.",
		"left":                     "What is left: wei, or the token's smallest unit.",
		"window":                   "How long an amount counts; left out if it does for ever.",
		"LimitTake.holds":          "Whether there is enough left.",
		"LimitUsage.per":           "What it is counted for, if not for all together.",
		"Freeze.scope":             "everything, membership:<id>, wallet:<name> or account:<wallet>:<address>.",
		"Freeze.by":                "Who has frozen it; left out if that is somebody above the caller.",
		"Freeze.at":                "When.",
		"Freeze.service_id":        "The service that it is about.",
		"Freeze.above":             "Somebody above the caller has frozen it, and alone can release it.",
		"Freeze.address":           "The account that it is about.",
		"FreezeState.frozen":       "Nothing is signed and nothing is sent.",
		"FreezeState.freezes":      "What holds here, the widest scope first.",
		"FreezeState.known":        "false while the store does not answer: then everything counts as frozen.",

		"GatewayInfo.abis":         "Path of the interfaces that are kept.",
		"GatewayInfo.contracts":    "Path of the contracts that are known.",
		"GatewayInfo.tokens":       "Path of those that are tokens.",
		"GatewayInfo.replies":      "Path of what became of the caller's transactions.",
		"GatewayInfo.eventstreams": "Path of the event streams.",
		"GatewayInfo.openapi":      "Path of the document that describes the gateway.",
		"GatewayInfo.may_change":   "The caller may send and change, and not only look.",

		"Trial.ok":      "The backend let us list its keys.",
		"Trial.keys":    "The first of them.",
		"Trial.more":    "There are more than these.",
		"Trial.took_ms": "How long it took, in milliseconds.",

		"Caller.name":   "key:<id> or person:<subject>.",
		"Caller.grants": "What the caller may do, and where.",
	}
}

// Caller is the answer to GET /whoami.
type Caller struct {
	Name   string       `json:"name"`
	Grants []auth.Grant `json:"grants"`
}

// shape describes what the API answers with.
func shape[T any]() *schema.Schema { return schema.Of(reflect.TypeFor[T](), words()) }

// failureShape lists the sorts of errors.
func failureShape() *schema.Schema {
	s := shape[Failure]()
	s.Name = "Error"
	s.Properties["error"].Enum = []string{
		string(platform.Invalid), unauthenticated, string(platform.Forbidden), string(platform.NotFound), methodWrong,
		string(platform.Conflict), tooLarge, tooSlow, mediaWrong, string(platform.Unsupported), rateLimited, internal, string(platform.Unavailable),
	}
	return s
}
