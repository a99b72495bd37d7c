// SPDX-License-Identifier: Apache-2.0

package dialrule

import "net/netip"

// block is a range that is not for the public internet.
type block struct {
	prefix netip.Prefix
	what   string
}

// The IANA registries of special-purpose addresses, as of 2025, with what the
// clouds serve their machines' credentials from.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
func blocks() []block {
	return []block{
		{netip.MustParsePrefix("0.0.0.0/8"), "unspecified (RFC 791)"},
		{netip.MustParsePrefix("10.0.0.0/8"), "private (RFC 1918)"},
		{netip.MustParsePrefix("100.64.0.0/10"), "a provider's shared address (RFC 6598)"},
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
		{netip.MustParsePrefix("168.63.129.16/32"), "Azure's platform address"},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927), where clouds serve credentials"},
		{netip.MustParsePrefix("172.16.0.0/12"), "private (RFC 1918)"},
		{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols (RFC 6890)"},
		{netip.MustParsePrefix("192.0.2.0/24"), "for documentation (RFC 5737)"},
		{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay (RFC 7526)"},
		{netip.MustParsePrefix("192.168.0.0/16"), "private (RFC 1918)"},
		{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks (RFC 2544)"},
		{netip.MustParsePrefix("198.51.100.0/24"), "for documentation (RFC 5737)"},
		{netip.MustParsePrefix("203.0.113.0/24"), "for documentation (RFC 5737)"},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
		{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112)"},

		{netip.MustParsePrefix("::/128"), "unspecified"},
		{netip.MustParsePrefix("::1/128"), "loopback"},
		{netip.MustParsePrefix("2001::/23"), "reserved for protocols (RFC 2928)"},
		{netip.MustParsePrefix("2001:db8::/32"), "for documentation (RFC 3849)"},
		{netip.MustParsePrefix("3fff::/20"), "for documentation (RFC 9637)"},
		{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)"},
		{netip.MustParsePrefix("fe80::/10"), "link-local"},
		{netip.MustParsePrefix("fec0::/10"), "site-local (RFC 3879)"},
		{netip.MustParsePrefix("ff00::/8"), "multicast"},
	}
}

// special says what an unmapped address is, if it is not public unicast.
func special(ip netip.Addr) string {
	for _, b := range blocks() {
		if b.prefix.Contains(ip) {
			return b.what
		}
	}
	if ip.Is4() || netip.MustParsePrefix("2000::/3").Contains(ip) || nat64().Contains(ip) {
		return ""
	}
	return "not public unicast (RFC 4291)"
}

// nat64 is the well-known prefix by which IPv6-only hosts reach IPv4 (RFC 6052).
func nat64() netip.Prefix { return netip.MustParsePrefix("64:ff9b::/96") }

// embedded returns the IPv4 addresses that traffic to ip may end at.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	var all []netip.Addr
	switch {
	case nat64().Contains(ip):
		all = append(all, v4(12))
	case netip.MustParsePrefix("64:ff9b:1::/48").Contains(ip): // RFC 8215, with any of RFC 6052's lengths
		all = append(all, v4(12), netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}), v4(9))
	case netip.MustParsePrefix("2002::/16").Contains(ip): // 6to4, RFC 3056
		all = append(all, v4(2))
	case netip.MustParsePrefix("2001::/32").Contains(ip): // Teredo, RFC 4380: server, and client with its bits inverted
		all = append(all, v4(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	case netip.MustParsePrefix("::/96").Contains(ip) && !ip.IsUnspecified() && !ip.IsLoopback(): // RFC 4291 §2.5.5.1
		all = append(all, v4(12))
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		all = append(all, v4(12))
	}
	return all
}

// Metadata is where clouds serve credentials to their machines and containers:
// all that is link-local, and the addresses that are not. No tenant has any
// business there.
func Metadata() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"),         // AWS, Azure, Google, and their containers' (169.254.170.2, 169.254.170.23)
		netip.MustParsePrefix("fe80::/10"),              // OpenStack: fe80::a9fe:a9fe
		netip.MustParsePrefix("fd00:ec2::/32"),          // AWS: fd00:ec2::254, and EKS's fd00:ec2::23
		netip.MustParsePrefix("fd20:ce::254/128"),       // Google
		netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
		netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
		netip.MustParsePrefix("168.63.129.16/32"),       // Azure's platform
		netip.MustParsePrefix("192.0.0.192/32"),         // Oracle, classic
		netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
	}
}
