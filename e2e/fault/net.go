// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"net"
)

// freeAddress is a loopback address nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("fault: free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
