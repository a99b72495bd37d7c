// SPDX-License-Identifier: Apache-2.0

package dialrule

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// A public address of this machine leads past its firewall to what listens here.
func TestOwnPublicAddressIsRefused(t *testing.T) {
	mine := netip.MustParseAddr("8.8.8.8")
	for _, allow := range [][]netip.Prefix{nil, {netip.MustParsePrefix("8.8.8.0/24")}} {
		d, err := NewDialer(Config{Rules: Rules{Allow: allow}})
		if err != nil {
			t.Fatal(err)
		}
		d.own.read, d.own.all = time.Now(), map[netip.Addr]bool{mine: true}
		for _, ip := range []netip.Addr{mine, netip.MustParseAddr("::ffff:8.8.8.8")} {
			if err := d.Check(ip); errors.Is(err, ErrRefused) != (allow == nil) {
				t.Errorf("%s, allowed %v: %v", ip, allow, err)
			}
		}
		if err := d.Check(netip.MustParseAddr("8.8.4.4")); err != nil {
			t.Error(err)
		}
	}
}

func TestAddressesOfThisMachineAreRead(t *testing.T) {
	var own ownAddresses
	if !own.has(netip.MustParseAddr("127.0.0.1")) || own.has(netip.MustParseAddr("8.8.8.8")) {
		t.Errorf("got %v", own.all)
	}
}
