// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the directory is left alone after the system reported a
// change: a file is rarely written in one go.
const settle = 100 * time.Millisecond

// watch reads the directory again when the system reports a change, when
// Config.Rescan has passed and when a caller wants the newest state. It runs
// until Close.
func (ks *Keystore) watch() {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		// Out of inotify instances, as happens in crowded containers: the
		// ticker alone has to do.
		ks.log.Warn("keystore directory is read at intervals only", "err", err)
		watcher = &fsnotify.Watcher{} // its channels are nil and never deliver
	} else {
		defer func() { _ = watcher.Close() }()
	}
	var watched fs.FileInfo
	follow := func() {
		info, err := os.Stat(ks.cfg.Path)
		if err != nil || watcher.Events == nil {
			return
		}
		// The system drops the watch with its directory, and the number of that
		// may come back with the next one.
		if len(watcher.WatchList()) > 0 && os.SameFile(watched, info) {
			return
		}
		_ = watcher.Remove(ks.cfg.Path) // in case the old directory was moved away
		if err := watcher.Add(ks.cfg.Path); err != nil {
			ks.log.Warn("keystore directory is read at intervals only", "err", err)
			return
		}
		watched = info
	}
	follow()
	tick := time.NewTicker(ks.cfg.Rescan)
	defer tick.Stop()
	// Between the scan of Open and the first watch a file may have come.
	settled := time.NewTimer(0)
	defer settled.Stop()
	waiting := true
	for {
		var reply chan error
		select {
		case <-ks.ctx.Done():
			return
		case <-watcher.Events:
			if !waiting {
				settled.Reset(settle)
				waiting = true
			}
			continue
		case err := <-watcher.Errors:
			ks.log.Warn("watching the keystore directory", "err", err)
			continue // the ticker makes up for what was missed
		case <-settled.C:
			waiting = false
		case <-tick.C:
		case reply = <-ks.rescans:
		}
		follow()
		err := ks.scan()
		if reply != nil {
			reply <- err
		}
	}
}

// rescan reads the directory now. It returns early if ctx is done; the scan
// then goes on by itself.
func (ks *Keystore) rescan(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case ks.rescans <- reply:
	case <-ctx.Done():
		return ctx.Err()
	case <-ks.ctx.Done():
		return errClosed
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
