// SPDX-License-Identifier: Apache-2.0

package txmgr

import "time"

// Observer is told what happens, for metrics. Its methods must not block.
type Observer interface {
	ObserveStage(wallet, stage string, d time.Duration) // stage: accept, sign, send, mine
	SetSender(wallet, sender string, s SenderGauges)
	NodeHead(wallet string, number uint64)
	NodeError(wallet string)
	Event(wallet, kind string) // kind: accepted, sent, mined, confirmed, failed, displaced, resent, filled, parked, adopted, rejected, bumped, stuck, replaced
}

// SenderGauges are a sender's current numbers.
type SenderGauges struct {
	Queued, InFlight, Window int
	Parked                   bool
}

type noObserver struct{}

func (noObserver) ObserveStage(string, string, time.Duration) {}
func (noObserver) SetSender(string, string, SenderGauges)     {}
func (noObserver) NodeHead(string, uint64)                    {}
func (noObserver) NodeError(string)                           {}
func (noObserver) Event(string, string)                       {}
