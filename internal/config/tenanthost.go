// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var dnsName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?$`)

// metadata is dialrule.Metadata, which this package does not import: here it
// only makes early and clear what the dial would refuse.
func metadata() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{
		"169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128",
		"fd00:42::42/128", "168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// metadataNames are names that clouds give to such an address.
func metadataNames() []string {
	return []string{
		"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
		"metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com",
	}
}

// refuses says why a tenant may not name a host, as far as its spelling shows it;
// empty if that is no reason. Package dialrule judges what the name resolves to,
// at each dial, and has the last word: this is to say early what is wrong.
func (e Egress) refuses(host string) string {
	const itself = "is an address of the machine that the signer runs on, and the operator's egress.allow does not have it"
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return e.refusesAddress(ip.WithZone("").Unmap(), itself)
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	switch {
	case slices.Contains(metadataNames(), host):
		return "leads to a service that gives out the machine's own credentials, which no tenant may reach"
	case !dnsName.MatchString(host):
		return "has a host that is no name: want letters, digits, . and - (an international name in its xn-- form)"
	case last[0] >= '0' && last[0] <= '9':
		return "has a host that some take for an IP address: write an address as 203.0.113.7 or [2001:db8::1]"
	case last == "localhost" && !e.allows(netip.MustParseAddr("127.0.0.1")) && !e.allows(netip.IPv6Loopback()):
		return itself
	}
	return ""
}

func (e Egress) refusesAddress(ip netip.Addr, itself string) string {
	switch {
	case holds(metadata(), ip):
		return "leads to a service that gives out the machine's own credentials, which no tenant may reach"
	case holds(e.Deny, ip):
		return "is an address that the operator's egress.deny has"
	case e.allows(ip):
		return ""
	case ip.IsLoopback(), ip.IsUnspecified():
		return itself
	case ip.IsPrivate(), ip.IsMulticast():
		return "is not a public address, and the operator's egress.allow does not have it"
	case e.Only:
		return "is an address that the operator's egress.allow does not have"
	}
	return ""
}

func (e Egress) allows(ip netip.Addr) bool { return holds(e.Allow, ip) }

func holds(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Contains(ip)
	})
}
