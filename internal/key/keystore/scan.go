// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// scan reads the directory and brings the entries up to date. Only one scan
// runs at a time: in Open, then in watch. If the directory cannot be read, the
// entries stay as they are.
func (ks *Keystore) scan() error {
	items, warn, err := readDir(ks.cfg.Path)
	if err != nil {
		ks.mu.Lock()
		defer ks.mu.Unlock()
		if ks.dirError == nil {
			ks.log.Error("keystore directory cannot be read", "path", ks.cfg.Path, "err", err)
			ks.notify()
		}
		ks.dirError = err
		return err
	}
	// Only scan replaces ks.entries, so it may read the map without the lock,
	// and the files are read without it too.
	present := map[string]bool{}
	for _, item := range items {
		present[item.Name()] = true
	}
	found := make(map[string]*entry, len(items))
	for _, item := range items {
		if name := item.Name(); !ignored(name) {
			if e := readEntry(filepath.Join(ks.cfg.Path, name), item, ks.entries[name]); e != nil {
				found[name] = e
			}
		}
	}
	retry := ks.newPasswords(found)

	ks.mu.Lock()
	defer ks.mu.Unlock()
	dirty := ks.dirError != nil || ks.dirWarn != warn
	if warn != "" && ks.dirWarn != warn {
		ks.log.Warn("keystore directory is not private", "path", ks.cfg.Path, "reason", warn)
	}
	ks.dirError, ks.dirWarn = nil, warn
	for name, old := range ks.entries {
		if found[name] != old {
			old.discard()
			dirty = true
		}
	}
	for name, e := range found {
		if ks.entries[name] != e {
			dirty = true
			ks.admit(e, present[name+passwordSuffix])
		}
	}
	for _, e := range retry {
		e.failed, e.triedWith = "", [32]byte{}
		dirty = true
	}
	ks.entries = found
	ks.names = slices.Sorted(maps.Keys(found))
	if dirty {
		ks.notify()
		select {
		case ks.cold <- struct{}{}:
		default:
		}
	}
	return nil
}

// admit logs a new entry that will not do, and saves the attempt to decrypt
// one for which there is no password.
func (ks *Keystore) admit(e *entry, ownPassword bool) {
	if e.problem == "" && !ownPassword && ks.cfg.Password == nil {
		e.failed = noPassword(e.name)
	}
	if reason := e.problem + e.failed; reason != "" {
		ks.log.Warn("key file is not usable", "file", e.name, "reason", reason)
	}
}

// newPasswords returns the entries that failed and whose password is another
// one now.
func (ks *Keystore) newPasswords(found map[string]*entry) (retry []*entry) {
	ks.mu.RLock()
	var failed []*entry
	for _, e := range found {
		if e.failed != "" {
			failed = append(failed, e)
		}
	}
	tried := make([][32]byte, len(failed))
	for i, e := range failed {
		tried[i] = e.triedWith
	}
	ks.mu.RUnlock()
	for i, e := range failed {
		password, err := ks.password(e.name)
		if err == nil && ks.fingerprint(password) != tried[i] {
			retry = append(retry, e)
		}
		wipe(password)
	}
	return retry
}

// readDir lists the directory. warn says what is wrong with it though it can
// be read.
func readDir(path string) (items []fs.DirEntry, warn string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if perm := info.Mode().Perm(); perm&0o007 != 0 && runtime.GOOS != "windows" {
		warn = fmt.Sprintf("directory has mode %04o, which lets every user of this machine in: chmod it to 0700", perm)
	}
	items, err = os.ReadDir(path)
	return items, warn, err
}
