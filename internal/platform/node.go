// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"math"
	"net/url"
	"slices"
)

func (p *Platform) fillNode(ctx context.Context, d *draft, b body, fresh bool) error {
	if err := d.stays(b); err != nil {
		return err
	}
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	if err := p.fillNodeChain(ctx, d, b, fresh); err != nil {
		return err
	}
	urls, given, err := b.object("urls")
	if err != nil {
		return err
	}
	if !given {
		if fresh {
			return invalid("urls", `is missing: want the node, like {"rpc": "https://node.example.org:8545"}`)
		}
		return nil
	}
	was, err := p.open(ctx, d.row)
	if err != nil {
		return err
	}
	whole := was.Secret
	if whole == nil {
		whole = make(map[string]any)
	}
	if !fresh { // what was sealed counts, whatever others than the API made of the row
		d.changed.note("urls", was.altered(d.row))
		d.data.ChainID, d.data.URLs = was.ChainID, openURLs(whole)
	}
	for _, name := range []string{"rpc", "wss"} {
		if err := d.fillURL(urls, name, whole); err != nil {
			return err
		}
	}
	if err := d.unaskedURL(urls, whole); err != nil {
		return err
	}
	switch {
	case whole["rpc"] == nil:
		return invalid("urls.rpc", "is missing: want an Ethereum node, like https://node.example.org:8545")
	case !slices.Contains(d.changed, "urls"):
		return nil
	}
	if _, err := p.parseNode(whole, d.data.ChainID); err != nil {
		return err
	}
	d.data.URLs, d.settle = openURLs(whole), true
	d.Sealed, err = p.seal(ctx, d.row, whole)
	return err
}

func (p *Platform) fillNodeChain(ctx context.Context, d *draft, b body, fresh bool) error {
	chain, given, err := b.number("chain_id", math.MaxUint64)
	if err != nil {
		return err
	}
	if !fresh {
		if given && chain != d.data.ChainID {
			return invalid("chain_id", "cannot be changed, since signatures hold for one chain: make another node")
		}
		return nil
	}
	if chain == 0 {
		return invalid("chain_id", "is missing: want the chain that the node serves, like 1337; nothing is signed for another")
	}
	environment, err := p.byID(ctx, d.Environment)
	if err != nil {
		return err
	}
	if want := environment.data.ChainID; want != 0 && want != chain {
		return invalid("chain_id", "is %d, and the environment is for chain %d", chain, want)
	}
	d.data.ChainID = chain
	return nil
}

// fillURL takes one URL over. What is shown of it may be sent back, and then it
// stays as it was.
func (d *draft) fillURL(urls body, name string, whole map[string]any) error {
	text, given, err := urls.text(name)
	switch {
	case err != nil:
		return invalid("urls."+name, "want text")
	case !given, text != "" && text == d.data.URLs[name]:
		return nil
	case text == "":
		d.changed.note("urls", whole[name] != nil)
		delete(whole, name)
		return nil
	}
	d.changed.note("urls", whole[name] != text)
	whole[name] = text
	return nil
}

// unaskedURL refuses to send the user and password of urls.rpc, which hold for
// both addresses, to another host by somebody who does not have them.
func (d *draft) unaskedURL(urls body, whole map[string]any) error {
	text, _, _ := urls.text("rpc")
	rpc, _ := whole["rpc"].(string)
	wss, _ := whole["wss"].(string)
	if d.Revision == 0 || wss == "" || text == rpc || !slices.Contains(d.changed, "urls") {
		return nil
	}
	at, err := url.Parse(rpc)
	to, err2 := url.Parse(wss)
	if err != nil || err2 != nil || at.User == nil || at.Host == to.Host {
		return nil //nolint:nilerr // what is no URL is refused where it is parsed
	}
	return invalid("urls.wss", "has another host than urls.rpc, whose user and password it would be sent: want urls.rpc again beside it")
}

// openURLs is what is shown of URLs: a user, password, path or query may be or
// hold a key.
func openURLs(whole map[string]any) map[string]string {
	shown := make(map[string]string, len(whole))
	for name, v := range whole {
		text, _ := v.(string)
		if u, err := url.Parse(text); err == nil {
			shown[name] = u.Scheme + "://" + u.Host
		}
	}
	return shown
}
