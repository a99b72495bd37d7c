// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// entry is one file. name, sum and v3 never change; the rest is guarded by
// Keystore.mu. A file whose content changes becomes another entry.
type entry struct {
	name string
	sum  [32]byte // SHA-256 of the content; zero if it could not be read
	v3   *v3File  // nil if it could not be parsed

	info   fs.FileInfo // when the content was read
	readAt time.Time

	problem string         // why the file will never do as it is; empty if it may
	address common.Address // if known
	known   bool           // from the address member, or from the key

	failed    string   // why the last attempt to decrypt failed; empty if none did
	triedWith [32]byte // fingerprint of the password of that attempt; zero if there was none

	flight chan struct{} // closed when the decryption under way ends; nil if none is
	priv   *ecdsa.PrivateKey
	public secp.PublicKey // valid if priv is not nil
	gone   bool           // the file went or changed, or the keystore is closed
}

// locked reports whether a decryption may be worth trying.
func (e *entry) locked() bool {
	return e.problem == "" && e.failed == "" && e.priv == nil && !e.gone
}

// discard overwrites the key. A decryption under way will drop its result.
func (e *entry) discard() {
	wipeKey(e.priv)
	e.priv = nil
	e.gone = true
}

// ref is the address and the file name: neither a replaced file nor a copy
// under another name can stand for it.
func (e *entry) ref() key.Ref { return refOf(e.address, e.name) }

func refOf(address common.Address, name string) key.Ref {
	return key.Ref("0x" + hex.EncodeToString(address[:]) + "/" + name)
}

// splitRef is the inverse of refOf.
func splitRef(ref key.Ref) (address common.Address, name string, ok bool) {
	head, name, ok := strings.Cut(string(ref), "/")
	if !ok || len(head) != 42 || !strings.HasPrefix(head, "0x") || name == "" {
		return address, "", false
	}
	b, err := hex.DecodeString(head[2:])
	if err != nil {
		return address, "", false
	}
	return common.Address(b), name, true
}

// ignored names are never key files: hidden files (among them Kubernetes'
// ..data and our own unfinished files), passwords, what editors leave behind.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") ||
		strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".tmp") ||
		strings.HasSuffix(name, passwordSuffix)
}

// readEntry reads one file. It returns nil for what is not a regular file and
// for a file that has just gone. Unless the file looks changed since old was
// read, it returns old.
func readEntry(path string, item fs.DirEntry, old *entry) *entry {
	info, err := os.Stat(path) // follows links: Kubernetes mounts secrets as such
	if err != nil {
		if os.IsNotExist(err) && item.Type()&fs.ModeSymlink == 0 {
			return nil
		}
		return unreadable(item.Name(), err, old)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	// A file that was written just before it was read may have been written
	// again within the same tick of its clock.
	const clockDoubt = 2 * time.Second
	if old != nil && old.info != nil && os.SameFile(old.info, info) && old.info.Size() == info.Size() &&
		old.info.ModTime().Equal(info.ModTime()) && old.readAt.Sub(info.ModTime()) > clockDoubt {
		return old
	}
	readAt := time.Now()
	data, err := readRegular(path, maxFileSize)
	if err != nil {
		return unreadable(item.Name(), err, old)
	}
	sum := sha256.Sum256(data)
	if old != nil && old.sum == sum {
		old.info, old.readAt = info, readAt // only the scan reads these two
		return old
	}
	e := &entry{name: item.Name(), sum: sum, info: info, readAt: readAt}
	if e.v3, err = parseV3(data); err != nil {
		e.problem = err.Error()
		return e
	}
	e.address, e.known = e.v3.address, e.v3.hasAddress
	return e
}

func unreadable(name string, err error, old *entry) *entry {
	problem := fmt.Sprintf("cannot be read: %v", cause(err))
	if old != nil && old.sum == [32]byte{} && old.problem == problem {
		return old
	}
	return &entry{name: name, problem: problem}
}

// readRegular reads at most limit bytes and one more, so that too long a file
// can be told, of a regular file only: opening a pipe would wait for ever.
func readRegular(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
