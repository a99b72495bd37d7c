// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// Part is what one part of the bench has measured.
type Part struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Samples []Sample `json:"samples,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Goals   []Goal   `json:"goals"`
}

// Goal is a number that the project has promised, and what came out.
type Goal struct {
	What  string  `json:"what"`
	Got   float64 `json:"got"`
	Least float64 `json:"least,omitempty"` // one of the two; where both are 0, at most 0 is meant
	Most  float64 `json:"most,omitempty"`
	Unit  string  `json:"unit,omitempty"`
	Met   bool    `json:"met"`
}

func (p *Part) atLeast(what string, got, least float64) {
	p.Goals = append(p.Goals, Goal{What: what, Got: got, Least: least, Met: got >= least})
}

func (p *Part) atMost(what string, got, most float64, unit string) {
	p.Goals = append(p.Goals, Goal{What: what, Got: got, Most: most, Unit: unit, Met: got <= most})
}

func (p *Part) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// bench is what all parts share.
type bench struct {
	h       *host
	costs   Costs
	length  time.Duration // of one round
	rounds  int
	quiet   float64 // share of the machine that strangers may use in a round; 0: any
	full    bool
	profile string  // folder for profiles; empty for none
	seeded  *seeded // what rows has made; memory and console go on with it
}

type runner struct {
	name, title string
	run         func(context.Context, *bench, *Part) error
}

// parts in the order in which they run.
func parts() []runner {
	return []runner{
		{"passthrough", "pass-through of eth_blockNumber, 32 connections", passThrough},
		{"send", "eth_sendTransaction, one address, 64 clients, software key", send},
		{"access", "eth_sendTransaction, one address, 64 clients, without and with a credential", access},
		{"controls", "eth_sendTransaction, one address, 64 clients, without and with audit log and policy", controls},
		{"gateway", "a contract's method by the REST gateway and by eth_sendTransaction, one address, 64 clients", gateway},
		{"latency", "eth_sendTransaction, one address, 256 clients, a backend of 40 ms that takes 64 at a time", latency},
		{"lowload", "eth_sendTransaction, one client, software key", lowLoad},
		{"addresses", "one address and a thousand, 64 clients", addresses},
		{"rows", "few and many stored transactions, 100 addresses, 64 clients", rows},
		{"memory", "idle WebSockets, many accounts, start", memory},
		{"console", "pages of the console with 10,000 accounts and 1,000,000 transactions, one browser", console},
		{"replicas", "three daemons on one PostgreSQL, 100 addresses, a backend of 40 ms that takes 16 at a time of each", replicas},
		{"backends", "the adapters of the key providers beside the SDKs, discovery of 10,000 keys", backends},
	}
}
