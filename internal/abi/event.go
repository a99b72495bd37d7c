// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Decode decodes a log of the event: an object of its parameters by their keys, in
// order, be they topics or data. The error is a [*DataError].
func (e *Event) Decode(topics []common.Hash, data []byte) (json.RawMessage, error) {
	if want := e.topics(); len(topics) != want {
		return nil, &DataError{Msg: fmt.Sprintf("want %d topics of %s, there are %d", want, excerpt(e.Signature()), len(topics))}
	}
	if !e.Anonymous {
		if topics[0] != e.Topic() {
			return nil, &DataError{Msg: fmt.Sprintf("its topic is not that of %s", excerpt(e.Signature()))}
		}
		topics = topics[1:]
	}
	d, err := newDecoder(data)
	if err != nil {
		return nil, err
	}
	d.out = append(d.out, '{')
	at := 0
	for i := range e.Inputs {
		p := &e.Inputs[i]
		if i > 0 {
			d.out = append(d.out, ',')
		}
		d.out = append(strictjson.AppendString(d.out, p.Key), ':')
		if p.Indexed {
			err = d.topic(p.Type, topics[0])
			topics = topics[1:]
		} else {
			err = d.value(data, at, p.Type)
			at += p.Type.head
		}
		if err != nil {
			return nil, within(p.Key, err)
		}
	}
	return append(d.out, '}'), nil
}

func (d *decoder) topic(t *Type, topic common.Hash) error {
	if t.Word() {
		return d.primitive(topic[:], t)
	}
	d.out = append(d.out, `{"hash":`...)
	d.hex(topic[:])
	d.out = append(d.out, '}')
	return nil
}
