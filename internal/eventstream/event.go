// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// event is one event as its receiver gets it.
type event struct {
	Address     string          `json:"address"`
	BlockNumber string          `json:"blockNumber"` // decimal
	BlockHash   common.Hash     `json:"blockHash"`
	TxIndex     string          `json:"transactionIndex"` // 0x
	TxHash      common.Hash     `json:"transactionHash"`
	Data        json.RawMessage `json:"data,omitempty"`
	SubID       string          `json:"subId"`
	Signature   string          `json:"signature"`
	LogIndex    string          `json:"logIndex"` // decimal: the chain's own
	Removed     bool            `json:"removed,omitempty"`
	Timestamp   string          `json:"timestamp,omitempty"` // decimal, seconds since 1970
	InputMethod string          `json:"inputMethod,omitempty"`
	InputArgs   json.RawMessage `json:"-"` // written by step.appendTo, since many events share it
	InputSigner string          `json:"inputSigner,omitempty"`

	// Instead of Data, where the contract wrote what is no such event:
	Error   string        `json:"error,omitempty"`
	Topics  []common.Hash `json:"topics,omitempty"`
	RawData hexutil.Bytes `json:"rawData,omitempty"`
}

func hexAddress(a common.Address) string { return hexutil.Encode(a[:]) }

// subscription is what a runner knows of one.
type subscription struct {
	row     store.Subscription
	event   *abi.Event
	methods *abi.Contract // nil: transactions are not read
	address *common.Address
	span    uint64 // blocks that are asked for at a time

	read  cursor // up to where the chain was read
	done  cursor // up to where the receiver has taken it
	dirty bool   // done is not stored
	maybe []seen // what was on its way before the last restart, and was not read again yet
}

func openSubscription(row store.Subscription) (*subscription, error) {
	parsed, err := abi.Parse([]byte(row.Event))
	if err != nil {
		return nil, err
	}
	if len(parsed.Events) != 1 {
		return nil, fmt.Errorf("eventstream: subscription %s has no event", row.ID)
	}
	u := &subscription{row: row, event: parsed.Events[0], span: firstSpan}
	if len(parsed.Methods) > 0 {
		u.methods = parsed
	}
	if row.Address != "" {
		a := common.HexToAddress(row.Address)
		u.address = &a
	}
	if u.done, err = readCursor(row.Checkpoint); err != nil {
		return nil, err
	}
	u.read = u.done.clone()
	u.maybe, u.read.Maybe = u.read.Maybe, nil
	return u, nil
}

// describe words a log. ok is false if it is another event with the same
// signature, whose parameters are indexed differently: an ERC-721 Transfer where
// that of an ERC-20 token is wanted.
func (u *subscription) describe(l logEntry) (e event, m mark, ok bool) {
	indexed := 1
	for _, p := range u.event.Inputs {
		if p.Indexed {
			indexed++
		}
	}
	if len(l.Topics) != indexed {
		return e, m, false
	}
	m = mark{Tx: *l.TxHash, TxIndex: uint64(*l.TxIndex), Log: uint64(*l.Index), Address: l.Address}
	data, err := u.event.Decode(l.Topics, l.Data)
	m.data = data
	e = u.word(uint64(*l.BlockNumber), *l.BlockHash, m)
	if err != nil {
		var bad *abi.DataError
		e.Error = "its data cannot be decoded"
		if errors.As(err, &bad) {
			e.Error = bad.Error()
		}
		e.Data, e.Topics, e.RawData = nil, l.Topics, l.Data
	}
	return e, m, true
}

// vanished are the steps for what may have been delivered before the last restart,
// and is not of the chain any more, which has these logs up to a block.
func (u *subscription) vanished(logs []logEntry, to uint64) (steps []*step) {
	var later []seen
	for _, m := range u.maybe {
		same := func(l logEntry) bool { return *l.BlockHash == m.Hash && uint64(*l.Index) == m.Marks[0].Log }
		switch {
		case m.Number > to:
			later = append(later, m)
		case !slices.ContainsFunc(logs, same):
			steps = append(steps, u.removal(m, m.Marks[0]))
		}
	}
	u.maybe = later
	slices.Reverse(steps)
	return steps
}

// removal tells an event as removed.
func (u *subscription) removal(block seen, m mark) *step {
	e := u.word(block.Number, block.Hash, m)
	e.Removed = true
	return &step{sub: u, kind: remove, number: block.Number, hash: block.Hash, mark: m, body: encode(e)}
}

// word makes an event of what is remembered of it.
func (u *subscription) word(number uint64, hash common.Hash, m mark) event {
	return event{
		Address: hexAddress(m.Address), BlockNumber: strconv.FormatUint(number, 10), BlockHash: hash,
		TxIndex: hexutil.EncodeUint64(m.TxIndex), TxHash: m.Tx, Data: m.data, SubID: u.row.ID,
		Signature: u.event.Signature(), LogIndex: strconv.FormatUint(m.Log, 10),
	}
}
