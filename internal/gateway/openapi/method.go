// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"encoding/json"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
)

// The parameters of calls and of transactions, by the names of their components.
func callParameters() []string { return []string{"from", "blocknumber"} }

func sendParameters(payable bool) []string {
	list := []string{"from", "sync", "id"}
	if payable {
		list = append(list, "ethvalue")
	}
	return append(list, "gas", "gasprice", "maxfeepergas", "maxpriorityfeepergas", "nonce")
}

// methods describes all methods of a contract, at paths that begin with prefix.
func (d *document) methods(prefix string, c *abi.Contract) {
	names := map[string]int{}
	for _, m := range c.Methods {
		names[m.Name]++
	}
	for _, m := range c.Methods {
		name := m.Name
		if names[m.Name] > 1 { // a path for each
			name = m.Signature()
		}
		if d.types.nodes += perEntry; d.types.nodes > maxNodes {
			return // write says so
		}
		d.method(prefix+"/"+segment(name), identifier(name), m)
	}
}

// method describes the two ways to a method: GET, which only asks, and POST, which
// asks if the method changes nothing and else sends a transaction.
func (d *document) method(path, id string, m *abi.Method) {
	w := d.docs.methods[m.Signature()]
	if state, is := d.docs.state[m.Name]; is && w.text() == "" {
		w = state
	}
	shared := []any{}
	if strings.Contains(path, "{address}") {
		shared = parametersOf("address")
	}
	out := d.outputs(id, m, w)

	ask := obj{
		"tags": []string{tagRead}, "summary": m.Signature() + " [read only]", "description": w.text(),
		"parameters": append(append(append([]any{}, shared...), d.query(id, m, w)...), parametersOf(callParameters()...)...),
		"responses":  failing(obj{"200": response("What the method returns.", out)}),
	}
	if !m.Constant() {
		ask["tags"], ask["summary"] = []string{tagWrite}, m.Signature()+" [simulated]"
		ask["description"] = strings.TrimSpace("What would be returned if it was sent. Nothing is sent.\n\n" + w.text())
	}
	d.put(path, "get", id+"_get", ask)

	post := obj{"tags": []string{tagRead}, "summary": m.Signature() + " [read only]", "description": w.text()}
	if m.Constant() {
		post["parameters"] = append(append([]any{}, shared...), parametersOf(callParameters()...)...)
		post["responses"] = failing(obj{"200": response("What the method returns.", out)}, "413", "415")
	} else {
		post["tags"], post["summary"] = []string{tagWrite}, m.Signature()
		post["parameters"] = append(append([]any{}, shared...), parametersOf(sendParameters(m.Payable())...)...)
		post["responses"] = d.sent()
	}
	d.body(post, id, m.Inputs, w)
	d.put(path, "post", id+"_post", post)
}

// body describes the arguments of a method as a body.
func (d *document) body(op obj, id string, inputs []abi.Param, w words) {
	if len(inputs) == 0 {
		return
	}
	name := d.types.name(id + "_inputs")
	d.components[name] = d.types.object(inputs, w.params, id)
	media := obj{"schema": ref(name)}
	if v, short := example(inputs); short {
		media["example"] = json.RawMessage(v.AppendTo(nil))
	}
	op["requestBody"] = obj{"required": true, "content": obj{"application/json": media}}
}

// outputs describes what a method returns.
func (d *document) outputs(id string, m *abi.Method, w words) obj {
	name := d.types.name(id + "_outputs")
	said := map[string]string{}
	for i := range m.Outputs {
		p := &m.Outputs[i]
		said[p.Name] = w.returns[p.Name]
		if p.Name == "" && i == 0 {
			said[""] = w.returns["_0"]
		}
	}
	d.components[name] = d.types.object(m.Outputs, said, id)
	return ref(name)
}

// query describes the arguments of a method as parameters of the query. Arrays and
// tuples are JSON text there.
func (d *document) query(id string, m *abi.Method, w words) []any {
	list := make([]any, 0, len(m.Inputs))
	for i := range m.Inputs {
		in := &m.Inputs[i]
		p := obj{"name": in.Key, "in": "query", "required": true}
		if text := w.params[in.Name]; text != "" {
			p["description"] = text
		}
		s := d.types.schema(in.Type, id+"_"+in.Key)
		switch in.Type.Kind {
		case abi.Array, abi.FixedArray, abi.Tuple:
			p["content"] = content(s)
		default:
			p["schema"] = s
		}
		list = append(list, p)
	}
	return list
}

// sent are the answers about a transaction.
func (d *document) sent() obj {
	return failing(obj{
		"200": response("With fly-sync: it is mined, and has succeeded.", d.use("Reply")),
		"202": response("It is accepted. What becomes of it is at the path in reply. With fly-sync, when the wait is over and it is not mined yet, "+
			"this is the reply as it is then.", d.use("Accepted")),
	}, "409", "413", "415")
}

// deployment describes how a contract of an interface is made.
func (d *document) deployment(path string, c *abi.Contract) {
	w := d.docs.methods["constructor"]
	op := obj{
		"tags": []string{tagDeploy}, "summary": "Deploy a contract",
		"description": w.text(), "responses": d.sent(),
	}
	made := c.Constructor
	if made == nil {
		made = &abi.Method{}
	}
	op["parameters"] = append(parametersOf("register"), parametersOf(sendParameters(made.Payable())...)...)
	d.body(op, "constructor", made.Inputs, w)
	d.put(path, "post", "constructor_post", op)
}

// registration describes how a contract that is there gets this interface.
func (d *document) registration(path string) {
	d.put(path, "post", "register_post", obj{
		"tags": []string{tagDeploy}, "summary": "Register a contract that is there",
		"description": "It gets this interface, and a name if one is given: /contracts/NAME is then its path.",
		"parameters":  append(parametersOf("address"), parametersOf("register")...),
		"responses": failing(obj{
			"200": response("It was registered so before.", d.use("ContractInfo")),
			"201": response("It is registered.", d.use("ContractInfo")),
		}, "409"),
	})
}

// events describes how events are subscribed to, and what they hold. kind ends the
// operations' ids.
func (d *document) events(prefix string, c *abi.Contract, kind string) {
	names := map[string]int{}
	for _, e := range c.Events {
		names[e.Name]++
	}
	for _, e := range c.Events {
		if d.types.nodes += perEntry; d.types.nodes > maxNodes {
			return
		}
		called := e.Name
		if names[e.Name] > 1 {
			called = e.Signature()
		}
		id := identifier(called)
		w := d.docs.events[e.Signature()]
		name := d.types.name(id + "_event")
		d.components[name] = d.event(e, w, id)
		text := "Its data is of the schema " + name + "."
		if kind == "subscribe_all" {
			text += " Of whichever contract it comes."
		}
		if said := w.text(); said != "" {
			text = said + "\n\n" + text
		}
		d.put(prefix+"/"+segment(called)+"/subscribe", "post", id+"_"+kind, obj{
			"tags": []string{tagEvents}, "summary": e.Signature() + " [event]", "description": text,
			"requestBody": obj{"required": true, "content": content(d.use("NewSubscription"))},
			"responses":   failing(obj{"200": response("It is subscribed to.", d.use("Subscription"))}, "409", "413", "415"),
		})
	}
}

// event describes what an event's data is. Of an indexed value that takes more than
// a word the chain keeps only a hash.
func (d *document) event(e *abi.Event, w words, id string) obj {
	o := d.types.object(e.Inputs, w.params, id)
	for i := range e.Inputs {
		p := &e.Inputs[i]
		if p.Indexed && !p.Type.Word() {
			hash := obj{"type": "string", "pattern": hashPattern, "description": "Keccak-256 of the value"}
			o["properties"].(obj)[p.Key] = described(obj{"type": "object", "properties": obj{"hash": hash}, "required": []string{"hash"}}, w.params[p.Name])
		}
	}
	return o
}
