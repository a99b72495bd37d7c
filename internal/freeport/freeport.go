// SPDX-License-Identifier: Apache-2.0

// Package freeport finds ports for the servers that tests start. They are outside
// of the range from which systems take those of outgoing connections, so that a
// server which is stopped and started again finds its own free.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Systems take ports from 32768 (Linux) or 49152 (IANA) on for outgoing connections.
const first, ports = 12_000, 20_000

// Address is a loopback address on which nobody listened a moment ago, and that no
// other test on this machine is given while this process lives: packages of tests run
// beside each other, and a server that is started again wants its old port. A program
// that asks nobody may still take it in between: then the start fails, loudly.
func Address(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	var err error
	for range 200 {
		port := first + rand.IntN(ports)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var l net.Listener
		if l, err = listen.Listen(ctx, "tcp", address); err != nil {
			continue
		}
		_ = l.Close()
		given, locked := taken(int64(port))
		if locked != nil {
			return "", fmt.Errorf("freeport: the turn of %s: %w", address, locked)
		}
		if !given {
			return address, nil
		}
		err = errGiven
	}
	return "", fmt.Errorf("freeport: no port is free: %w", err)
}

var errGiven = errors.New("the last that was tried is another test's")
