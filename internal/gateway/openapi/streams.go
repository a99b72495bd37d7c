// SPDX-License-Identifier: Apache-2.0

package openapi

import "maps"

// streamSchemas are the schemas of event streams and subscriptions.
func streamSchemas() map[string]definition {
	text := func(doc string) obj { return obj{"type": "string", "description": doc} }
	when := func(doc string) obj { return obj{"type": "string", "format": "date-time", "description": doc} }
	number := func(doc string, least, most int) obj {
		return obj{"type": "integer", "minimum": least, "maximum": most, "description": doc}
	}
	flag := func(doc string) obj { return obj{"type": "boolean", "description": doc} }
	choice := func(doc string, of ...string) obj { return obj{"type": "string", "enum": of, "description": doc} }
	object := func(properties obj, required ...string) obj {
		o := obj{"type": "object", "properties": properties}
		if len(required) > 0 {
			o["required"] = required
		}
		return o
	}
	seconds := number("Seconds within which the receiver has to answer; 120 if it is left out.", 1, 300)
	socket := object(obj{
		"topic":            text("Under which clients listen; the stream's name if it is left out."),
		"distributionMode": choice("Whether all clients get each batch, or one of them.", "broadcast", "workloadDistribution"),
		"ackTimeoutSec":    number("Seconds after which a client that does not answer loses its socket.", 1, 3600),
	})
	settings := obj{
		"name":                 text("What it is called."),
		"type":                 choice("How it is delivered.", "webhook", "websocket"),
		"batchSize":            number("Events at most in a batch; 1 if it is left out.", 1, 1000),
		"batchTimeoutMS":       number("Milliseconds for which a batch waits to be filled; 5000 if it is left out.", 0, 300_000),
		"errorHandling":        choice("What is done about a batch that cannot be delivered; block if it is left out.", "block", "skip"),
		"retryTimeoutSec":      number("Seconds for which a batch is tried again before it is blocked or skipped; 120 if it is left out.", 0, 86_400),
		"blockedRetryDelaySec": number("Seconds for which a blocked batch rests; 30 if it is left out.", 1, 3600),
		"timestamps":           flag("Events say when their block was made."),
		"inputs":               flag("Events say which call has made them."),
		"confirmations":        number("Blocks that must stand on an event's block.", 0, 10_000),
		"websocket":            socket,
	}
	wanted, shown := maps.Clone(settings), maps.Clone(settings)
	wanted["webhook"] = object(obj{
		"url": text("Where batches are posted to."), "caCert": text("PEM of the authority that is trusted in place of the system's."),
		"headers":           obj{"type": "object", "additionalProperties": obj{"type": "string"}, "description": "What is sent along. The values are never shown again."},
		"requestTimeoutSec": seconds,
	}, "url")
	shown["webhook"] = object(obj{
		"url": text("Where batches are posted to."), "caCert": text("As it was given."),
		"headerNames": obj{"type": "array", "items": obj{"type": "string"}}, "requestTimeoutSec": seconds,
	}, "url")
	maps.Copy(shown, obj{
		"id": text("Of the stream."), "path": text("Where it is."), "suspended": flag("It delivers nothing until it is resumed."),
		"delivering": flag("A process has it. One of type websocket is nobody's while nobody listens."), "trouble": text("Why the last batch was not delivered."),
		"created": when("When it was made."), "updated": when("When it was changed."),
	})
	from := obj{"type": "string", "pattern": `^(latest|[0-9]+|0x[0-9a-fA-F]+)$`, "description": "Where it begins: the number of a block, or latest."}
	what := obj{"stream": text("The id of the event stream that delivers it."), "name": text("What it is called."), "fromBlock": from}
	whole := maps.Clone(what)
	maps.Copy(whole, obj{
		"event":   obj{"type": "object", "description": "The event's entry in the ABI."},
		"address": obj{"type": "string", "pattern": addressPattern, "description": "The contract; all of them if it is left out."},
	})
	made := maps.Clone(whole)
	maps.Copy(made, obj{
		"id": text("Of the subscription."), "path": text("Where it is."), "signature": text("Of the event."),
		"block":   obj{"type": "integer", "minimum": 0, "description": "The first that is not wholly delivered."},
		"created": when("When it was made."), "updated": when("When it was changed."),
	})
	return map[string]definition{
		"NewEventStream":  {object(wanted, "type"), nil},
		"EventStreamEdit": {object(wanted), nil},
		"EventStream":     {object(shown, "id", "name", "path", "type", "suspended", "delivering", "created", "updated"), nil},
		"NewSubscription": {object(what, "stream"), nil},
		"EventSubscription": {
			object(whole, "stream", "event"), nil,
		},
		"SubscriptionReset": {object(obj{"fromBlock": from}), nil},
		"Subscription":      {object(made, "id", "name", "path", "stream", "event", "signature", "fromBlock", "block", "created", "updated"), nil},
	}
}

// streams describes the routes of event streams and subscriptions.
func (d *document) streams() {
	stream := obj{"name": "stream", "in": "path", "required": true, "schema": obj{"type": "string", "minLength": 1, "maxLength": 64}}
	subscription := obj{"name": "subscription", "in": "path", "required": true, "schema": obj{"type": "string", "minLength": 1, "maxLength": 64}}
	only := obj{"name": "stream", "in": "query", "required": false, "description": "Only of this stream.", "schema": obj{"type": "string", "maxLength": 64}}
	page := parametersOf("limit", "after")

	add := func(path, method, id, title string, responses obj, body string, parameters ...any) {
		op := operation(tagStreams, title, responses)
		if len(parameters) > 0 {
			op["parameters"] = parameters
		}
		if body != "" {
			op["requestBody"] = obj{"required": true, "content": content(d.use(body))}
		}
		d.put(path, method, id, op)
	}
	one := func(name, doc string) obj {
		return failing(obj{"200": response(doc, d.use(name))}, "409", "413", "415")
	}
	const streams, itsStream = "/eventstreams", "/eventstreams/{stream}"
	add(streams, "get", "listEventStreams", "List event streams", d.list("Event streams.", "EventStream"), "", page...)
	add(streams, "post", "createEventStream", "Make an event stream", one("EventStream", "It is made."), "NewEventStream")
	add(itsStream, "get", "showEventStream", "Show an event stream", one("EventStream", "The event stream."), "", stream)
	add(itsStream, "patch", "updateEventStream", "Change an event stream", one("EventStream", "It is changed."), "EventStreamEdit", stream)
	add(itsStream, "delete", "deleteEventStream", "Delete an event stream", d.gone(), "", stream)
	add(itsStream+"/suspend", "post", "suspendEventStream", "Suspend an event stream", one("EventStream", "It delivers nothing until it is resumed."), "", stream)
	add(itsStream+"/resume", "post", "resumeEventStream", "Resume an event stream", one("EventStream", "It delivers from where it was."), "", stream)

	const subscriptions, its = "/subscriptions", "/subscriptions/{subscription}"
	add(subscriptions, "get", "listSubscriptions", "List subscriptions", d.list("Subscriptions.", "Subscription"), "", append(page, only)...)
	add(subscriptions, "post", "createSubscription", "Subscribe to an event", one("Subscription", "It is subscribed to."), "EventSubscription")
	add(its, "get", "showSubscription", "Show a subscription", one("Subscription", "The subscription."), "", subscription)
	add(its, "delete", "deleteSubscription", "Delete a subscription", d.gone(), "", subscription)
	add(its+"/reset", "post", "resetSubscription", "Deliver a subscription anew from a block", one("Subscription", "It begins there."), "SubscriptionReset", subscription)
}
