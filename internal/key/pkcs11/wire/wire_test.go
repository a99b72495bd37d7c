// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func frame(t testing.TB, m wire.Message) []byte {
	t.Helper()
	b, err := wire.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	point := secp.PublicKey{1, 63: 9}
	settings := wire.Settings{Module: "/m.so", Label: "l", Serial: "s", PIN: []byte("1234"), Sessions: 16, Lanes: 5, CloudHSM: true}
	hello := wire.Hello{Sessions: 3, Label: "l", Serial: "s", Manufacturer: "m", Model: "o", Library: "x 1.2"}
	entries := []wire.Entry{
		{ID: []byte{1, 2}, Label: "a", Point: point},
		{ID: []byte{}, Label: "b", Problem: true, Reason: "no public key"},
	}
	failure := &wire.Failure{Kind: wire.Denied, PIN: true, Why: "why"}
	check := func(m wire.Message, read func(wire.Message) (any, error), want any) {
		t.Helper()
		m.ID, m.Left = 7, 1500*time.Millisecond
		back, err := wire.Read(bytes.NewReader(frame(t, m)))
		if err != nil {
			t.Fatal(err)
		}
		if back.ID != 7 || back.Left != m.Left || back.Op != m.Op {
			t.Errorf("got %+v for %+v", back, m)
		}
		if got, err := read(back); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	check(settings.Message(), func(m wire.Message) (any, error) { return m.Settings() }, settings)
	check(hello.Message(7), func(m wire.Message) (any, error) { return m.Hello() }, hello)
	check(wire.Entries(7, wire.More, entries), func(m wire.Message) (any, error) { return m.Entries() }, entries)
	check(failure.Message(7), func(m wire.Message) (any, error) { return m.Failure() }, failure)
}

func TestFullestMessageFits(t *testing.T) {
	long := strings.Repeat("x", 2*wire.MaxText)
	entries := make([]wire.Entry, wire.EntriesPerMessage)
	for i := range entries {
		entries[i] = wire.Entry{ID: make([]byte, 2*wire.MaxID), Label: long, Reason: long}
	}
	m, err := wire.Read(bytes.NewReader(frame(t, wire.Entries(1, wire.Done, entries))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Entries(); err != nil || len(got) != len(entries) || len(got[0].Label) != wire.MaxText {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

func TestBadFramesAreRefused(t *testing.T) {
	good := frame(t, wire.Message{ID: 1, Op: wire.Sign, Fields: [][]byte{{1, 2, 3}}})
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for name, b := range map[string][]byte{
		"length too large":        change(0, 0xff),
		"length too small":        change(3, 3),
		"ends in the length":      good[:2],
		"ends in the frame":       good[:len(good)-1],
		"more fields than there":  change(18, 2),
		"fewer fields than there": change(18, 0),
		"field too long":          change(22, 4),
		"bytes after last field":  change(22, 2),
	} {
		if _, err := wire.Read(bytes.NewReader(b)); !errors.Is(err, wire.ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wire.Read(bytes.NewReader(nil)); !errors.Is(err, io.EOF) || errors.Is(err, wire.ErrFrame) {
		t.Errorf("end of the pipe: %v", err)
	}
	if _, err := wire.Append(nil, wire.Message{Fields: [][]byte{make([]byte, 1<<20)}}); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("a message of 1 MiB: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []wire.Message{
		{},
		wire.Settings{Module: "/m", PIN: []byte("1")}.Message(), wire.Hello{}.Message(1),
		wire.Entries(2, wire.Done, []wire.Entry{{ID: []byte{1}}}), (&wire.Failure{Kind: wire.Denied}).Message(3),
		{Op: wire.Sign, Fields: append(wire.Target([]byte{1}, secp.PublicKey{}), make([]byte, 32))},
	} {
		f.Add(frame(f, m)[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.Decode(b)
		if err != nil {
			if !errors.Is(err, wire.ErrFrame) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		// One message has one encoding.
		if back := frame(t, m); len(b) <= 256<<10 && !bytes.Equal(back[4:], b) {
			t.Fatalf("%x came back as %x", b, back[4:])
		}
		if s, err := m.Settings(); err == nil && !bytes.Equal(frame(t, s.Message())[17:], frame(t, m)[17:]) {
			t.Fatalf("settings %+v", s)
		}
		_, _ = m.Hello()
		_, _ = m.Failure()
		_, _, _ = m.Target(1)
		if entries, err := m.Entries(); err == nil && len(entries)*5 != len(m.Fields) {
			t.Fatalf("%d entries of %d fields", len(entries), len(m.Fields))
		}
	})
}
