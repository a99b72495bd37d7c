// SPDX-License-Identifier: Apache-2.0

//go:build unix

package node

import "syscall"

// canPeek says that connections can be looked at on this system.
const canPeek = true

// peeker looks at a connection without waiting. Its parts are kept so that a
// look allocates nothing.
type peeker struct {
	nothing bool // has come, and the connection is open
	look    func(fd uintptr) (done bool)
	b       [1]byte
}

func (p *peeker) init() {
	p.look = func(fd uintptr) bool {
		// A byte that is read here is lost, but so is then the connection.
		_, err := syscall.Read(int(fd), p.b[:])
		p.nothing = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	}
}

func (p *peeker) quiet(raw syscall.RawConn) bool {
	p.nothing = false
	return raw.Read(p.look) == nil && p.nothing
}
