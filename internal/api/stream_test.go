// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// large is a document of so many bytes that is nowhere in memory. From time to
// time it looks how much the process has on its heap.
type large struct {
	left, looked int64
	most         uint64
}

func (l *large) Read(b []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), l.left)) // what is in b stands for something
	if l.left -= int64(n); l.looked-l.left > 16<<20 || l.looked == 0 {
		l.looked = l.left
		l.most = max(l.most, inUse())
	}
	return n, nil
}

// inUse is what the heap has, garbage included.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// 1 GiB by default; DOCUMENT_BYTES asks for another size.
func TestLargeDocumentIsHashedInConstantMemory(t *testing.T) {
	size := int64(1 << 30)
	if text := os.Getenv("DOCUMENT_BYTES"); text != "" {
		var err error
		size, err = strconv.ParseInt(text, 10, 64)
		must(t, err)
	}
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	path := ours.at() + "/services/" + ours.service + "/signatures?account=" + r.notary.address().Hex()
	r.want(r.post(bearer(ours.key), path, "", strings.NewReader(paper)), 201) // what is made once
	runtime.GC()
	before := inUse()
	started := time.Now()
	document := &large{left: size}
	a := r.want(r.post(bearer(ours.key), path+"&size="+strconv.FormatInt(size, 10), "", document), 201)
	took := time.Since(started)
	if !strings.Contains(a.text, fmt.Sprintf(`\"size\":%d`, size)) {
		t.Error(a.text)
	}
	grown := int64(document.most) - int64(before)
	t.Logf("%d MiB in %s; the heap of client and server grew by %d KiB", size>>20, took.Round(time.Millisecond), grown>>10)
	if grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes for a document of %d", grown, size)
	}
}

// A body that a client sends piece by piece.
func (r *rig) pieces(n tenant, query string) (send *io.PipeWriter, answer <-chan seen) {
	r.t.Helper()
	read, write := io.Pipe()
	r.t.Cleanup(func() { write.Close() })
	answers := make(chan seen, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.t.Context()), http.MethodPost,
			r.server.URL+Base+n.at()+"/services/"+n.service+"/signatures?account="+r.notary.address().Hex()+query, read)
		if err != nil {
			answers <- seen{text: err.Error()}
			return
		}
		bearer(n.key)(req)
		res, err := r.server.Client().Do(req)
		if err != nil {
			answers <- seen{text: err.Error()}
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			text = append(text, err.Error()...)
		}
		answers <- seen{code: res.StatusCode, text: string(text), header: res.Header}
	}()
	return write, answers
}

func within(t *testing.T, answer <-chan seen) seen {
	t.Helper()
	select {
	case a := <-answer:
		return a
	case <-time.After(time.Minute):
		t.Fatal("no answer within a minute")
		return seen{}
	}
}

func TestBodyThatComesTooSlowlyIsGivenUp(t *testing.T) {
	r := newRig(t)
	r.management.streams.grace = 2 * time.Second
	ours := r.tenant("ours", "", "")
	send, answer := r.pieces(ours, "")
	_, err := io.WriteString(send, "one")
	must(t, err)
	a := within(t, answer)
	if a.code != http.StatusRequestTimeout || !strings.Contains(a.text, tooSlow) {
		t.Errorf("%d %s", a.code, a.text)
	}
	// One that goes on is read, however long it takes.
	send, answer = r.pieces(ours, "")
	piece := make([]byte, streamSlowest)
	h := sha256.New()
	for range 12 {
		_, err := send.Write(piece)
		must(t, err)
		h.Write(piece)
		time.Sleep(250 * time.Millisecond)
	}
	must(t, send.Close())
	if a := within(t, answer); a.code != 201 || !strings.Contains(a.text, fmt.Sprintf("%x", h.Sum(nil))) {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestBodyThatIsCutOffSignsNothing(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	send, answer := r.pieces(ours, "")
	_, err := io.WriteString(send, "one")
	must(t, err)
	must(t, send.CloseWithError(io.ErrUnexpectedEOF))
	within(t, answer)
	time.Sleep(100 * time.Millisecond)
	r.notary.mu.Lock()
	defer r.notary.mu.Unlock()
	if len(r.notary.who) != 0 {
		t.Error("half a document was signed")
	}
}

// TestWhoIsRevokedWhileSendingGetsNoSignature: an upload may take its time.
func TestWhoIsRevokedWhileSendingGetsNoSignature(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	send, answer := r.pieces(ours, "")
	_, err := io.WriteString(send, "one")
	must(t, err)
	_, err = r.platform.Delete(t.Context(), auth.Operating(), platform.APIKeys, platform.Path{ID: ours.id})
	must(t, err)
	must(t, send.Close())
	if a := within(t, answer); a.code != 401 {
		t.Errorf("%d %s", a.code, a.text)
	}
	r.notary.mu.Lock()
	defer r.notary.mu.Unlock()
	if len(r.notary.who) != 0 {
		t.Error("a document was signed for a key that was deleted")
	}
}

func TestOneCallerSendsSoManyLargeBodiesAtOnceAndNoMore(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	other := r.tenant("other", "", "")
	var sending []*io.PipeWriter
	var answers []<-chan seen
	for range streamsEach {
		send, answer := r.pieces(ours, "")
		_, err := io.WriteString(send, "one") // it is being read
		must(t, err)
		sending, answers = append(sending, send), append(answers, answer)
	}
	path := "/services/" + ours.service + "/signatures?account=" + r.notary.address().Hex()
	full := time.Now().Add(time.Minute)
	for {
		r.management.streams.mu.Lock()
		n := r.management.streams.open["key:"+ours.id]
		r.management.streams.mu.Unlock()
		if n == streamsEach {
			break
		}
		if time.Now().After(full) {
			t.Fatalf("%d are being read", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if a := r.post(bearer(ours.key), ours.at()+path, "", strings.NewReader(paper)); a.code != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s", a.code, a.text)
	}
	path = "/services/" + other.service + "/signatures?account=" + r.notary.address().Hex()
	r.want(r.post(bearer(other.key), other.at()+path, "", strings.NewReader(paper)), 201)
	for i, send := range sending {
		must(t, send.Close())
		if a := within(t, answers[i]); a.code != 201 {
			t.Errorf("%d %s", a.code, a.text)
		}
	}
	r.server.Close() // waits for what counts them
	if left := len(r.management.streams.open); left != 0 {
		t.Errorf("%d are still counted", left)
	}
}
