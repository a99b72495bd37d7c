// SPDX-License-Identifier: Apache-2.0

//go:build unix

package seal

import (
	"os"
	"syscall"
)

// keepOwner gives a file the owner of another, so that root can put a key into
// the file of a daemon that is not.
func keepOwner(f *os.File, of os.FileInfo) error {
	s, ok := of.Sys().(*syscall.Stat_t)
	if !ok || int(s.Uid) == os.Geteuid() && int(s.Gid) == os.Getegid() {
		return nil
	}
	return f.Chown(int(s.Uid), int(s.Gid))
}
