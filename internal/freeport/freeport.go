// SPDX-License-Identifier: Apache-2.0

// Package freeport finds ports for the servers that tests start. They are outside
// of the range from which systems take those of outgoing connections, so that a
// server which is stopped and started again finds its own free.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Systems take ports from 32768 (Linux) or 49152 (IANA) on for outgoing connections.
const first, ports = 12_000, 20_000

// Address is a loopback address on which nobody listened a moment ago.
func Address(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	var err error
	for range 50 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(ports)))
		var l net.Listener
		if l, err = listen.Listen(ctx, "tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("freeport: no port is free: %w", err)
}
