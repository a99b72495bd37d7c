// SPDX-License-Identifier: Apache-2.0

package dialrule

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownFor is how long the addresses of this machine are believed.
const ownFor = 30 * time.Second

// ownAddresses are those of this machine's interfaces.
type ownAddresses struct {
	mu   sync.Mutex
	read time.Time
	all  map[netip.Addr]bool
}

func (o *ownAddresses) has(ip netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil || time.Since(o.read) > ownFor {
		o.read, o.all = time.Now(), interfaceAddresses(o.all)
	}
	return o.all[ip]
}

// interfaceAddresses returns old if the system does not say.
func interfaceAddresses(old map[netip.Addr]bool) map[netip.Addr]bool {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return old
	}
	all := make(map[netip.Addr]bool, len(found))
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all[p.Addr().WithZone("").Unmap()] = true
		}
	}
	return all
}
