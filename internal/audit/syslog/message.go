// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"fmt"
	"os"
	"strconv"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
)

const (
	severity = 6 // informational, RFC 5424 §6.2.1
	// maxSequence is the largest sequenceId, after which it begins with 1 again
	// (§7.3.1).
	maxSequence = 1<<31 - 1
	nothing     = "-"
)

// sequence is the sequenceId of the record at a place of the log.
func sequence(index int64) int64 { return index%maxSequence + 1 }

// message is a record as RFC 5424 §6 writes it. The line is not touched: it is
// the very one that the log has hashed. It is JSON in UTF-8 without a byte order
// mark, which JSON forbids (RFC 8259 §8.1) and §6.4 leaves to the sender.
func (s Server) message(r logbook.Logged) []byte {
	or := func(text string) string {
		if text == "" {
			return nothing
		}
		return text
	}
	return append(fmt.Appendf(nil, "<%d>1 %s %s %s %d %s [meta sequenceId=\"%d\"] ",
		s.Facility*8+severity, r.At.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), or(s.Hostname), or(s.App), os.Getpid(), r.Kind, sequence(r.Index)), r.Line...)
}

// framed is a message in a stream: its length in bytes before it (RFC 6587 §3.4.1,
// RFC 5425 §4.3), since the line says nothing about where others may end one.
func framed(message []byte) []byte {
	out := strconv.AppendInt(make([]byte, 0, len(message)+8), int64(len(message)), 10)
	return append(append(out, ' '), message...)
}
