// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// groupSize is how many records one signature vouches for, at most. What is
// stored for each is then its path of four hashes and a sixteenth of a signature;
// and signing costs a record a sixteenth of a signature too.
const groupSize = 16

// group is what vouches for some records that follow each other, for each by
// itself: the key has signed the root of their Merkle tree with their place, and
// each has its own path to that root. The leaves of that tree are the records'
// sums ([audit.Entry.Sum]), so that kind and id are vouched for also of a record
// whose row is gone. Its fields are as they were read, and not to be trusted.
type group struct {
	adopted   bool // they were there before the log
	signature [ed25519.SignatureSize]byte
	paths     [][]tlog.Hash // of each record, from its leaf up
}

// groupDomain sets what is signed for a group apart from the text of a note,
// which begins with the log's name.
const (
	groupDomain   = "hsmsigner-audit-group-v2"
	adoptedDomain = "hsmsigner-audit-adopted-v2" // for records that were there before the log
)

// groupMessage is what is signed for the records with the places from first on.
// at is when they were taken in, in microseconds since 1970.
func groupMessage(adopted bool, origin string, first int64, count int, at int64, root tlog.Hash) []byte {
	b := make([]byte, 0, 192)
	if adopted {
		b = append(b, adoptedDomain...)
	} else {
		b = append(b, groupDomain...)
	}
	b = append(b, '\n')
	b = append(b, origin...)
	b = append(b, '\n')
	b = strconv.AppendInt(b, first, 10)
	b = append(b, '\n')
	b = strconv.AppendInt(b, int64(count), 10)
	b = append(b, '\n')
	b = strconv.AppendInt(b, at, 10)
	b = append(b, '\n')
	b = base64.StdEncoding.AppendEncode(b, root[:])
	return append(b, '\n')
}

// sealGroup vouches for at most groupSize records.
func (k *Key) sealGroup(adopted bool, first, at int64, entries []audit.Entry) group {
	g := group{adopted: adopted, paths: make([][]tlog.Hash, len(entries))}
	hashes := make([]tlog.Hash, len(entries))
	for i, e := range entries {
		hashes[i] = e.Sum()
	}
	room := make([]tlog.Hash, 0, 4*len(hashes))
	for i := range g.paths {
		n := pathLen(i, len(hashes))
		g.paths[i] = room[len(room) : len(room) : len(room)+n]
		room = room[:len(room)+n]
	}
	root := growPaths(hashes, g.paths)
	copy(g.signature[:], ed25519.Sign(k.private, groupMessage(adopted, k.name, first, len(hashes), at, root)))
	return g
}

// growPaths returns the root over some hashes (RFC 6962, section 2.1) and gives
// each its path.
func growPaths(hashes []tlog.Hash, paths [][]tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := split(len(hashes))
	left, right := growPaths(hashes[:k], paths[:k]), growPaths(hashes[k:], paths[k:])
	for i := range k {
		paths[i] = append(paths[i], right)
	}
	for i := k; i < len(paths); i++ {
		paths[i] = append(paths[i], left)
	}
	return tlog.NodeHash(left, right)
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k<<1 < n {
		k <<= 1
	}
	return k
}

// pathLen is how long the path of the i-th of n leaves is.
func pathLen(i, n int) int {
	length := 0
	for n > 1 {
		if k := split(n); i < k {
			n = k
		} else {
			i, n = i-k, n-k
		}
		length++
	}
	return length
}

// rootOf is the root to which a path leads from the i-th of n leaves. The path
// has the length that pathLen says.
func rootOf(leaf tlog.Hash, path []tlog.Hash, i, n int) tlog.Hash {
	if n == 1 {
		return leaf
	}
	below, last := path[:len(path)-1], path[len(path)-1]
	k := split(n)
	if i < k {
		return tlog.NodeHash(rootOf(leaf, below, i, k), last)
	}
	return tlog.NodeHash(last, rootOf(leaf, below, i-k, n-k))
}

// groupJudge says which records a group vouches for. Each root is verified once,
// and none after the good one is known: a signature is of one root.
type groupJudge struct {
	v     Verifier
	first int64
	at    int64 // microseconds since 1970
	g     *group
	good  bool
	root  tlog.Hash // the good one
	bad   map[tlog.Hash]bool
}

// vouched reports whether the key has vouched for the kind, the id and the hash
// as those of the i-th record of the group.
func (j *groupJudge) vouched(i int, e audit.Entry) bool {
	n := len(j.g.paths)
	root := rootOf(e.Sum(), j.g.paths[i], i, n)
	if j.good || j.bad[root] {
		return j.good && root == j.root
	}
	if ed25519.Verify(j.v.public, groupMessage(j.g.adopted, j.v.name, j.first, n, j.at, root), j.g.signature[:]) {
		j.good, j.root = true, root
		return true
	}
	if j.bad == nil {
		j.bad = make(map[tlog.Hash]bool)
	}
	j.bad[root] = true
	return false
}

// elsewhere finds the place in the group that is the record's own, -1 if there
// is none, or if nothing of the group can be trusted.
func (j *groupJudge) elsewhere(i int, e audit.Entry) int {
	for other := range j.g.paths {
		if j.good && other != i && j.vouched(other, e) {
			return other
		}
	}
	return -1
}
